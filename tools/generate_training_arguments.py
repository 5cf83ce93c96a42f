"""Write ``training_arguments.json``: the training arguments of the installed transformers as flat keys, and its optimizers.

Run it after raising the transformers version: ``python tools/generate_training_arguments.py``. Names, defaults and help come
from the library; types too, except where the library's are wider than what it accepts (``CLOSER``).
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import json
import re
import textwrap
import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import transformers
from transformers import Seq2SeqTrainingArguments
from transformers.trainer_optimizer import _OPTIMIZER_HANDLERS
from transformers.training_args import OptimizerNames, trainer_log_levels
from tunesmith.kinds import is_union, read_kind, write_kind
from tunesmith.values import convert

OUT = Path(__file__).resolve().parent.parent / "core" / "src" / "tunesmith" / "training_arguments.json"
ENUMS = {
    name: kind
    for name, kind in vars(transformers.training_args).items()
    if isinstance(kind, type) and issubclass(kind, enum.Enum)
}


def _one_of(*words: str) -> str:
    return f"Literal[{', '.join(map(repr, words))}]"


#: Types that say more than the library's: closed choices, lists that it also takes as one string, paths or booleans.
CLOSER: dict[str, str] = {
    "optim": _one_of(*(name.value for name in OptimizerNames)),
    "report_to": "tuple[str, ...]",
    "optim_target_modules": "tuple[str, ...] | None",
    "include_num_input_tokens_seen": f"{_one_of('all', 'non_padding', 'no')} | bool",
    "train_sampling_strategy": _one_of("random", "sequential", "group_by_length", "batch_rebalance"),
    "dataloader_multiprocessing_context": f"{_one_of('fork', 'spawn', 'forkserver')} | None",
    "log_level": _one_of(*trainer_log_levels),
    "log_level_replica": _one_of(*trainer_log_levels),
    "resume_from_checkpoint": "bool | str | None",
    "debug": f"tuple[{_one_of('underflow_overflow', 'tpu_metrics_debug')}, ...]",
    "include_for_metrics": f"tuple[{_one_of('inputs', 'loss')}, ...]",
    "fsdp": "bool | str | None",
    "generation_config": "str | None",
    "parallelism_config": "dict | None",
    "trackio_static_space_id": "Literal[False] | str | None",
}
#: Arguments that are keys of strategies, which give them to the library: a plugin each.
ELSEWHERE = ("deepspeed", "fsdp", "fsdp_config", "parallelism_config")
AT_LEAST_ONE = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
#: Bounds that the library checks late or not at all.
BOUNDS: dict[str, dict[str, float]] = {
    name: {"least": 1} for name in (*AT_LEAST_ONE, "save_total_limit", "eval_accumulation_steps")
}
BOUNDS |= {name: {"least": 0} for name in ("learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "logging_steps")}
BOUNDS |= {
    name: {"least": 0} for name in ("save_steps", "eval_steps", "eval_delay", "dataloader_num_workers", "neftune_noise_alpha")
}
BOUNDS |= {name: {"above": 0} for name in ("num_train_epochs", "adam_epsilon", "ddp_timeout", "generation_max_length")}
BOUNDS |= {name: {"least": 0, "below": 1} for name in ("adam_beta1", "adam_beta2", "label_smoothing_factor")}

#: What to ``pip install`` for a package whose distribution has another name than its module.
INSTALL = {
    "lomo_optim": "lomo-optim",
    "optimi": "torch-optimi",
    "torch_npu": "torch-npu",
    "torch_xla": "torch-xla",
}
_PICKLED = "keeps objects in its state that only pickle could write into a checkpoint"
#: Beginning of a name → why nothing with such a name is run, and what to write instead.
REFUSED = {
    "galore_": (_PICKLED, "Write use_galore: true and leave optim out."),
    "apollo_": (_PICKLED, "Write use_apollo: true and leave optim out."),
    "adamw_anyprecision": ("needs torchdistx, which is published no longer", "Write pure_bf16: true with optim: adamw_torch."),
}


def optimizers() -> list[dict[str, str]]:
    """Every value of ``optim`` with the package that the library imports for it, read from the code that does so."""
    return [_optimizer(name) for name in OptimizerNames]


def _optimizer(name: OptimizerNames) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(_OPTIMIZER_HANDLERS[name])))
    modules = {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    needed = sorted(modules - {"torch"})
    words = {"name": name.value}
    for beginning, (why, instead) in REFUSED.items():
        if name.value.startswith(beginning):
            return words | {"refused": why, "instead": instead}
    words |= {"needs": needed[0], "install": INSTALL.get(needed[0], needed[0])} if needed else {}
    return words | ({"schedule": "constant"} if name.value.startswith("schedule_free") else {})


def arguments() -> list[dict[str, Any]]:
    """Every argument in the library's order, as data."""
    return [
        _argument(item) for item in dataclasses.fields(Seq2SeqTrainingArguments) if item.init and item.name not in ELSEWHERE
    ]


def _argument(item: dataclasses.Field[Any]) -> dict[str, Any]:
    kind = CLOSER.get(item.name) or write_kind(_kind(item.type))
    default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    default = default.value if isinstance(default, enum.Enum) else default
    words = {
        "name": item.name,
        "type": kind,
        "default": _in_json(kind, default),
        "help": _sentence(item.metadata.get("help", "")),
    }
    return words | ({"range": BOUNDS[item.name]} if item.name in BOUNDS else {})


def _in_json(kind: str, default: Any) -> Any:
    value = convert(read_kind(kind), default) if default is not None else None
    return list(value) if isinstance(value, tuple) else value


def _kind(annotation: Any) -> Any:
    """The library's annotation in the kinds that options can have."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return Literal[tuple(member.value for member in annotation)]
    if is_union(annotation):
        return _union(get_args(annotation))
    if annotation is list or get_origin(annotation) is list:
        return tuple[(get_args(annotation) or (str,))[0], ...]
    if annotation is dict or get_origin(annotation) is dict:
        return dict[str, (get_args(annotation) or (str, Any))[1]]
    return types.NoneType if annotation is None else annotation


def _union(members: tuple[Any, ...]) -> Any:
    enums = [member for member in members if isinstance(member, type) and issubclass(member, enum.Enum)]
    if enums:  # `Scheduler | str`: the text is the enum's value
        members = tuple(member for member in members if member is not str)
    kinds = [_kind(member) for member in members if member is not types.NoneType]
    return typing.Union[(*kinds, *([types.NoneType] if types.NoneType in members else []))]


def _sentence(text: str) -> str:
    first = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", " ".join(text.split()))[0]
    return first.replace("%%", "%")


def text() -> str:
    """The whole file: one thing a line, so that a new version shows as a short difference."""
    version, lists = json.dumps(transformers.__version__), {"arguments": arguments(), "optimizers": optimizers()}
    return f'{{\n "transformers": {version},\n' + ",\n".join(_lines(name, items) for name, items in lists.items()) + "\n}\n"


def _lines(name: str, items: list[dict[str, Any]]) -> str:
    return f' "{name}": [\n' + ",\n".join("  " + json.dumps(item) for item in items) + "\n ]"


if __name__ == "__main__":
    OUT.write_text(text(), encoding="utf-8")
    print(f"{len(arguments())} arguments of transformers {transformers.__version__} → {OUT.name}")
