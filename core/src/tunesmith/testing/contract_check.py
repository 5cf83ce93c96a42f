"""Whether a class satisfies its contract, judged by its signatures, without making an object of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith import contracts, specs


@dataclass(frozen=True)
class Contract:
    """The Protocol of an axis, and the names of the arguments its objects are made with."""

    protocol: type
    made_with: tuple[str, ...] = ("plan",)


#: What the object behind each kind of spec must be. Axes that are not here hold no object with verbs.
CONTRACTS: Mapping[type, Contract] = {
    specs.SourceSpec: Contract(contracts.Source, ("dataset", "plan")),
    specs.FormatSpec: Contract(contracts.Format, ("columns", "tags")),
    specs.ToolSyntaxSpec: Contract(contracts.ToolSyntax, ()),
    specs.TunerSpec: Contract(contracts.Tuner),
    specs.TrainerSpec: Contract(contracts.Trainer),
    specs.RewardSpec: Contract(contracts.Reward),
    specs.ToolSpec: Contract(contracts.Tool),
    specs.OptimizerSpec: Contract(contracts.Optimizer),
    specs.QuantizerSpec: Contract(contracts.Quantizer),
    specs.AcceleratorSpec: Contract(contracts.Accelerator),
    specs.BackendSpec: Contract(contracts.Backend),
    specs.LauncherSpec: Contract(contracts.Launcher),
    specs.StrategySpec: Contract(contracts.Strategy),
    specs.EngineSpec: Contract(contracts.Engine),
    specs.TrackerSpec: Contract(contracts.Tracker),
    specs.MetricSpec: Contract(contracts.Metric),
    specs.EvaluatorSpec: Contract(contracts.Evaluator),
    specs.ExporterSpec: Contract(contracts.Exporter),
}


def contract_faults(kind: Any, contract: Contract) -> Iterator[str]:
    """Everything in which the class ``kind`` falls short of ``contract``, in words for its author."""
    if not inspect.isclass(kind):
        yield f"{kind!r} is no class; the host makes the object itself, with ({', '.join(contract.made_with)})"
        return
    yield from _making(kind, contract.made_with)
    for verb, wanted in verbs(contract.protocol).items():
        found = inspect.getattr_static(kind, verb, None)
        if found is None or verb in getattr(kind, "__abstractmethods__", ()):
            yield f"{kind.__name__} has no {verb}{inspect.signature(wanted)}"
        elif found is not wanted:
            yield from (f"{kind.__name__}.{verb} {fault}" for fault in _signature(found, wanted))


def verbs(protocol: type) -> dict[str, Any]:
    """The public methods of a Protocol."""
    return {name: item for name, item in vars(protocol).items() if inspect.isfunction(item) and not name.startswith("_")}


def _making(kind: type, made_with: tuple[str, ...]) -> Iterator[str]:
    expected = f"the host makes it as {kind.__name__}({', '.join(made_with)})"
    init = inspect.getattr_static(kind, "__init__")
    if getattr(init, "__module__", "") == "typing" or init is object.__init__:
        if made_with:
            yield f"{kind.__name__} has no __init__, and {expected}"
        return
    try:
        inspect.signature(init).bind(object(), *made_with)
    except TypeError as error:
        yield f"{kind.__name__} cannot be made ({error}); {expected}"


def _signature(found: Any, wanted: Any) -> Iterator[str]:
    theirs = _parameters(found)
    ours = _parameters(wanted)
    if theirs is None or ours is None:
        yield "is no method"
        return
    positional = [p.name for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = [p.name for p in ours if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.Signature(theirs).bind(*positional, **dict.fromkeys(named))
    except TypeError as error:
        yield f"cannot be called as the contract says ({error}); write {wanted.__name__}{inspect.signature(wanted)}"
        return
    names = [p.name for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD]
    for name, expected in zip(names, positional, strict=False):
        if name != expected:
            yield f"calls its parameter {name!r} where the contract says {expected!r}"


def _parameters(method: Any) -> list[inspect.Parameter] | None:
    """The parameters of a method as it is called on an object, without ``self``."""
    function = method.__func__ if isinstance(method, (staticmethod, classmethod)) else method
    if not callable(function):
        return None
    parameters = list(inspect.signature(function).parameters.values())
    return parameters if isinstance(method, staticmethod) else parameters[1:]
