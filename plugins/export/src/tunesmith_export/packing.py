"""A merged model held in few bits by the picked quantizer, and written so."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Quantizer
from tunesmith.model_heads import VALUE_HEAD
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.loading import load_base

from tunesmith_export.answers import Answers, Difference, answers, difference
from tunesmith_export.calibration import calibration_rows
from tunesmith_export.checks import method_of
from tunesmith_export.weight_files import GB, INDEX
from tunesmith_export.words import words_of

#: How far a packed model's answers may be from themselves once it is read back, as a share of the logits' spread.
READ_BACK = 1e-3
#: The same where it rounds activations, too, and so computes otherwise than plain weights do.
ROUNDED = 0.1


def pack(plan: Plan, plugins: Plugins, backend: Backend, whole: Path, directory: Path) -> Mapping[str, Any]:
    """Quantise the model in ``whole`` into ``directory``, with everything that lies beside its weights.

    :return: facts for the report: what was done, how far its answers are from the plain model's and from themselves read back.
    :raises TunesmithError: nothing was quantised, or it does not come back as it was written.
    """
    bits, chosen = plan["export_quantization_bit"], plan.the("quantizers")
    method, offer = method_of(plan), plugins.quantizers.get(chosen.wanted)
    if method in offer.spec.methods:
        rows = calibration_rows(plan, plugins, whole) if method in offer.spec.calibrated else []
        return _written(plan, plugins, backend, whole, directory, rows)
    wish = ModelWish("policy", str(whole), bits=bits, quantizer=chosen.wanted, packed=True)
    prompts = words_of(plan, plugins, replace(wish, bits=None, quantizer="", packed=False)).prompts
    plain = None
    if plan["export_verify"]:
        plain = answers(load_base(plan, plugins, ModelWish("policy", str(whole)), backend, training=False), prompts)
    model = load_base(plan, plugins, wish, backend, training=False).eval()
    model.save_pretrained(directory, max_shard_size=plan["export_size"] * GB)
    packed = answers(model, prompts) if plain is not None else None  # once saved: some libraries reorder weights to answer
    del model
    _bring_along(whole, directory)
    facts: dict[str, Any] = {"quantizer": chosen.name, "bits": bits, "files": _sizes(directory)}
    if plain is None or packed is None:
        return facts
    there = ModelWish("policy", str(directory), quantizer=chosen.wanted, packed=True)
    again = answers(load_base(plan, plugins, there, backend, training=False).eval(), prompts)
    return {**facts, "quantized_gap": asdict(difference(plain, packed)), "quantized_back": asdict(_same(packed, again))}


def _written(
    plan: Plan, plugins: Plugins, backend: Backend, whole: Path, directory: Path, rows: Sequence[Sequence[int]]
) -> Mapping[str, Any]:
    """Quantise from folder to folder, and ask what was written twice: in few bits, and read into plain weights."""
    chosen, method = plan.the("quantizers"), method_of(plan)
    quantizer: Quantizer = plugins.quantizers.get(chosen.wanted).load()(plan)
    quantizer.write(method, whole, directory, rows)
    _bring_along(whole, directory)
    facts = {
        "quantizer": method,
        "bits": plan["export_quantization_bit"],
        "files": _sizes(directory),
        "calibrated_on": len(rows),
    }
    if not plan["export_verify"]:
        return facts
    there = ModelWish("policy", str(directory), quantizer=chosen.wanted, packed=True)
    wishes = (ModelWish("policy", str(whole)), there, replace(there, packed=False))
    prompts = words_of(plan, plugins, wishes[0]).prompts
    most = ROUNDED if method == "fp8" else READ_BACK
    plain, packed, again = (answers(load_base(plan, plugins, wish, backend, training=False).eval(), prompts) for wish in wishes)
    return {**facts, "quantized_gap": asdict(difference(plain, packed)), "quantized_back": asdict(_same(packed, again, most))}


def _same(packed: Answers, again: Answers, most: float = READ_BACK) -> Difference:
    back = difference(packed, again)
    if not back.typical <= most:
        raise TunesmithError(f"Read back, the quantised model answers differently: logits are off by {back.typical:.2g}.")
    return back


def _bring_along(whole: Path, directory: Path) -> None:
    """What lies beside the weights. The configuration is the packed model's own."""
    for file in whole.iterdir():
        beside = file.suffix != ".safetensors" or file.name == VALUE_HEAD  # which is small, and stays as it is
        if beside and file.name not in (INDEX, "config.json") and not (directory / file.name).exists():
            shutil.copy2(file, directory / file.name)


def _sizes(directory: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(directory.glob("*.safetensors"))}
