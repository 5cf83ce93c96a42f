"""Which models Liger knows, and which kernels it has for each, read from its source: nothing of it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import Problem
from tunesmith.errors import nearest
from tunesmith.model_folder import find_model, read_json

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TABLE = "MODEL_TYPE_TO_APPLY_LIGER_FN"
#: Replaces a function of torch itself, for everything in the process.
GLOBAL = "cross_entropy"


@cache
def known_models() -> Mapping[str, frozenset[str]]:
    """Kernels by ``model_type``; empty where Liger is not installed."""
    spec = find_spec("liger_kernel")
    if spec is None or not spec.submodule_search_locations:
        return {}
    file = Path(spec.submodule_search_locations[0]) / "transformers" / "monkey_patch.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kernels = {node.name: _switches(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {kind: kernels.get(function, frozenset()) for kind, function in _table(tree)}


def _switches(function: ast.FunctionDef) -> frozenset[str]:
    return frozenset(argument.arg for argument in function.args.args if argument.arg != "model")


def _table(tree: ast.Module) -> list[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == TABLE:
            keys = (ast.literal_eval(key) for key in node.value.keys if key is not None)
            return list(zip(keys, map(ast.unparse, node.value.values), strict=True))
    raise RuntimeError(f"Liger's table {TABLE} is not where it was")


def model_problems(plan: Plan) -> Iterator[Problem]:
    """The model is not one that Liger knows, or has not the kernels that were named."""
    setting, asked = plan.settings["enable_liger_kernel"], plan.settings["liger_kernel_config"]
    kind, known = _model_type(plan), known_models()
    if not kind or not known:
        return
    if kind not in known:
        hint = nearest(kind, known) or "Leave enable_liger_kernel out."
        yield Problem(setting.origin, f"Liger knows no model of type {kind!r}", hint)
        return
    yield from (Problem(asked.origin, what, instead) for what, instead in kernel_faults(kind, asked.value or {}))


def kernel_faults(kind: str, asked: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """What is wrong with the kernels that were named for a type of model, and what to write instead."""
    has = sorted(known_models()[kind] - {GLOBAL})
    for name, on in asked.items():
        if name == GLOBAL:
            if on:
                yield "Liger's cross_entropy replaces torch's own for the whole process", "Use fused_linear_cross_entropy."
        elif name not in has:
            yield f"Liger has no kernel {name!r} for {kind}", nearest(name, has) or f"It has {', '.join(has)}."


def _model_type(plan: Plan) -> str:
    wish = plan.models.get("policy")
    if wish is None or not wish.path:
        return ""
    folder = find_model(wish.path, revision=str(plan["model_revision"]), cache_dir=plan["cache_dir"]).folder
    return str(read_json(folder, "config.json").get("model_type", "")) if folder is not None else ""
