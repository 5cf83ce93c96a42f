"""What the host itself offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import CommandSpec, LauncherSpec, Problem, SourceSpec, StrategySpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """The commands that need no other plugin."""
    run, look, back, help_ = "Run", "Look before you run", "Look back", "Help"
    return [
        CommandSpec(
            "train",
            "tunesmith.cli.train:train",
            "Fine-tune a model.",
            section=run,
            picks=(
                *("trainers", "tuners", "templates", "backends", "strategies", "launchers", "quantizers", "accelerators"),
                *("optimizers", "rewards", "tools", "trackers", "callbacks", "metrics"),
            ),
            requires=("model_name_or_path", "dataset", "output_dir"),
        ),
        CommandSpec("plan", "tunesmith.cli.plan:plan", "Show everything a run would do, without doing it.", section=look),
        CommandSpec("estimate", "tunesmith.cli.estimate:estimate", "Memory over batch size and sequence length.", section=look),
        CommandSpec(
            "explain", "tunesmith.cli.explain:explain", "What a configuration key means, and who owns it.", section=look
        ),
        CommandSpec(
            "schema", "tunesmith.cli.schema:schema", "Print the configuration's JSON Schema, for editors.", section=look
        ),
        CommandSpec(
            "plugins", "tunesmith.cli.plugins:plugins", "List what is installed, broken and switched off.", section=look
        ),
        CommandSpec(
            "data",
            "tunesmith.cli.data:data",
            "Report on datasets, preview rows and what is learned.",
            section=look,
            picks=("trainers", "templates", "tools"),
            requires=("model_name_or_path", "dataset"),
        ),
        CommandSpec("runs", "tunesmith.cli.runs:runs", "List finished and running runs, and how they differ.", section=back),
        CommandSpec("plot", "tunesmith.cli.plot:plot", "Draw the curves of one or more runs.", section=back),
        CommandSpec("reproduce", "tunesmith.cli.reproduce:reproduce", "Run a run again and compare.", section=back),
        CommandSpec("template", "tunesmith.cli.template:template", "List, show, render and check templates.", section=look),
        CommandSpec("stack", "tunesmith.cli.stack:stack", "Make environments for packages that clash.", section="Make"),
        CommandSpec("tiny", "tunesmith.cli.tiny:tiny", "Make a small random model to try things on.", section="Make"),
        CommandSpec("new", "tunesmith.cli.new:new", "Start a plugin package that passes its tests.", section="Make"),
        CommandSpec("env", "tunesmith.cli.env:env", "Print versions and devices, for bug reports.", section=help_),
        CommandSpec("version", "tunesmith.cli.version:version", "Print the version.", section=help_),
        CommandSpec("doctor", "tunesmith.cli.doctor:doctor", "Find out what is wrong with this installation.", section=help_),
    ]


@hookimpl
def tunesmith_launchers() -> list[LauncherSpec]:
    """This process; one for each device; those that somebody else has started."""
    when = "tunesmith.defaults.launchers"
    return [
        LauncherSpec(
            "plain",
            "tunesmith.defaults.plain_launcher:PlainLauncher",
            "One process, the one that was started.",
            options="tunesmith.defaults.launch_options:LaunchOptions",
        ),
        LauncherSpec(
            "torchrun",
            "tunesmith.runtime.torchrun:TorchrunLauncher",
            "A process for each device, on one machine or several, by torch's elastic agent.",
            options="tunesmith.defaults.launch_options:LaunchOptions",
            when=f"{when}:torchrun_wanted",
            priority=10,
            processes=f"{when}:torchrun_processes",
            spreads=True,
        ),
        LauncherSpec(
            "outside",
            "tunesmith.defaults.plain_launcher:PlainLauncher",
            "Processes that somebody else's launcher has started: torchrun, accelerate, srun.",
            options="tunesmith.defaults.launch_options:LaunchOptions",
            when=f"{when}:started_outside",
            priority=100,
            processes=f"{when}:processes_outside",
        ),
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Where processes of several machines meet."""
    from tunesmith.defaults.launchers import meeting_problems

    return meeting_problems(plan)


@hookimpl
def tunesmith_strategies() -> list[StrategySpec]:
    """Every process holds the whole model."""
    return [
        StrategySpec(
            "ddp", "tunesmith.runtime.data_parallel:DataParallel", "Every process holds the whole model and learns other rows."
        )
    ]


@hookimpl
def tunesmith_sources() -> list[SourceSpec]:
    """Files on this machine."""
    module = "tunesmith.defaults.local_files"
    return [
        SourceSpec(
            "file",
            f"{module}:LocalFiles",
            "Files here: json, jsonl, csv, txt, parquet, arrow, or a folder of one of them.",
            key="file_name",
            files=f"{module}:list_files",
        )
    ]
