"""``tunesmith score``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import click
from tunesmith import TunesmithError, launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.contracts import Source
from tunesmith.data.dataset_rows import make_format
from tunesmith.data.learning import SEQUENCES, Learning
from tunesmith.data.preparation import make_tools, wishes_for
from tunesmith.data.work import Block, Worker
from tunesmith.data.workers import blocks_of
from tunesmith.host_options import DataOptions
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins

from tunesmith_reward.options import ScoreOptions

#: Rows that are read before they are rated.
ROWS = 256


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_obj
def score(plugins: Plugins, arguments: tuple[str, ...], quiet: bool) -> None:
    """Rate the answers of datasets: tunesmith score RUN.yaml dataset=NAME [score_file=FILE] [key=value …]"""
    plan = planning.make(read_arguments(plugins, arguments), plugins, "score")
    plan.check_ready()
    tally = rate_all(plan, plugins)
    if not quiet:
        for line in tally.summary():
            click.echo(line)


@dataclass
class Tally:
    """What was rated. ``wins``: pairs whose better answer has the higher score."""

    file: Path
    rows: int = 0
    texts: int = 0
    total: float = 0.0
    pairs: int = 0
    wins: int = 0
    margin: float = 0.0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, line: dict[str, Any]) -> None:
        """Count one row."""
        found = [value for name, value in line.items() if name in ("score", "chosen", "rejected")]
        self.rows, self.texts, self.total = self.rows + 1, self.texts + len(found), self.total + sum(found)
        if "margin" in line:
            self.pairs, self.margin = self.pairs + 1, self.margin + line["margin"]
            self.wins += line["margin"] > 0

    def summary(self) -> Iterator[str]:
        """In a few lines."""
        yield f"{self.rows:,} rows rated, mean score {self.total / max(self.texts, 1):.4f}; written to {self.file}"
        if self.pairs:
            share, margin = self.wins / self.pairs, self.margin / self.pairs
            yield f"the better answer wins in {self.wins:,} of {self.pairs:,} pairs ({share:.1%}), mean margin {margin:.4f}"
        yield from (f"{count:,} rows left out: {reason}" for reason, count in self.left_out.most_common())


def rate_all(plan: Plan, plugins: Plugins) -> Tally:
    """Rate every row of every dataset and write a line to each.

    :raises TunesmithError: there are more unreadable rows than ``max_bad_rows`` allows.
    """
    launch.prepare_environment(plan, plugins)
    plan = launch.fetch(plan, plugins)
    from tunesmith.runtime.scorer import Scorer
    from tunesmith.runtime.speaking import speak

    speak(plan)
    options = plan.options(ScoreOptions)
    scorer = Scorer(plan, plugins, size=options.score_batch_size)
    tally = Tally(Path(options.score_file).expanduser())
    tally.file.parent.mkdir(parents=True, exist_ok=True)
    with tally.file.open("w", encoding="utf-8") as out:
        for dataset in plan.datasets:
            _rate_dataset(plan, plugins, dataset, scorer, (tally, out))
    return tally


def _rate_dataset(plan: Plan, plugins: Plugins, dataset: DatasetPlan, scorer: Any, into: tuple[Tally, TextIO]) -> None:
    tally, out = into
    names, bad = SEQUENCES[dataset.kind], 0
    for places, block in _blocks(plan, plugins, dataset):
        tally.left_out.update(block.tally.dropped)
        bad += block.tally.bad_count
        if bad > plan["max_bad_rows"]:
            hint = f"Mend the data, or skip bad rows: max_bad_rows: {bad}"
            raise TunesmithError(f"{dataset.name}: bad row: {block.tally.bad[0]}", hint)
        texts = [_split(block.sequences[name]) for name in names]
        rated = scorer.rate_ids([row for rows in texts for row in rows])
        for number, place in enumerate(places):
            found = [rated[i * len(places) + number] for i in range(len(names))]
            line = (
                {"place": place, "score": found[0]} if len(names) == 1 else _pair(place, dict(zip(names, found, strict=True)))
            )
            tally.add(line)
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def _pair(place: str, found: dict[str, float]) -> dict[str, Any]:
    return {"place": place, **found, "margin": found["chosen"] - found["rejected"]}


def _blocks(plan: Plan, plugins: Plugins, dataset: DatasetPlan) -> Iterator[tuple[list[str], Block]]:
    """Blocks of encoded rows with the places of those that can be rated. What is too long loses its oldest exchanges."""
    encoder, renderer = make_tools(plan, plugins)
    wishes = replace(wishes_for(dataset, plan.options(DataOptions)), learning=Learning(mask_history=True))
    work = Worker(make_format(dataset, plugins), renderer, encoder, wishes)
    source: Source = plugins.sources.get(dataset.source).load()(dataset, plan)
    for rows in blocks_of(source.rows(), ROWS):
        block = work(rows)
        yield [rows[number][0] for number in block.rows], block


def _split(sequences: Any) -> list[Any]:
    import numpy as np

    return np.split(sequences.ids, np.cumsum(sequences.lengths)[:-1]) if len(sequences.lengths) else []
