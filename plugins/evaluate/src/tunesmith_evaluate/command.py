"""``tunesmith eval``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
from tunesmith import launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.contracts import Engine, Evaluator
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.stacks.rerunning import again_there

from tunesmith_evaluate.options import EvaluateOptions, parse

RESULTS = "results.json"
GENERAL = "multiple_choice"


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON object.")
@click.pass_obj
def evaluate(plugins: Plugins, arguments: tuple[str, ...], as_json: bool) -> None:
    """Run a benchmark: tunesmith eval [RUN.yaml] task=mmlu_test [task_dir=FOLDER] [key=value …]"""
    plan = planning.make(read_arguments(plugins, arguments), plugins, "eval")
    plan.check_ready()
    if plan.stack is not None:
        again_there(plan.stack)
    say_notices(plan)
    options = plan.options(EvaluateOptions)
    evaluator = make_evaluator(plan, plugins)
    scores = run(evaluator, launch.fetch(plan, plugins), plugins)
    if options.save_dir:
        _write(Path(options.save_dir), plan, scores)
    if as_json:
        click.echo(json.dumps(scores, ensure_ascii=False))
        return
    for name, score in scores.items():
        click.echo(f"{score:8.4f}  {name}")


def make_evaluator(plan: Plan, plugins: Plugins) -> Evaluator:
    """The evaluator that is named as the benchmark is; the one for questions with lettered answers when none is."""
    name = parse(plan["task"]).name
    offer = plugins.evaluators.get(name if name in plugins.evaluators.names else GENERAL)
    evaluator: Evaluator = offer.load()(plan)
    return evaluator


def run(evaluator: Evaluator, plan: Plan, plugins: Plugins) -> Mapping[str, float]:
    """Start the plan's engine, and let the evaluator ask it."""
    launch.prepare_environment(plan, plugins)
    engine: Engine = plugins.engines.get(plan.the("engines").wanted).load()(plan)
    engine.start(plan)
    try:
        return evaluator.evaluate(engine)
    finally:
        engine.stop()


def _write(folder: Path, plan: Plan, scores: Mapping[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    asked = {key: plan[key] for key in ("task", "n_shot", "lang", "model_name_or_path", "adapter_name_or_path", "template")}
    whole = {**{key: value for key, value in asked.items() if value is not None}, "scores": dict(scores)}
    (folder / RESULTS).write_text(json.dumps(whole, ensure_ascii=False, indent=2, default=str) + "\n", encoding="utf-8")
