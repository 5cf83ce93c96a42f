"""A page → a server that shows it until a signal comes."""

from __future__ import annotations

import os
import signal
import threading
import tomllib
from importlib import resources

# gradio asks and tells its makers' servers unless it is told not to, when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import click
import gradio
from tunesmith.errors import TunesmithError

from tunesmith_webui.options import WebOptions

#: Megabytes that somebody may upload.
MOST = "16mb"
#: Answers, plans and looks at logs at the same time.
AT_ONCE = 16
#: Fonts of the reader's own machine; gradio's default asks Google for them.
THEME = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def words() -> gradio.I18n:
    """What the pages say, in every language that has a file in ``words/``; the browser's settings choose. Words that gradio has
    itself (``file``, ``code``, …) would show its own."""
    files = [file for file in resources.files("tunesmith_webui").joinpath("words").iterdir() if file.name.endswith(".toml")]
    return gradio.I18n(**{file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8")) for file in files})


def show(page: gradio.Blocks, said: gradio.I18n, options: WebOptions) -> None:
    """Serve a page until SIGTERM or Ctrl-C.

    :raises TunesmithError: the address cannot be had.
    """
    auth = (options.web_user, options.web_password) if options.web_password else None
    page.queue(default_concurrency_limit=AT_ONCE, api_open=False)
    try:
        page.launch(
            server_name=options.address,
            server_port=options.gradio_server_port,
            root_path=options.gradio_root_path,
            share=options.gradio_share,
            auth=auth,
            i18n=said,
            theme=THEME,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            max_file_size=MOST,
            footer_links=[],
        )
    except OSError as error:
        raise TunesmithError(f"The page cannot be shown: {error}", "Pick another gradio_server_port.") from error
    click.echo(f"The page is at {page.share_url or page.local_url}")
    try:
        _wait()
    finally:
        page.close(verbose=False)


def _wait() -> None:
    over = threading.Event()
    before = {number: signal.signal(number, lambda *_: over.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        over.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
