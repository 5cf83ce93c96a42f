"""A whole run in miniature for tests of trainers: a two-layer model, rows of tokens, a plan and an open session.

Nothing but the core and the plugin under test takes part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module, resources
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.config import Setting
from tunesmith.data.conversation import Tokens
from tunesmith.host_options import HOST_GROUPS
from tunesmith.plan import Chosen, ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.registry import Owner
from tunesmith.spec import options_of
from tunesmith.specs import AXES, Role
from tunesmith.testing.small_tokenizers import write_tokenizer
from tunesmith.testing.tiny_models import tiny_llama

if TYPE_CHECKING:
    from tunesmith.runtime.session import Session

TEMPLATE = """[small]
summary = "For tests"
user = "<|im_start|>{content}<|im_end|>"
prompt = "<s>"
reply = "{content}<|im_end|>"
stop = ["<|im_end|>"]
"""
#: What the tiny model can tell apart without any word being cut in two.
WORDS = 300
#: The roles that a small plan fills by itself: a model as it starts. Others are filled where their key names a folder.
PLAYED = ("policy", "reference")
PICKED = {"tuners": "everything", "backends": "processor", "launchers": "plain", "strategies": "ddp"}
QUICK: Mapping[str, Any] = {
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "lr_scheduler_type": "constant",
    "num_train_epochs": 1.0,
    "disable_tqdm": True,
    "do_train": True,
    "disable_gradient_checkpointing": True,
    "verbosity": "warning",
    "max_new_tokens": 4,
    "do_sample": False,
    "dataloader_num_workers": 0,
}


@dataclass(frozen=True)
class SmallStore:
    """Rows of tokens in memory, read as those on disk are."""

    rows: Sequence[Mapping[str, Any]]
    packed: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Mapping[str, Tokens]:
        return {name: value for name, value in self.rows[index].items() if isinstance(value, Tokens)}

    def boundaries(self, index: int) -> tuple[int, ...]:
        """Tokens in each document of a row."""
        row = self.rows[index]
        length = len(row["tokens"].ids)
        return tuple(int(part) for part in np.diff([*row.get("starts", (0,)), length]))

    @property
    def sequences(self) -> tuple[str, ...]:
        """Names of the sequences that each row has."""
        return tuple(name for name, value in self.rows[0].items() if isinstance(value, Tokens))

    def facts(self, index: int) -> Mapping[str, Any]:
        """What is known of a row beside its tokens."""
        return {name: value for name, value in self.rows[index].items() if not isinstance(value, Tokens)}

    def lengths(self, name: str | None = None) -> np.ndarray[Any, Any]:
        """Tokens of one sequence of each row."""
        return np.array([len(row[name or self.sequences[0]].ids) for row in self.rows])

    def __iter__(self) -> Iterator[Mapping[str, Tokens]]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class SmallReport:
    """A data report with nothing in it."""

    def to_json(self) -> str:
        """Nothing."""
        return "{}"


@dataclass(frozen=True)
class SmallPrepared:
    """Prepared data without files: the session is given its rows by hand."""

    train: None = None
    evals: Mapping[str, Path] = field(default_factory=dict)
    report: SmallReport = SmallReport()
    fingerprint: str = "small"
    stream: None = None


def small_model(folder: Path, *, dtype: str = "float32", **config: Any) -> Path:
    """Write a two-layer model with a tokenizer into ``folder``."""
    import torch

    write_tokenizer(folder)
    ids = {"bos_token_id": 400, "eos_token_id": 403, "pad_token_id": 401}
    tiny_llama(**{"vocab_size": 512, **ids, **config}).to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def small_rows(
    count: int, *, seed: int = 0, lengths: tuple[int, int] = (6, 14), names: Sequence[str] = ("tokens",)
) -> list[dict[str, Any]]:
    """Rows whose second half repeats the first, so that there is something to learn: the first half is not learned."""
    generator = np.random.default_rng(seed)
    return [{name: _echo(generator, *lengths) for name in names} for _ in range(count)]


def _echo(generator: np.random.Generator, least: int, most: int) -> Tokens:
    half = generator.integers(5, WORDS, generator.integers(least, most + 1) // 2)
    weights = np.repeat(np.array([0.0, 1.0], np.float32), len(half))
    return Tokens(np.concatenate([half, half]).astype(np.int32), weights)


def pack(rows: Sequence[Mapping[str, Any]], size: int) -> list[dict[str, Any]]:
    """Every ``size`` rows in one."""
    packs = []
    for at in range(0, len(rows), size):
        tokens = [row["tokens"] for row in rows[at : at + size]]
        starts = np.cumsum([0, *(len(one.ids) for one in tokens)])[:-1]
        ids, weights = (np.concatenate([getattr(one, name) for one in tokens]) for name in ("ids", "weights"))
        packs.append({"tokens": Tokens(ids, weights), "starts": starts})
    return packs


def small_plugins(**modules: str) -> Plugins:
    """The host with small parts and the named plugin modules (``acme="tunesmith_acme.plugin"``), whatever else is installed."""
    modules = {"small": "tunesmith.testing.small_parts", **modules}
    return Plugins(found=[EntryPoint(name, value, "tunesmith") for name, value in modules.items()])


def small_plan(folder: Path, plugins: Plugins, stage: str, *, picked: Mapping[str, str] = {}, **keys: Any) -> Plan:
    """A plan for ``stage`` on a small model: everybody's defaults, then :data:`QUICK`, then ``keys``.

    :param folder: the model is written into ``folder/model`` where it is not there yet; ``output_dir`` is ``folder/out``.
    """
    model = folder / "model"
    if not (model / "config.json").is_file():
        small_model(model)
    (folder / "small.toml").write_text(TEMPLATE, encoding="utf-8")
    given = {"model_name_or_path": str(model), "output_dir": str(folder / "out"), "template": f"{folder}/small.toml:small"}
    given |= {"stage": stage, **QUICK, **keys}
    axes = {"trainers": stage, **PICKED, **picked}
    settings = {
        **_defaults(plugins, axes),
        **{key: Setting(value, "by hand", _owner(key), given=True) for key, value in given.items()},
    }
    picks = [*axes.items(), *_listed(given)]
    chosen = tuple(Chosen(axis, name, plugins.axis(axis).get(name).owner, "by hand") for axis, name in picks)
    roles = [role for role in plugins.trainers.get(stage).spec.roles if _played(role, given) and _needed(role, settings)]
    return Plan("train", settings, chosen, models={role.name: _wish(role, given) for role in roles})


def _listed(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What keys name of the axes of which a run may use several."""
    return (
        (axis.hook, name) for axis in AXES if axis.listed and axis.listed != "report_to" for name in given.get(axis.listed, ())
    )


