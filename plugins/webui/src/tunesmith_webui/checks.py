"""What is wrong with the plan of a page."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import Problem
from tunesmith.addresses import is_loopback
from tunesmith.plan import Plan

from tunesmith_webui.options import WebOptions

REMEDY = "Set TUNESMITH_WEB_PASSWORD in the environment, or write web_password"


def problems(plan: Plan) -> Iterator[Problem]:
    """Each thing that keeps the page from being shown."""
    options = plan.options(WebOptions)
    if options.web_password is not None and not options.web_password.strip():
        yield Problem(plan.settings["web_password"].origin, "web_password is empty", "Write a password, or leave it out.")
    if options.web_password:
        return
    if options.gradio_share:
        what = "gradio_share publishes the page, and there is no web_password"
        yield Problem(plan.settings["gradio_share"].origin, what, f"{REMEDY}.")
    if not is_loopback(options.address):
        what = f"gradio_server_name {options.address} lets others in, and there is no web_password"
        yield Problem(plan.settings["gradio_server_name"].origin, what, f"{REMEDY}.")
