"""Tuner × stage × quantizer: every combination of what is installed, a cover of all pairs, and what planning says of each.

Nothing is listed by hand: combinations come from the specs, so that a new tuner, stage or quantizer is in them by itself.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any, TypeAlias

from tunesmith import planning, settings
from tunesmith.config import RunConfig, Setting
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.planning.quantized_checks import learns_packed, learns_plain
from tunesmith.plugins import Plugins
from tunesmith.specs import QuantizerSpec, TunerSpec

EXTRAS = Path(__file__).with_suffix(".toml")
PLAIN = "plain"
#: Folders, inside that of a :class:`Place`, of the model that learns and of one to learn from.
MODEL, TEACHER = "model", "teacher"
#: The stage and the quantizer that the other two axes are shown with.
USUAL_STAGE = "sft"

ANSWERS = [(f"What is {left} plus {right}?", f"It is {left + right}.") for left in range(4) for right in range(2)]
#: Kind of example → its entry of ``dataset_info.json`` and its rows.
DATA: Mapping[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "conversation": ({}, [{"instruction": ask, "output": answer} for ask, answer in ANSWERS]),
    "document": ({"columns": {"prompt": "text"}}, [{"text": f"{ask} {answer} " * 8} for ask, answer in ANSWERS]),
    "preference": (
        {"ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}},
        [{"instruction": ask, "chosen": answer, "rejected": "I do not know."} for ask, answer in ANSWERS],
    ),
    "feedback": (
        {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "label"}},
        [{"instruction": ask, "output": answer, "label": at % 2 == 0} for at, (ask, answer) in enumerate(ANSWERS)],
    ),
    "prompt": ({}, [{"instruction": ask, "output": answer} for ask, answer in ANSWERS]),
}
#: Two steps, nothing saved but the result.
QUICK = {
    "template": "llama3",
    "backend": "cpu",
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "cutoff_len": 64,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
}


@dataclass(frozen=True)
class Bits:
    """One way to hold weights: a quantizer, its bits, and the switch with which weights stay plain while training."""

    name: str = PLAIN
    bits: int = 0
    aware: bool = False
    spec: QuantizerSpec | None = field(default=None, compare=False)

    def __str__(self) -> str:
        words = [self.name, str(self.bits or ""), "aware" if self.aware else ""]
        return " ".join(filter(None, words))

    @property
    def keys(self) -> dict[str, Any]:
        """The flat keys that ask for it."""
        if self.spec is None:
            return {}
        switch = {self.spec.plain_with.key: self.spec.plain_with.value} if self.aware and self.spec.plain_with else {}
        return {"quantization_method": self.spec.name, "quantization_bit": self.bits, **switch}

    @property
    def at_an_end(self) -> bool:
        """Whether it is the first or the last of its quantizer's bits: what lies between differs in nothing but the number."""
        return self.spec is None or self.bits in (self.spec.bits[0], self.spec.bits[-1])

    def excludes(self, tuner: TunerSpec) -> bool:
        """Whether the specs say that this tuner cannot train over such weights."""
        if self.spec is None:
            return False
        if self.aware:
            return not learns_plain(tuner, self.spec)
        return self.spec.trains == "nothing" or (self.spec.trains == "adapters" and not learns_packed(tuner, self.spec))


@dataclass(frozen=True)
class Combination:
    """Names of a tuner and a stage, and a way to hold weights."""

    tuner: str
    stage: str
    bits: Bits = field(default_factory=Bits)

    def __str__(self) -> str:
        return f"{self.tuner}, {self.stage}, {self.bits}"


