"""What a finished run leaves in its output folder, each file complete or not there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from tunesmith.contracts import Outcome
from tunesmith.runtime import checkpoint as checkpoints
from tunesmith.runtime.durable_files import disk_troubles, move_into, open_as_usual, sync_tree, write_json, write_text
from tunesmith.runtime.loss_plot import draw_curves
from tunesmith.runtime.model_card import model_card
from tunesmith.runtime.session import Session
from tunesmith.runtime.streaming import REPORT, StreamedRows

log = logging.getLogger(__name__)

RESULTS = {"eval": "eval_results.json", "predict": "predict_results.json"}
TRAIN_RESULTS = "train_results.json"


def finish(session: Session, outcome: Outcome) -> None:
    """Write weights, tokenizer, results, plots and the model card.

    A run that a signal ended has its checkpoint and writes nothing here: it is not finished.

    :raises TunesmithError: the disk is full or must not be written to.
    """
    if outcome.interrupted:
        log.log(
            logging.WARNING if session.args.should_save else logging.DEBUG,
            "%s: stopped after step %d. resume_from_checkpoint: true goes on from here.",
            outcome.stopped,
            outcome.steps,
        )
        return
    if not session.args.should_save:
        if session.args.do_train:
            session.save_model(session.output_dir)  # its share of what the first process writes
        return
    folder = session.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    with disk_troubles(f"Writing the results into {folder}", _what_is_safe(session)):
        if session.args.do_train:
            _write_model(session)
            _write_data_report(session)
            write_text(folder / "README.md", model_card(session, outcome))
        write_text(folder / "plan.json", session.plan.to_json())
        _write_results(session, outcome.metrics)
        if session.plan["plot_loss"] and session.args.do_train:
            draw_curves(folder, _history(session))


def _write_data_report(session: Session) -> None:
    report = session.prepared.report
    if isinstance(session.train_data, StreamedRows):
        session.train_data.write_report(session.output_dir, report)
    else:
        write_text(session.output_dir / REPORT, report.to_json())


def _what_is_safe(session: Session) -> str:
    found = checkpoints.checkpoints_in(session.output_dir)
    return (
        f"{found[-1]} is intact: free some space, then resume_from_checkpoint: true"
        if found
        else "Free some space and run again."
    )


def _write_model(session: Session) -> None:
    staging = checkpoints.stage(session.output_dir / "final")
    try:
        session.save_model(staging)
        session.generation_config.save_pretrained(staging)
        open_as_usual(staging)
        sync_tree(staging)
        move_into(staging, session.output_dir)
    except BaseException:
        checkpoints.discard(staging)
        raise


def _write_results(session: Session, metrics: Mapping[str, float]) -> None:
    parts: dict[str, dict[str, Any]] = {name: {} for name in (TRAIN_RESULTS, *RESULTS.values())}
    for key, value in metrics.items():
        parts[RESULTS.get(key.partition("_")[0], TRAIN_RESULTS)][key] = value
    if parts["eval_results.json"] and "epoch" in metrics:
        parts["eval_results.json"]["epoch"] = metrics["epoch"]
    for name, part in parts.items():
        if part and (name != TRAIN_RESULTS or session.args.do_train):
            write_json(session.output_dir / name, part)
    if metrics:
        write_json(session.output_dir / "all_results.json", dict(metrics))


def _history(session: Session) -> list[dict[str, float]]:
    file = session.output_dir / "trainer_state.json"
    history: list[dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))["log_history"]
    return history
