"""Write ``peft_kinds.json``: the kinds of adapters that the installed peft offers, each with its options as flat keys.

Run it after raising the peft version: ``python tools/generate_peft_kinds.py``. Fields, types, defaults and help come from
peft's own configuration classes; what they are called here, and what is left out, is decided by the tables below.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType
from tunesmith.kinds import is_union, may_be_none, read_kind, write_kind

OUT = Path(__file__).resolve().parent.parent / "plugins" / "lora" / "src" / "tunesmith_lora" / "peft_kinds.json"

#: Name of the tuner → what it does, in a line. The name is peft's own type in small letters.
KINDS: dict[str, str] = {
    "adalora": "Low-rank updates whose ranks move to where they matter (AdaLoRA).",
    "adamss": "Low-rank updates of clusters within each weight (AdaMSS).",
    "beft": "Learned shifts of the outputs of chosen layers (BEFT).",
    "boft": "Orthogonal butterfly factors that turn the weights (BOFT).",
    "c3a": "Block-circulant updates, computed by Fourier transforms (C3A).",
    "deft": "Low-rank updates that remove a subspace and put another in its place (DEFT).",
    "delora": "Normalised low-rank updates with a bounded strength (DeLoRA).",
    "fourierft": "Updates given by a few Fourier coefficients (FourierFT).",
    "frod": "Sparse full-rank updates in a shared joint decomposition (FRoD).",
    "glora": "Low-rank scaling and shifting of weights, inputs and biases (GLoRA).",
    "gralora": "Low-rank updates of the blocks of each weight (GraLoRA).",
    "hira": "High-rank updates: the weight times a low-rank matrix, entry by entry (HiRA).",
    "hra": "Chains of Householder reflections that turn the weights (HRA).",
    "ia3": "Learned scales of keys, values and feed-forward activations (IA³).",
    "lily": "Low-rank updates whose halves are shared across layers (Lily).",
    "ln_tuning": "Only the normalisation layers learn, saved as an adapter.",
    "loha": "Hadamard products of two low-rank updates (LoHa).",
    "lokr": "Kronecker products as updates (LoKr).",
    "miss": "Updates from one small matrix shared by the shards of a weight (MiSS, Bone).",
    "oft": "Orthogonal blocks that turn the weights (OFT).",
    "osf": "The minor singular directions of the weights learn (OSF).",
    "peanut": "Small networks over the weights themselves as updates (PEANuT).",
    "psoft": "Orthogonal turns inside the principal subspace (PSOFT).",
    "pvera": "VeRA with a probability distribution over its vectors (PVeRA).",
    "randlora": "Full-rank updates from fixed random bases with learned scales (RandLoRA).",
    "road": "Learned 2-D rotations and scales of layer outputs (RoAd).",
    "shira": "A random few entries of each weight learn (SHiRA).",
    "supertuning": "A chosen few entries of each weight learn (supertuning).",
    "tinylora": "A handful of numbers steer fixed singular directions (TinyLoRA).",
    "trainable_tokens": "Only the embeddings of chosen tokens learn.",
    "unilora": "All updates projected from one small learned vector (Uni-LoRA).",
    "vblora": "Updates put together from a shared bank of vectors (VB-LoRA).",
    "vera": "Fixed random matrices, shared by all layers, with learned scales (VeRA).",
    "waveft": "Updates given by a few wavelet coefficients (WaveFT).",
}
#: peft's types that are not offered here, and why.
LEFT_OUT: dict[str, str] = {
    "LORA": "the tuner lora",
    "XLORA": "mixes adapters that are trained already",
    "POLY": "wants the number of a task with every row, which no dataset format has",
    "SHADOW": "puts objects of its own between layers, which no decoder of today's transformers takes",
    "ADAPTION_PROMPT": "prompt learning",
    "CARTRIDGE": "prompt learning",
    "CPT": "prompt learning",
    "MULTITASK_PROMPT_TUNING": "prompt learning",
    "PREFIX_TUNING": "prompt learning",
    "PROMPT_TUNING": "prompt learning",
    "P_TUNING": "prompt learning",
}
#: peft cannot fold these into plain weights: their update is no matrix of the layer's own.
NOT_MERGEABLE = ("beft", "lily")
#: Ran on weights that bitsandbytes holds in four bits: trained, saved, loaded again with the same answers.
OVER_QUANTIZED = frozenset(
    {"adalora", "beft", "boft", "c3a", "fourierft", "gralora", "ia3", "lily", "ln_tuning", "miss", "oft", "pvera"}
    | {"randlora", "road", "shira", "trainable_tokens", "unilora", "vblora", "vera", "waveft"}
)
#: Kinds that peft has made for more kinds of quantised layers than torch's, or for fewer: hira computes with the weights, which
#: only layers give back that were made for them.
OVER_SOME = {"oft": True, "hira": ["linear"]}
#: Packages that peft imports for a kind and does not require.
NEEDS: dict[str, tuple[str, ...]] = {"adamss": ("sklearn",)}
#: The key that chooses a kind's layers, where it is not ``lora_target``; empty where nothing is to be chosen.
TARGETS: dict[str, str] = {"oft": "oft_target", "ln_tuning": "ln_tuning_target", "trainable_tokens": ""}

#: Fields that are no choice of a user here: the host decides (targets, task, mode, that all of it is saved), or another tuner
#: is for it (biases: they are the base's own, which an adapter leaves alone).
HOST_DECIDES = frozenset(
    {item.name for item in dataclasses.fields(peft.PeftConfig)}
    | {"target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern"}
    | {"fan_in_fan_out", "bias", "progressbar", "runtime_offload_base_weight"}
    | {"save_projection", "save_indices", "save_precomputed_indices", "save_only_topk_weights"}
)
#: AdaLoRA's class inherits everything from LoRA's and reads little of it.
ADALORA = frozenset(
    {"target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "lora_alpha", "lora_dropout"}
)
#: What a callback in a training loop of one's own would have to drive, or what only tests want.
UNUSED: dict[str, frozenset[str]] = {
    "adamss": frozenset(
        {"use_asa", "asa_target_subspaces", "init_warmup", "final_warmup", "mask_interval"}
        | {"asa_importance_beta", "asa_uncertainty_beta", "asa_schedule_exponent"}
    ),
    "loha": frozenset({"use_effective_conv2d"}),
    "lokr": frozenset({"use_effective_conv2d"}),
}
#: Names that are not ``kind_field``: those that users know from elsewhere, and the plain ones.
NAMES: dict[tuple[str, str], str] = {
    ("oft", "module_dropout"): "module_dropout",
    ("adalora", "lora_alpha"): "adalora_alpha",
    ("adalora", "lora_dropout"): "adalora_dropout",
    ("adalora", "deltaT"): "adalora_delta_t",
    ("adalora", "target_r"): "adalora_target_r",
    ("adalora", "init_r"): "adalora_init_r",
    ("ia3", "feedforward_modules"): "ia3_feedforward_modules",
    ("trainable_tokens", "token_indices"): "trainable_tokens_indices",
}
WORDS = {"r": "rank"}
RANGES: dict[str, dict[str, float]] = {
    "rank": {"least": 1},
    "dropout": {"least": 0, "below": 1},
}


def kinds() -> list[dict[str, Any]]:
    """Every kind as data."""
    unknown = {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - {name.upper() for name in KINDS} - set(LEFT_OUT)
    if unknown:
        raise SystemExit(
            f"peft {peft.__version__} has kinds that are neither offered nor left out: {', '.join(sorted(unknown))}"
        )
    return [_kind(name, summary) for name, summary in KINDS.items()]


def _kind(name: str, summary: str) -> dict[str, Any]:
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name.upper())]
    return {
        "name": name,
        "type": name.upper(),
        "config": config.__name__,
        "summary": summary,
        "target": TARGETS.get(name, "lora_target"),
        "mergeable": name not in NOT_MERGEABLE,
        "over_quantized": OVER_SOME.get(name, ["linear", "tensor"] if name in OVER_QUANTIZED else False),
        "needs": list(NEEDS.get(name, ())),
        "options": [_option(name, item, help_) for item, help_ in _fields(name, config)],
    }


def _fields(name: str, config: type) -> Iterator[tuple[dataclasses.Field[Any], str]]:
    hints = typing.get_type_hints(config)
    documented = _documented(config)
    for item in dataclasses.fields(config):
        if item.name in HOST_DECIDES or item.name in UNUSED.get(name, ()) or (name == "adalora" and item.name not in ADALORA):
            continue
        item.type = hints[item.name]
        if item.name.startswith("init_") and not _has_choice(item.type) and bool in _members(item.type):
            continue  # off only for peft's own tests
        yield item, item.metadata.get("help") or documented.get(item.name, "")


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if is_union(kind) else (kind,)


def _has_choice(kind: Any) -> bool:
    return any(get_origin(member) is Literal for member in _members(kind))


def _option(kind: str, item: dataclasses.Field[Any], help_: str) -> dict[str, Any]:
    name = _name(kind, item.name)
    default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    default = default.value if isinstance(default, enum.Enum) else None if default == {} else default
    annotation = _annotation(item.type)
    if default is None and not may_be_none(annotation):
        annotation = annotation | None
    told = {
        "name": name,
        "field": item.name,
        "type": write_kind(annotation),
        "default": default,
        "help": _sentence(help_ or item.name),
    }
    read_kind(told["type"])
    bounds = next((RANGES[end] for end in RANGES if name.endswith(f"_{end}") and annotation is not bool), None)
    if bounds and kind == "oft" and item.name == "r":
        bounds = {"least": 0}  # 0 follows oft_block_size
    return told | ({"range": bounds} if bounds else {})


def _name(kind: str, field: str) -> str:
    plain = WORDS.get(field, field).lower()
    return NAMES.get((kind, field)) or (plain if plain.startswith(f"{kind}_") else f"{kind}_{plain}")


def _annotation(kind: Any) -> Any:
    """peft's annotation in the kinds that options can have."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Literal[tuple(member.value for member in kind)]
    if is_union(kind):
        return _union(get_args(kind))
    if kind is list or get_origin(kind) is list:
        return tuple[(get_args(kind) or (str,))[0], ...]
    if kind is dict or get_origin(kind) is dict:
        return dict[str, Any]
    return kind


