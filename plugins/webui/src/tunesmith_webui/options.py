"""The configuration keys of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class WebOptions:
    """Where the page is shown, and to whom."""

    gradio_server_name: Annotated[str | None, "Address to listen on; nothing means this machine only."] = None
    gradio_server_port: Annotated[int | None, "Port to listen on; nothing: a free one from 7860.", Range(most=65535)] = None
    gradio_root_path: Annotated[str | None, "Path prefix behind a proxy."] = None
    gradio_ipv6: Annotated[bool, "Listen on IPv6."] = False
    gradio_share: Annotated[bool, "Publish the page through gradio's tunnel; only with web_password."] = False
    web_user: Annotated[str, "Name to log in with."] = "tunesmith"
    web_password: Annotated[str | None, "Password to log in with; needed for others than this machine."] = None

    @property
    def address(self) -> str:
        """The address to listen on."""
        return self.gradio_server_name or ("::1" if self.gradio_ipv6 else "127.0.0.1")
