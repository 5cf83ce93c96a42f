"""The data road in one piece: the datasets of a plan → token stores and a report.

Each dataset is read once, row by row, into a folder of encoded rows. A run's views on them (train, eval) are lists of row
numbers: mixing, setting aside and packing move no token. Whatever was prepared before with the same content is found again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunesmith.data.arrays import MANIFEST, read_manifest, staged, write_manifest
from tunesmith.data.cache import Key, check_named, fingerprint, locked
from tunesmith.data.dataset_rows import check_source, write_rows
from tunesmith.data.machines import wait, waits_for_another
from tunesmith.data.mix import check_mix
from tunesmith.data.preparation import Job, Preparation, Progress, make_job, run_key
from tunesmith.data.report import Report, SourceReport
from tunesmith.data.stream import Stream
from tunesmith.data.views import EVAL, TRAIN, views_of, write_views
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

PACKABLE = ("conversation", "document")
#: How special tokens are usually written.
MARK = re.compile(r"<[|｜][^|｜<>\s]{1,40}[|｜]>")


@dataclass(frozen=True)
class Prepared:
    """Paths are views for :meth:`tunesmith.data.store.TokenStore.open`.

    ``evals`` has one view named ``eval``, or with ``eval_on_each_dataset`` one to each evaluation dataset by its name.
    """

    train: Path | None
    evals: Mapping[str, Path]
    report: Report
    fingerprint: str = ""
    """Changes whenever the prepared data could."""
    stream: Stream | None = None
    """With ``streaming`` what is learned from; ``train`` is ``None`` then."""


def prepare(plan: Plan, plugins: Plugins, *, progress: Progress | None = None, lenient: bool = False) -> Prepared:
    """Prepare all datasets of a plan, or find what was prepared before.

    :param progress: is told how far reading has come.
    :param lenient: bad rows, however many, are only reported.
    :raises TunesmithError: a file is malformed, there are too many bad rows, nothing is left to learn from.
    """
    preparation = Preparation.of(plan, plugins, progress, lenient=lenient)
    _check(preparation)
    if preparation.options.streaming and not lenient and any(dataset.split == TRAIN for dataset in plan.datasets):
        return _prepare_stream(preparation)
    return _prepare_all(preparation, [make_job(preparation, dataset) for dataset in plan.datasets])


def _prepare_stream(preparation: Preparation) -> Prepared:
    """What is learned from stays where it is; what is evaluated on is prepared."""
    stream = Stream.of(preparation)
    others = [dataset for dataset in preparation.plan.datasets if dataset.split != TRAIN]
    jobs = [make_job(preparation, dataset) for dataset in others] or stream.set_aside()
    prepared = _prepare_all(preparation, jobs) if jobs else Prepared(None, {}, Report())
    note = "streaming: what is learned from is read, and counted, while it is learned"
    report = replace(prepared.report, notes=(*prepared.report.notes, note))
    whole = fingerprint({"stream": stream.key, "rest": prepared.fingerprint})
    return replace(prepared, report=report, fingerprint=whole, stream=stream)


def _prepare_all(preparation: Preparation, jobs: Sequence[Job]) -> Prepared:
    places = preparation.places
    key = run_key(preparation, jobs)
    folder = places.run_of(key)
    if places.named and not preparation.anew:
        check_named(places.runs, key)  # before the lock, which is a file in there
    if waits_for_another(preparation.plan):
        wait(preparation.plan, folder, lambda: _is_done(preparation, folder, key))
    with locked(folder):
        done = _is_done(preparation, folder, key)
        if not done:
            _prepare(preparation, jobs, folder, key)
    prepared = _read(folder, cached=done)
    _check_sources(preparation, prepared.report.sources)
    return prepared


def _check(preparation: Preparation) -> None:
    options, datasets = preparation.options, preparation.plan.datasets
    train = [dataset for dataset in datasets if dataset.split == TRAIN]
    if problem := check_mix(options.mix_strategy, options.interleave_probs, len(train)):
        raise TunesmithError(f"{problem}.", "Write one share to each dataset; together they make 1.")
    for dataset in datasets:
        if preparation.packing and dataset.kind not in PACKABLE:
            raise TunesmithError(
                f"{dataset.name} holds {dataset.kind} examples, which cannot be packed.", "Write packing: false"
            )
        if options.train_on_prompt and dataset.kind != "conversation":
            raise TunesmithError(
                f"train_on_prompt has no meaning for the {dataset.kind} examples of {dataset.name}.", "Leave it out."
            )


def _is_done(preparation: Preparation, folder: Path, key: Key) -> bool:
    if preparation.anew:
        return False
    places = preparation.places
    if not places.named:
        return _holds(folder, Report)
    done = check_named(places.runs, key)
    if done and not _holds(folder, Report):
        hint = "Write overwrite_cache: true to prepare it anew, or give another folder."
        raise TunesmithError(f"{folder} was prepared by another version, whose report cannot be read.", hint)
    return done


def _holds(folder: Path, kind: type[Report] | type[SourceReport]) -> bool:
    """Whether a folder is finished and holds a report that this version can read."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        kind.from_json(read_manifest(folder)["report"])
    except (ValueError, KeyError, TypeError):  # of a version that counted other things
        return False
    return True