def _union(members: tuple[Any, ...]) -> Any:
    """Without plain text beside a closed choice, or beside a list, which may be written as text."""
    made = [_annotation(member) for member in members if member is not types.NoneType]
    if any(get_origin(one) in (Literal, tuple) for one in made):
        made = [one for one in made if one is not str]
    return typing.Union[(*made, *([types.NoneType] if types.NoneType in members else []))]


def _documented(config: type) -> dict[str, str]:
    """The first sentences about each argument in a class's docstring."""
    found = re.findall(r"^ +(\w+) \(.*?\):\s*\n?((?:.|\n)*?)(?=^ +\w+ \(.*?\):|\Z)", config.__doc__ or "", re.M)
    return {name: " ".join(text.split()) for name, text in found}


def _sentence(text: str) -> str:
    """The first sentence, at most a line and a half."""
    first = re.split(r"(?<=[.!?])\s+(?=[A-Z`'])", " ".join(text.split()))[0]
    return first if len(first) <= 180 else first[:177].rsplit(" ", 1)[0] + " …"


def text() -> str:
    """The whole file: one option a line, so that a new version shows as a short difference."""
    blocks = []
    for kind in kinds():
        options = ",\n".join("   " + json.dumps(option, ensure_ascii=False) for option in kind.pop("options"))
        head = json.dumps(kind, ensure_ascii=False)[:-1]
        blocks.append(f'  {head}, "options": [\n{options}\n  ]}}' if options else f'  {head}, "options": []}}')
    joined = ",\n".join(blocks)
    return f'{{\n "peft": "{peft.__version__}",\n "kinds": [\n{joined}\n ]\n}}\n'


if __name__ == "__main__":
    OUT.write_text(text(), encoding="utf-8")
    print(f"{len(KINDS)} kinds of peft {peft.__version__} → {OUT.name}")
