"""The keys of SwanLab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class SwanLabOptions:
    """Where SwanLab keeps a run, and whom it tells."""

    use_swanlab: Annotated[bool, "Send metrics to SwanLab."] = False
    swanlab_project: Annotated[str | None, "Project."] = "tunesmith"
    swanlab_workspace: Annotated[str | None, "Workspace."] = None
    swanlab_run_name: Annotated[str | None, "Name of the run."] = None
    swanlab_mode: Annotated[
        Literal["cloud", "local", "offline", "disabled"], "Send to the cloud, keep on this machine, or do nothing."
    ] = "cloud"
    swanlab_api_key: Annotated[str | None, "Key for the cloud."] = None
    swanlab_logdir: Annotated[str | None, "Folder of its logs."] = None
    swanlab_lark_webhook_url: Annotated[str | None, "Address of a Lark bot to tell when the run ends."] = None
    swanlab_lark_secret: Annotated[str | None, "Secret of that bot."] = None