class Place:
    """A folder with two models, a dataset of every kind, and what comes of the runs."""

    def __init__(self, folder: Path, plugins: Plugins) -> None:
        self.folder = folder
        self.plugins = plugins
        info = {}
        for kind, (entry, rows) in DATA.items():
            (folder / f"{kind}.json").write_text(json.dumps(rows), encoding="utf-8")
            info[kind] = {"file_name": f"{kind}.json", **entry}
        (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")

    @classmethod
    def for_planning(cls, folder: Path, plugins: Plugins) -> Place:
        """One whose model can be planned with and not be loaded: it has shapes and no weights."""
        sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = {"model_type": "llama", "vocab_size": 512, **sizes}
        for model in (folder / MODEL, folder / TEACHER):
            model.mkdir()
            (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
            (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        return cls(folder, plugins)

    @cached_property
    def ways(self) -> list[Bits]:
        """Plain weights, and every quantizer in all its bits."""
        return [Bits(), *(way for offer in self.plugins.quantizers for way in _ways(offer.spec))]

    def all(self) -> list[Combination]:
        """Every combination."""
        tuners = [offer.spec.name for offer in self.plugins.tuners]
        stages = [offer.spec.name for offer in self.plugins.trainers]
        return [Combination(*names) for names in product(tuners, stages, self.ways)]

    def cover(self) -> list[Combination]:
        """Few, quantizers by their first and last bits: every pair that can be trained in one that is, then all other pairs."""
        ends = [one for one in self.all() if one.bits.at_an_end]
        trained = pairwise(ends, self.can_train)
        return [*trained, *pairwise(ends, covered=pairs_of(trained))]

    def can_train(self, combination: Combination) -> bool:
        """Whether its specs and its plan let a combination be trained."""
        tuner = self.plugins.tuners.get(combination.tuner).spec
        return not combination.bits.excludes(tuner) and not self.reason(combination)

    def keys(self, combination: Combination, out: str = "out") -> dict[str, Any]:
        """A configuration that runs a combination."""
        wants = self.plugins.trainers.get(combination.stage).spec.wants
        model, teacher = self.folder / MODEL, self.folder / TEACHER
        extra = {**extras("tuners", combination.tuner), **extras("stages", combination.stage)}
        filled = {key: value.format(teacher=teacher) if isinstance(value, str) else value for key, value in extra.items()}
        return {
            **QUICK,
            "model_name_or_path": str(model),
            "dataset": next(kind for kind in DATA if kind in wants),
            "dataset_dir": str(self.folder),
            "data_cache_dir": str(self.folder / "cache"),
            "output_dir": str(self.folder / out),
            "stage": combination.stage,
            "finetuning_type": combination.tuner,
            **combination.bits.keys,
            **filled,
        }

    def plan(self, combination: Combination, out: str = "out") -> Plan:
        """What the combination comes to.

        :raises ConfigError: it cannot work.
        """
        return planning.make(self._config(self.keys(combination, out)), self.plugins, "train")

    def _config(self, keys: Mapping[str, Any]) -> RunConfig:
        """As reading the same keys from a file would give it, without reading all that is installed again."""
        known = self._empty.keys
        given = {key: value if not isinstance(value, list) else tuple(value) for key, value in keys.items()}
        given["dataset"] = (given["dataset"],)
        made = {key: Setting(value, key, known[key].owner, given=True) for key, value in given.items()}
        return replace(self._empty, settings=made)

    @cached_property
    def _empty(self) -> RunConfig:
        return settings.gather(self.plugins, environ={})

    def reason(self, combination: Combination) -> str:
        """Why planning refuses a combination; empty where it does not."""
        try:
            self.plan(combination)
        except ConfigError as error:
            return error.problems[0].what
        return ""


def _ways(spec: QuantizerSpec) -> Iterator[Bits]:
    yield from (Bits(spec.name, bits, spec=spec) for bits in spec.bits)
    if spec.plain_with:
        yield Bits(spec.name, spec.bits[-1], aware=True, spec=spec)


@cache
def _extras() -> dict[str, Any]:
    return tomllib.loads(EXTRAS.read_text(encoding="utf-8"))


def extras(axis: str, name: str) -> dict[str, Any]:
    """What one stage or tuner needs beyond its defaults."""
    found: dict[str, Any] = _extras()[axis].get(name, {})
    return found


Pair: TypeAlias = tuple[str, str]


def pairwise(
    everything: Sequence[Combination],
    fits: Callable[[Combination], bool] = lambda one: True,
    covered: frozenset[Pair] = frozenset(),
) -> list[Combination]:
    """Some of ``everything`` that fit, with every pair of values that occurs in one that fits, but those ``covered``.

    Greedy: the combination with the most pairs that are still to come is next, if it fits. Deterministic.
    """
    todo = {one: _pairs(one) for one in everything}
    missing = pairs_of(everything) - covered
    chosen = []
    while todo and missing:
        best = max(todo, key=lambda one: len(todo[one] & missing))
        new = todo.pop(best) & missing
        if not new:
            break
        if fits(best):
            chosen.append(best)
            missing -= new
    return chosen


def pairs_of(some: Iterable[Combination]) -> frozenset[Pair]:
    """Every pair of values that occurs."""
    return frozenset(pair for one in some for pair in _pairs(one))


def _pairs(one: Combination) -> frozenset[Pair]:
    values = (f"tuner {one.tuner}", f"stage {one.stage}", f"bits {one.bits}")
    return frozenset(combinations(values, 2))


# ---- the page ----------------------------------------------------------------------------------------------------------


def page(place: Place) -> Iterator[str]:
    """The tables of the documentation: what trains over which weights, and in which stages."""
    tuners = [offer.spec.name for offer in place.plugins.tuners]
    stages = [offer.spec.name for offer in place.plugins.trainers]
    notes: dict[str, int] = {}
    yield "## Over which weights"
    cells = [[Combination(tuner, USUAL_STAGE, way) for way in place.ways] for tuner in tuners]
    yield _table(["tuner", *map(str, place.ways)], cells, place, notes)
    yield "## In which stages"
    cells = [[Combination(tuner, stage) for stage in stages] for tuner in tuners]
    yield _table(["tuner", *(f"`{stage}`" for stage in stages)], cells, place, notes)
    yield "\n".join(f"{number}. {reason}" for reason, number in notes.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[Combination]], place: Place, notes: dict[str, int]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        lines.append(f"| `{row[0].tuner}` | {' | '.join(_cell(place.reason(one), notes) for one in row)} |")
    return "\n".join(lines)


def _cell(reason: str, notes: dict[str, int]) -> str:
    if not reason:
        return "yes"
    words = reason.split(" ")
    general = " ".join(["It", *words[1:]]) if len(words) > 1 else reason
    return f"no ({notes.setdefault(general, len(notes) + 1)})"
