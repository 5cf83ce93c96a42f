"""The configuration keys of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class ApiOptions:
    """Where the server listens, whom it answers, and how much at a time."""

    api_host: Annotated[str, "Address to listen on; beyond this machine only with api_key."] = "127.0.0.1"
    api_port: Annotated[int, "Port to listen on; 0 takes a free one.", Range(least=0, most=65535)] = 8000
    api_key: Annotated[str | None, "Key that clients must send."] = None
    api_allow_no_key: Annotated[bool, "Listen beyond this machine although there is no api_key."] = False
    api_model_name: Annotated[str, "Name of the model in requests and answers."] = "gpt-3.5-turbo"
    api_verbose: Annotated[bool, "Log a line for each request, never what is in it."] = True
    fastapi_root_path: Annotated[str, "Path prefix behind a proxy."] = ""
    max_concurrent: Annotated[int, "Answers generated at the same time.", Range(least=1)] = 32
    api_queue: Annotated[int, "Requests that wait for their turn; more are told to come back.", Range(least=0)] = 128
    api_timeout: Annotated[int, "Seconds that one request may take, waiting included.", Range(least=1)] = 600
    api_max_body: Annotated[int, "Megabytes that one request may have.", Range(least=1)] = 16
    allow_local_files: Annotated[bool, "Let requests name files under safe_media_path."] = True
    safe_media_path: Annotated[str | None, "Folder that requests may name files in; none may be named without it."] = None
    api_media_urls: Annotated[bool, "Fetch images and the like from public https addresses."] = False
