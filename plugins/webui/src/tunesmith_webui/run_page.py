"""The page of runs: a configuration, its plan, what was started, and how it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio
import pandas
from tunesmith.plugins import Plugins

from tunesmith_webui.desk import Desk
from tunesmith_webui.editor import editor
from tunesmith_webui.folder import Folder
from tunesmith_webui.jobs import Jobs
from tunesmith_webui.told import told

#: Seconds between two looks at what runs.
LOOK = 2.0


def run_page(plugins: Plugins, root: Path, said: gradio.I18n) -> gradio.Blocks:
    """The page for one folder."""
    desk = Desk(plugins, Folder(root), Jobs(root / ".tunesmith" / "started"))
    with gradio.Blocks(title="Tunesmith", analytics_enabled=False) as page:
        with gradio.Tab(said("run")):
            command, name, text = editor(desk, said)
            _actions(desk, said, command, name, text)
        with gradio.Tab(said("runs")):
            columns = ["run", "status", "step", "loss"]
            table = gradio.Dataframe(desk.runs, headers=columns, interactive=False, show_label=False)
            gradio.Button(said("refresh")).click(desk.runs, None, table, api_name="runs")
    return page  # type: ignore[no-any-return]


def _actions(desk: Desk, said: gradio.I18n, command: gradio.Dropdown, name: gradio.Dropdown, text: gradio.Code) -> None:
    """Plan it, start it, stop it, and see how it goes."""
    with gradio.Row():
        plan = gradio.Button(said("plan"))
        start = gradio.Button(said("start"), variant="primary")
    shown = gradio.Code(label=said("what_it_does"), language=None, interactive=False)
    with gradio.Row():
        job = gradio.Dropdown(desk.going(), label=said("started"), interactive=True, allow_custom_value=True)
        stop = gradio.Button(said("stop"))
    status = gradio.Markdown()
    log = gradio.Code(label=said("log"), language=None, interactive=False, lines=12, max_lines=24)
    curve = gradio.LinePlot(_frame(desk, None), x="step", y="loss", title=None, label=said("loss"))

    def begun(command: str, name: str, text: str) -> dict[str, Any]:
        made = desk.start(command, name, text)
        return gradio.update(choices=desk.going(), value=made.name)  # type: ignore[no-any-return]

    def look(job: str | None) -> tuple[Any, str, str, pandas.DataFrame]:
        found, status = desk.jobs.known.get(job or ""), desk.status(job)
        shown = f"**{status}**" if status else ""
        return gradio.update(choices=desk.going()), shown, found.tail() if found else "", _frame(desk, job)

    asked = [command, name, text]
    plan.click(told(desk.explain), asked, shown, api_name="plan")
    start.click(told(begun), asked, job, api_name="start")
    stop.click(told(desk.stop), job, None, api_name="stop")
    gradio.Timer(LOOK).tick(look, job, [job, status, log, curve], api_name="look", show_progress="hidden")


def _frame(desk: Desk, job: str | None) -> pandas.DataFrame:
    return pandas.DataFrame(desk.curve(job), columns=["step", "loss"])
