"""SwanLab by its own callback for transformers' trainer, https://docs.swanlab.cn/guide_cloud/integration/integration-huggingface-transformers.html"""

from __future__ import annotations

from typing import Any

import swanlab
from swanlab.integration.transformers import SwanLabCallback
from tunesmith.contracts import Tracker
from tunesmith.plan import Plan, is_secret

from tunesmith_swanlab.options import SwanLabOptions

#: The word of the configuration → SwanLab's.
MODES = {"cloud": "online"}


class SwanLabTracker(Tracker):
    """Starts a run of SwanLab when training starts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.options = plan.options(SwanLabOptions)

    def callback(self) -> SwanLabCallback:
        """SwanLab's callback, which logs what the trainer logs, with the run's settings beside it."""
        return PlannedRun(self.plan, self.options)

    def close(self) -> None:
        """Close SwanLab's run with ours, so that the next one in this process gets its own."""
        if swanlab.has_run():
            swanlab.finish()


class PlannedRun(SwanLabCallback):
    """As SwanLab's; the run is begun here, so that a bot can hear of its end and the configuration is ours."""

    def __init__(self, plan: Plan, options: SwanLabOptions) -> None:
        super().__init__(
            project=options.swanlab_project,
            workspace=options.swanlab_workspace,
            experiment_name=options.swanlab_run_name,
            log_dir=options.swanlab_logdir,
            mode=MODES.get(options.swanlab_mode, options.swanlab_mode),
        )
        self._plan, self._options = plan, options

    def setup(self, args: Any, state: Any, model: Any = None) -> None:
        """Log in where a key was given, and begin the run."""
        if self._trainer_initialized or not self._is_world_process_zero(state):
            return
        if self._options.swanlab_mode == "cloud" and self._options.swanlab_api_key:
            swanlab.login(api_key=self._options.swanlab_api_key)
        if self._get_active_run() is None:
            swanlab.init(callbacks=[self, *self._bots()], config={"tunesmith": given(self._plan)}, **self._init_kwargs)
        super().setup(args, state, model)

    def _bots(self) -> list[Any]:
        if not self._options.swanlab_lark_webhook_url:
            return []
        from swanlab.plugin import LarkCallback

        return [LarkCallback(self._options.swanlab_lark_webhook_url, self._options.swanlab_lark_secret)]


def given(plan: Plan) -> dict[str, Any]:
    """The keys that the user gave, without secrets."""
    return {
        key: "***" if is_secret(key) and setting.value else setting.value
        for key, setting in plan.settings.items()
        if setting.given
    }