def _played(role: Role, given: Mapping[str, Any]) -> bool:
    return role.name in PLAYED or Path(str(given.get(role.model))).is_dir()


def _needed(role: Role, settings: Mapping[str, Setting]) -> bool:
    module, _, function = role.needed.partition(":")
    return not module or bool(getattr(import_module(module), function)(lambda key: settings[key].value))


def _wish(role: Role, given: Mapping[str, Any]) -> ModelWish:
    """Every role has the same model, or the one that its key names."""
    path = given.get(role.model) or given["model_name_or_path"]
    return ModelWish(role.name, str(path), head="lm" if role.head == "lm" else "value")


def _defaults(plugins: Plugins, axes: Mapping[str, str]) -> dict[str, Setting]:
    kinds = [kind for _, kind in HOST_GROUPS]
    kinds += [kind for axis, name in axes.items() if (kind := options_of(plugins.axis(axis).get(name).spec))]
    settings = {item.name: Setting(item.default, "default", "host") for kind in kinds for item in fields(kind)}
    return {**settings, **{one["name"]: Setting(one["default"], "default", "transformers") for one in _arguments()}}


def _arguments() -> list[dict[str, Any]]:
    text = resources.files("tunesmith").joinpath("training_arguments.json").read_text(encoding="utf-8")
    listed: list[dict[str, Any]] = json.loads(text)["arguments"]
    return listed


def _owner(key: str) -> str:
    return "transformers" if any(one["name"] == key for one in _arguments()) else Owner("host", "tunesmith-core", "0").plugin


def small_session(plan: Plan, plugins: Plugins, train: Any, evals: Mapping[str, Any] = {}) -> Session:
    """An open session over rows in memory."""
    from tunesmith.runtime.session import open_session

    session = open_session(plan, plugins, SmallPrepared())  # type: ignore[arg-type]
    session.train_data, session.eval_data = train, dict(evals)
    return session


def small_losses(session: Session) -> list[float]:
    """The losses that a finished run has logged, in order."""
    return small_measures(session.output_dir, "loss")


def small_measures(output_dir: Path, name: str) -> list[float]:
    """One measure that a finished run has logged, in order."""
    lines = json.loads((output_dir / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [entry[name] for entry in lines if name in entry]
