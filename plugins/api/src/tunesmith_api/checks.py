"""What is wrong with the plan of a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunesmith import Problem
from tunesmith.addresses import is_loopback
from tunesmith.plan import Plan

from tunesmith_api.options import ApiOptions


def problems(plan: Plan) -> Iterator[Problem]:
    """Each thing that keeps this server from being started."""
    options = plan.options(ApiOptions)
    if not is_loopback(options.api_host) and not options.api_key and not options.api_allow_no_key:
        what = f"api_host {options.api_host} lets others in, and there is no api_key"
        yield Problem(_where(plan, "api_host"), what, "Set API_KEY, or write api_allow_no_key: true if that is what you want.")
    if options.api_key is not None and (not options.api_key.isascii() or options.api_key != options.api_key.strip()):
        instead = "Write one of ASCII characters without spaces around it."
        yield Problem(_where(plan, "api_key"), "api_key cannot be sent in a header", instead)
    if not options.api_model_name.strip():
        yield Problem(_where(plan, "api_model_name"), "api_model_name is empty", "Write the name that clients ask for.")
    if options.safe_media_path is not None and not Path(options.safe_media_path).is_dir():
        what = f"there is no folder {options.safe_media_path}"
        yield Problem(_where(plan, "safe_media_path"), what, "Make it, or leave safe_media_path out.")
    root = options.fastapi_root_path
    if root and (not root.startswith("/") or root.endswith("/")):
        yield Problem(_where(plan, "fastapi_root_path"), f"fastapi_root_path is {root!r}", "Write it as in /prefix")


def _where(plan: Plan, key: str) -> str:
    return plan.settings[key].origin
