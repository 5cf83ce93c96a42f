"""One dataset: rows → a folder of encoded rows with its counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from tunesmith.config import Setting
from tunesmith.contracts import Format
from tunesmith.data.dataset_info import FILE as INFO
from tunesmith.data.dataset_info import names_of
from tunesmith.data.learning import SEQUENCES
from tunesmith.data.preparation import Job, Preparation, make_tools
from tunesmith.data.report import SourceReport, Tally
from tunesmith.data.store import RowsWriter
from tunesmith.data.work import Block, Wishes, Worker
from tunesmith.data.workers import blocks_of, work_through, work_through_here
from tunesmith.errors import TunesmithError, nearest
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins

WITH_FACTS = ("feedback", "prompt")
#: Bad rows beyond those allowed after which the rest is not even read.
PATIENCE = 100


def write_rows(preparation: Preparation, job: Job, folder: Path) -> None:
    """Prepare all rows of a dataset into ``folder``.

    :raises TunesmithError: a file is malformed, a column is nowhere, or there are far too many bad rows.
    """
    name, kind = job.dataset.name, job.dataset.kind
    writer = RowsWriter(folder, SEQUENCES[kind], facts=kind in WITH_FACTS)
    tally = Tally()
    for block in _blocks(preparation, job):
        if not tally.rows_in:
            check_columns(preparation, job, block.tally.columns)
        tally.add(block.tally)
        writer.append(block.sequences, block.facts, block.media)
        if preparation.progress:
            preparation.progress(name, tally.rows_in)
        if not preparation.lenient and tally.bad_count > preparation.options.max_bad_rows + PATIENCE:
            raise too_many_bad_rows(tally.report(name, "", ()), preparation.options.max_bad_rows)
    if tally.rows_in:
        _check_columns(job, _declared(job), tally.columns)
    writer.close(kind=kind, key=dict(job.key), report=tally.report("", "", ()).to_json())


def _blocks(preparation: Preparation, job: Job) -> Iterator[Block]:
    options, plan = preparation.options, preparation.plan
    blocks = blocks_of(islice(job.source.rows(), job.take), options.preprocessing_batch_size)
    first = list(islice(blocks, 2))
    blocks = chain(first, blocks)
    workers = options.preprocessing_num_workers or 1
    if workers == 1 or len(first) < 2:  # starting processes takes longer than one block
        format = make_format(job.dataset, preparation.plugins)
        return work_through_here(Worker(format, preparation.renderer, preparation.encoder, job.wishes), blocks)
    return work_through(make_worker, (plan.to_json(secrets=True), job.dataset, job.wishes), blocks, workers)


def make_worker(plan_text: str, dataset: DatasetPlan, wishes: Wishes) -> Worker:
    """The worker of a process of its own, made from the plan as text."""
    plan = Plan.from_json(plan_text)
    plugins = Plugins(without=plan.without, only=plan.only, local=Path(plan.local) if plan.local else None)
    encoder, renderer = make_tools(plan, plugins)
    return Worker(make_format(dataset, plugins), renderer, encoder, wishes)


def make_format(dataset: DatasetPlan, plugins: Plugins) -> Format:
    """The format object of a dataset, with the names of its columns and tags filled in."""
    offer = plugins.formats.get(dataset.format)
    format: Format = offer.load()(*names_of(dataset, offer.spec))
    return format


# ---- checks ----------------------------------------------------------------------------------------------------------


def check_columns(preparation: Preparation, job: Job, seen: set[str]) -> None:
    """Make sure that the first rows of a dataset have the columns that every row must have.

    :raises TunesmithError: one is nowhere.
    """
    _check_columns(job, _required(preparation, job), seen, _fitting(preparation, job, seen))


def _required(preparation: Preparation, job: Job) -> dict[str, str]:
    """The columns that every row must have: what they are called → what they are for."""
    spec = preparation.plugins.formats.get(job.dataset.format).spec
    names, _ = names_of(job.dataset, spec)
    return {str(names[column]): column for column in spec.required.get(job.dataset.kind, ()) if names.get(column)}


def _declared(job: Job) -> dict[str, str]:
    columns = job.dataset.entry.get("columns", {})
    return {name: column for column, name in columns.items() if name}


def _fitting(preparation: Preparation, job: Job, seen: set[str]) -> list[str]:
    """The formats whose own names for what they need are among the columns."""
    wanted = {
        offer.spec.name: {str(offer.spec.columns.get(column) or "") for column in offer.spec.required.get(job.dataset.kind, ())}
        for offer in preparation.plugins.formats
    }
    return [name for name, columns in wanted.items() if columns and columns <= seen and name != job.dataset.format]


def _check_columns(job: Job, needed: dict[str, str], seen: set[str], fitting: Sequence[str] = ()) -> None:
    """A column that no row has at all is a mistake in the entry, not in the rows."""
    for name, column in needed.items():
        if name not in seen:
            where = job.dataset.files[0] if job.dataset.files else job.dataset.name
            have = f"Its columns are {', '.join(sorted(seen))}." if seen else "Its rows have no columns."
            hint = f'{nearest(name, seen) or have} Columns are named in {INFO}: "columns": {{"{column}": "…"}}'
            if fitting and not nearest(name, seen):
                hint = f'{have} Write "formatting": "{fitting[0]}" in {INFO}, which reads such rows.'
            raise TunesmithError(f"{job.dataset.name}: no row of {where} has the column {name!r} ({column}).", hint)


def check_source(report: SourceReport, cutoff_len: Setting, max_bad_rows: int) -> None:
    """Make sure that a dataset can be learned from.

    :raises TunesmithError: it has no rows, too many bad ones, or none is left.
    """
    if report.bad_row_count > max_bad_rows:
        raise too_many_bad_rows(report, max_bad_rows)
    if not report.rows_in:
        raise TunesmithError(f"{report.name} has no rows.", "Its files are empty.")
    if not report.kept and report.shortest_prompt:
        place = f"{cutoff_len.origin}: " if cutoff_len.given else ""
        raise TunesmithError(
            f"{place}cutoff_len: {cutoff_len.value} is below the shortest prompt of {report.name}, "
            f"{report.shortest_prompt} tokens.",
            f"Write a cutoff_len above {report.shortest_prompt}.",
        )
    if not report.kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
        raise TunesmithError(f"Nothing of {report.name} is left to learn from: of {report.rows_in} rows, {reasons}.")


def too_many_bad_rows(report: SourceReport, allowed: int) -> TunesmithError:
    """The error for bad rows beyond ``max_bad_rows``."""
    count = report.bad_row_count
    more = f" (and {count - 1:,} more bad rows)" if count > 1 else ""
    hint = f"Mend the data (tunesmith data report lists the rows), or skip bad rows: max_bad_rows: {max(count, allowed + 1)}"
    first = str(report.bad_rows[0]).rstrip(".")
    return TunesmithError(f"{report.name}: bad row: {first}{more}{'' if first.endswith('?') and not more else '.'}", hint)
