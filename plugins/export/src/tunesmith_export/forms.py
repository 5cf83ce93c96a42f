"""The steps of an export: merge, then quantise or write in another form, then what belongs beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.contracts import Backend, Exporter
from tunesmith.model_heads import VALUE_HEAD
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.durable_files import open_as_usual, write_json, write_text

from tunesmith_export.card import model_card
from tunesmith_export.device import Processor
from tunesmith_export.exporter import REPORT, SafetensorsExporter
from tunesmith_export.packing import pack

#: The merged model of forms that start from one, inside the folder that they fill.
MERGED = ".merged"


def carry_out(plan: Plan, plugins: Plugins, folder: Path) -> Mapping[str, Any]:
    """Write what the plan asks for into ``folder``, which is empty, and report."""
    offer = plugins.exporters.get(plan.the("exporters").wanted)
    form: Exporter = offer.load()(plan)
    bits = plan["export_quantization_bit"]
    if offer.spec.takes == "adapters" and not bits:
        return form.export(plan, folder)
    whole = folder / MERGED
    whole.mkdir()
    report = {**SafetensorsExporter(plan).export(plan, whole)}
    if bits:
        report |= pack(plan, plugins, _backend(plan, plugins), whole, folder)
    else:
        report |= form.export(replace(plan, models={"policy": ModelWish("policy", str(whole))}), folder)
    if (whole / VALUE_HEAD).is_file() and not (folder / VALUE_HEAD).is_file():
        report["omitted"] = {**report["omitted"], VALUE_HEAD: f"the form {offer.spec.name} has no place for it."}
    shutil.rmtree(whole)
    write_text(folder / "README.md", model_card(report))
    write_json(folder / REPORT, report)
    open_as_usual(folder)
    return report


def _backend(plan: Plan, plugins: Plugins) -> Backend:
    if plan["export_device"] == "cpu":
        return Processor(plan)
    backend: Backend = plugins.backends.get(plan.the("backends").wanted).load()(plan)
    return backend