def _prepare(preparation: Preparation, jobs: Sequence[Job], folder: Path, key: Key) -> None:
    reports = [_prepare_rows(preparation, job) for job in jobs]
    _check_sources(preparation, reports)
    with staged(folder) as staging:
        views = views_of(preparation, jobs)
        report = Report(tuple(reports), tuple(write_views(preparation, views, staging, folder, key)), _notes(preparation))
        places = {split: {view.name: view.folder for view in views if view.split == split} for split in (TRAIN, EVAL)}
        write_manifest(staging, what="run", key=key, views=places, report=report.to_json())


def _prepare_rows(preparation: Preparation, job: Job) -> SourceReport:
    place = preparation.places.rows_of(job.key)
    with locked(place):
        if preparation.anew or not _holds(place, SourceReport):
            with staged(place) as staging:
                write_rows(preparation, job, staging)
    report = SourceReport.from_json(read_manifest(place)["report"])
    return replace(report, name=job.dataset.name, split=job.dataset.split, notes=tuple(_source_notes(preparation, job, report)))


def _source_notes(preparation: Preparation, job: Job, report: SourceReport) -> list[str]:
    version = [f"taken from {job.dataset.source} at {job.dataset.version}"] if job.dataset.version else []
    return [*version, *_choice_notes(preparation, job, report)]


def _choice_notes(preparation: Preparation, job: Job, report: SourceReport) -> list[str]:
    wanted, first = job.dataset.entry.get("num_samples"), preparation.options.max_samples
    if wanted:
        again = f", {wanted - report.kept} of them again" if wanted > report.kept else ""
        limit = f", of which max_samples leaves {min(first, wanted)}" if first else ""
        return [f"num_samples: {wanted} of {report.kept} examples drawn at random (seed {preparation.seed}){again}{limit}"]
    return [f"max_samples: the first {report.rows_in} rows, not a random choice"] if first and report.rows_in == first else []


def _notes(preparation: Preparation) -> tuple[str, ...]:
    options = preparation.options
    notes = []
    if options.mix_strategy != "concat":
        shares = f" by {', '.join(f'{share:g}' for share in options.interleave_probs)}" if options.interleave_probs else ""
        notes.append(f"mix_strategy: {options.mix_strategy}{shares} (seed {preparation.seed})")
    if options.val_size:
        how = "the first rows" if options.streaming and not preparation.lenient else f"seed {preparation.seed}"
        notes.append(f"val_size: {options.val_size:g} set aside for evaluation ({how})")
    if marks := _marks_as_text(preparation):
        more = f" and {len(marks) - 4} more" if len(marks) > 4 else ""
        notes.append(f"the tokenizer has no tokens {' '.join(marks[:4])}{more}: what the template writes so is ordinary text")
    return tuple(notes)


def _marks_as_text(preparation: Preparation) -> list[str]:
    """What looks like a special token in the template and is none of the tokenizer's: most often it is of another model."""
    if preparation.renderer is None:
        return []
    known = preparation.encoder.files.plain
    return [
        mark for mark in dict.fromkeys(MARK.findall(preparation.renderer.chat_template())) if known.token_to_id(mark) is None
    ]


def _check_sources(preparation: Preparation, sources: Sequence[SourceReport]) -> None:
    for source in () if preparation.lenient else sources:
        check_source(source, preparation.plan.settings["cutoff_len"], preparation.options.max_bad_rows)


def _read(folder: Path, *, cached: bool) -> Prepared:
    manifest = read_manifest(folder)
    train, evals = ({name: folder / place for name, place in manifest["views"][split].items()} for split in (TRAIN, EVAL))
    return Prepared(
        train.get(TRAIN), evals, replace(Report.from_json(manifest["report"]), cached=cached), fingerprint(manifest["key"])
    )
