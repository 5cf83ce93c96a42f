"""FSDP's configuration, be it in words of FSDP1, transformers or ``accelerate launch``. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith import TunesmithError
from tunesmith.errors import nearest
from tunesmith.mapping_files import read_mapping

#: Settings that change nothing here, and why.
NEEDLESS: Mapping[str, str] = {
    "state_dict_type": "results are always whole weights, and each process keeps its part of the optimizer",
    "activation_checkpointing": "disable_gradient_checkpointing decides, and recomputing is the default",
    "cpu_ram_efficient_loading": "every process reads the weights into CPU memory and keeps its part",
    **dict.fromkeys(
        ("backward_prefetch", "forward_prefetch", "use_orig_params", "sync_module_states", "limit_all_gathers"),
        "it belongs to FSDP1, and FSDP2 does without",
    ),
    "backward_prefetch_policy": "it belongs to FSDP1, and FSDP2 does without",
}
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "none", "")
#: What older words say about giving gathered weights back after a layer has used them.
STRATEGIES = {
    **dict.fromkeys(("full_shard", "hybrid_shard", "1", "4"), True),
    **dict.fromkeys(("shard_grad_op", "hybrid_shard_zero2", "_hybrid_shard_zero2", "2", "5"), False),
}
WRAPPING = ("transformer_based_wrap", "size_based_wrap", "no_wrap")
#: What each process is told by ``accelerate launch`` with a configuration of FSDP.
ASKED = "ACCELERATE_USE_FSDP"


@dataclass(frozen=True)
class FsdpConfig:
    """What is shared out, and how.

    :param reshard: gathered weights are given back after the forward pass, and gathered again for the backward pass.
    :param offload: parts lie in CPU memory, and so does the optimizer's work.
    :param layers: names of module classes that are each gathered as one; empty: those that transformers does not split.
    :param least: modules of at least so many weights are each gathered as one, instead of by class.
    :param copies: how many copies of the model there are, each shared out over as many processes.
    :param parts: over how many processes a copy is shared out; 0: over all that there are.
    """

    reshard: bool = True
    offload: bool = False
    layers: tuple[str, ...] = ()
    least: int = 0
    copies: int = 1
    parts: int = 0


def read_config(value: Callable[[str], Any], environ: Mapping[str, str], folder: Path) -> tuple[FsdpConfig, list[str]]:
    """The configuration, and what was left out or translated in it.

    :param value: flat key → its value.
    :param environ: the environment variables; ``accelerate launch`` puts its configuration there.
    :param folder: the folder of the run's configuration.
    :raises TunesmithError: it cannot be read, or asks for what FSDP2 does not have.
    """
    given = {_name(key): one for key, one in read_mapping(value("fsdp_config"), folder, "FSDP").items()}
    if environ.get(ASKED, "").lower() in TRUE:
        given = {**_told(environ), **given}
    words = value("fsdp") if isinstance(value("fsdp"), str) else ""
    given = {**_from_words(words), **given}
    notices = [f"fsdp_config: {key} is left out: {NEEDLESS[key]}" for key in sorted(set(given) & set(NEEDLESS))]
    known = {key: one for key, one in given.items() if key not in NEEDLESS}
    return replace(FsdpConfig(), **dict(_read(known)), **_sizes(value("parallelism_config") or {})), notices


def _name(key: str) -> str:
    return key.removeprefix("fsdp_")


def _told(environ: Mapping[str, str]) -> dict[str, Any]:
    """What accelerate passes on; the rest it writes for every run, whether it was asked for or not."""
    told = {name.removeprefix("FSDP_").lower(): one for name, one in environ.items() if name.startswith("FSDP_")}
    return {key: one for key, one in told.items() if key in READERS or key == "version"}


def _from_words(words: str) -> dict[str, Any]:
    """``full_shard auto_wrap offload``, as ``fsdp`` was written before it became a switch."""
    found: dict[str, Any] = {}
    for word in words.replace(",", " ").lower().split():
        if word == "offload":
            found["cpu_offload"] = True
        elif word in STRATEGIES:
            found["reshard_after_forward"] = STRATEGIES[word]
        elif word not in ("auto_wrap", *TRUE):
            raise TunesmithError(f"fsdp knows no {word!r}", nearest(word, [*STRATEGIES, "offload"]) or "Write fsdp: true.")
    return found


def _read(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, one in given.items():
        if key == "version":
            if str(one) != "2":
                raise TunesmithError(f"fsdp_config: there is no version {one}", "Write version: 2, or leave it out.")
        elif key.startswith("xla"):
            if truth(key, one):
                raise TunesmithError(f"fsdp_config: {key} needs a TPU, for which there is no backend", "Leave it out.")
        elif key in READERS:
            yield from READERS[key](key, one)
        else:
            known = [*READERS, *NEEDLESS, "version"]
            raise TunesmithError(f"fsdp_config knows no {key}", nearest(key, known) or f"There are {', '.join(READERS)}.")


def truth(key: str, one: Any) -> bool:
    """A truth value, however it is written.

    :raises TunesmithError: it is none.
    """
    if str(one).lower() in (*TRUE, *FALSE):
        return str(one).lower() in TRUE
    raise TunesmithError(f"fsdp_config: {key} is true or false, not {one!r}")


def _reshard(key: str, one: Any) -> Iterator[tuple[str, Any]]:
    word = str(one).lower()
    if word in ("no_shard", "3"):
        raise TunesmithError(f"fsdp_config: {key}: {one} shares nothing out", "Leave fsdp out.")
    yield "reshard", STRATEGIES[word] if word in STRATEGIES and word not in TRUE else truth(key, one)


def _offload(key: str, one: Any) -> Iterator[tuple[str, Any]]:
    yield "offload", truth(key, one)


def _layers(key: str, one: Any) -> Iterator[tuple[str, Any]]:
    names = one.split(",") if isinstance(one, str) else one or ()
    yield "layers", tuple(name.strip() for name in names if name.strip())


def _least(key: str, one: Any) -> Iterator[tuple[str, Any]]:
    try:
        yield "least", int(one)
    except (TypeError, ValueError):
        raise TunesmithError(f"fsdp_config: {key} is a number of weights, not {one!r}") from None


def _wrapping(key: str, one: Any) -> Iterator[tuple[str, Any]]:
    word = str(one).lower()
    if word not in WRAPPING:
        raise TunesmithError(f"fsdp_config: {key} knows no {one!r}", f"There are {', '.join(WRAPPING).upper()}.")
    if word == "no_wrap":
        yield "least", NOTHING_ALONE


#: More weights than any module has: everything is gathered at once.
NOTHING_ALONE = 1 << 62
READERS: Mapping[str, Callable[[str, Any], Iterator[tuple[str, Any]]]] = {
    "reshard_after_forward": _reshard,
    "sharding_strategy": _reshard,
    "cpu_offload": _offload,
    "offload_params": _offload,
    "transformer_layer_cls_to_wrap": _layers,
    "transformer_cls_to_wrap": _layers,
    "transformer_cls_names_to_wrap": _layers,
    "min_num_params": _least,
    "auto_wrap_policy": _wrapping,
}
SIZES = {"dp_shard_size": "parts", "dp_replicate_size": "copies"}
#: Sizes of ``parallelism_config`` that nobody carries out, and why.
ELSEWHERE = {
    "tp_size": "tensor parallelism",
    "cp_size": "context parallelism",
    "sp_size": "sequence parallelism",
    "pp_size": "pipeline parallelism",
    "ep_size": "expert parallelism",
}


def _sizes(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, one in given.items():
        if key in ELSEWHERE and one not in (None, 1):
            hint = f"Leave {key} out." if key != "tp_size" else f"Write tp_size: {one} by itself, in place of fsdp."
            raise TunesmithError(f"parallelism_config: {key}: {one} asks for {ELSEWHERE[key]}, which fsdp does not do", hint)
        if key in SIZES and (not isinstance(one, int) or one < 1):
            raise TunesmithError(f"parallelism_config: {key} is a number from 1, not {one!r}")
        if key in SIZES:
            found[SIZES[key]] = one
        elif key not in ELSEWHERE and not key.endswith(("_backend", "_handler")):
            raise TunesmithError(f"parallelism_config knows no {key}", nearest(key, SIZES) or f"There are {', '.join(SIZES)}.")
    return found
