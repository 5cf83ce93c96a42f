"""What the reference model thinks of answers: asked while learning, or once before it starts and kept."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object, send_to_device
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import Dataset
from tunesmith import TunesmithError
from tunesmith.runtime.fingerprints import model_hash
from tunesmith.runtime.loading import adapter_folder, model_folder
from tunesmith.runtime.precision import autocast

if TYPE_CHECKING:
    from tunesmith.runtime.session import Session

log = logging.getLogger(__name__)

FOLDER = "reference_log_probs"
#: Names under which a row keeps what the reference model said, for the two stages.
PAIR_NAMES = ("ref_chosen_logps", "ref_rejected_logps")

Read = Callable[[Any, Mapping[str, Any]], Sequence[torch.Tensor]]


class Reference:
    """The reference model of a run.

    :param read: runs a model over a batch and returns one tensor of shape (rows,) to each of ``names``.
    :param names: under which a batch holds what was kept.
    """

    def __init__(self, session: Session, read: Read, names: Sequence[str]) -> None:
        self.session, self.read, self.names = session, read, tuple(names)

    def pairs(self, batch: Mapping[str, Any]) -> Sequence[torch.Tensor]:
        """What it says of a batch: one tensor to each name."""
        if all(name in batch for name in self.names):
            return [batch[name] for name in self.names]
        return self.ask(batch)

    def ask(self, batch: Mapping[str, Any]) -> Sequence[torch.Tensor]:
        """Ask the model itself, without gradients; where there is none, the policy, which has not learned yet."""
        session = self.session
        with torch.no_grad(), autocast(session.plan, session.backend):
            if "reference" in session.models:
                with session.answering_as("reference") as model:
                    return self.read(model, batch)
            policy = session.models["policy"]
            was_training = policy.training
            try:
                return self.read(policy.eval(), batch)
            finally:
                policy.train(was_training)


class KeptRows(Dataset[Mapping[str, Any]]):
    """Rows with what the reference model said of each."""

    def __init__(self, rows: Any, kept: Mapping[str, torch.Tensor]) -> None:
        self.rows, self.kept = rows, kept

    @property
    def store(self) -> Any:
        """The rows' own store."""
        return self.rows.store

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return {**self.rows[index], **{name: float(values[index]) for name, values in self.kept.items()}}


def keep(reference: Reference, rows: Any, collate: Callable[..., Any], name: str, facts: Mapping[str, Any]) -> KeptRows:
    """Ask the reference model about every row, or read what it said before.

    It is written into ``output_dir``, so that a run that is resumed, whose policy has learned since, finds it again.

    :param name: of the rows, ``train`` or that of an evaluation.
    :param facts: what the answers depend on beside model and rows.
    :raises TunesmithError: the run is resumed, and what the policy said before it learned is gone or is of other data.
    """
    session = reference.session
    file = session.output_dir / FOLDER / f"{name}.safetensors"
    key = _key(session, rows, facts)
    found = _read(file, key)
    if found is None:
        if session.resume is not None and "reference" not in session.models:
            raise TunesmithError(
                f"{file} does not hold what the model said before it learned, and now it has learned.",
                "Start anew, or name the reference model: ref_model: …",
            )
        found = _ask_all(reference, rows, collate)
        if session.args.should_save:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(found, file, {"key": key})
    return KeptRows(rows, found)


def _read(file: Path, key: str) -> dict[str, torch.Tensor] | None:
    if not file.is_file():
        return None
    with safe_open(file, "pt") as held:
        if (held.metadata() or {}).get("key") != key:
            return None
        return {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118  (it is no dictionary)


def _key(session: Session, rows: Any, facts: Mapping[str, Any]) -> str:
    """Changes whenever the answers could."""
    plan = session.plan
    wish = plan.models.get("reference") or plan.models["policy"]
    path = wish.path or plan.models["policy"].path
    adapters = [adapter_folder(plan, name) for name in wish.adapters]
    weights = [sorted((file.name, file.stat().st_size) for file in folder.glob("*.safetensors")) for folder in adapters]
    data = getattr(rows.store, "fingerprint", len(rows))
    whole = [model_hash(model_folder(plan, str(path))), weights, wish.bits, data, dict(facts)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _ask_all(reference: Reference, rows: Any, collate: Callable[..., Any]) -> dict[str, torch.Tensor]:
    session = reference.session
    args, size = session.args, session.args.per_device_eval_batch_size
    log.info("Asking the reference model about %d rows.", len(rows))
    mine = range(args.process_index, len(rows), args.world_size)
    said: list[tuple[int, tuple[float, ...]]] = []
    for at in range(0, len(mine), size):
        numbers = mine[at : at + size]
        batch = collate([rows[number] for number in numbers])
        columns = [tensor.float().tolist() for tensor in reference.ask(send_to_device(batch, args.device))]
        said += zip(numbers, zip(*columns, strict=True), strict=True)
    if args.world_size > 1:
        said = gather_object(said)
    table = torch.tensor([values for _, values in sorted(said)], dtype=torch.float32)
    return {name: table[:, i].clone() for i, name in enumerate(reference.names)}
