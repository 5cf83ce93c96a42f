"""The README.md beside a trained model: what it was made from, with what, and how well it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import yaml

from tunesmith.contracts import Outcome
from tunesmith.runtime.versions import versions

if TYPE_CHECKING:
    from tunesmith.runtime.session import Session

#: Settings that anybody who reads the card wants to know.
SHOWN = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "bf16", "pure_bf16", "cutoff_len", "packing", "seed",
)  # fmt: skip


def model_card(session: Session, outcome: Outcome) -> str:
    """The card as Markdown with the metadata that model hubs read."""
    plan = session.plan
    base, stage, tuner = plan["model_name_or_path"], plan.the("trainers").name, plan.the("tuners").name
    data = list(dict.fromkeys(one.name for one in plan.datasets))
    meta = {"base_model": base, "pipeline_tag": "text-generation", "tags": ["tunesmith", stage, tuner]}
    title = session.output_dir.resolve().name
    parts = [
        f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---\n",
        f"# {title}\n",
        f"[{base}] fine-tuned with Tunesmith: stage `{stage}`, `{tuner}`, {outcome.steps} steps.\n",
        _table("Made from", {"base model": base, "data": ", ".join(data) or "—", "template": _template(session)}),
        _table("Settings", {key: plan[key] for key in SHOWN if key in plan.settings and plan.settings[key].given}),
        _table("Figures", {key: f"{value:.6g}" for key, value in outcome.metrics.items()}),
        _table("Versions", versions()),
        "`plan.json` holds every setting with its origin, `data_report.json` what became of the data.\n",
    ]
    return "\n".join(part for part in parts if part)


def _template(session: Session) -> str:
    return f"{session.renderer.name}" if session.renderer else "none (plain text)"


def _table(title: str, rows: Mapping[str, object]) -> str:
    if not rows:
        return ""
    lines = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())
    return f"## {title}\n\n| | |\n|---|---|\n{lines}\n"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
