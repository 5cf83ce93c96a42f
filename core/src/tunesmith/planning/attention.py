"""Which attention kernel a run uses: the one that ``flash_attn`` asks for, or an error; never another in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.config import Setting
from tunesmith.planning.draft import Draft
from tunesmith.plugins import Plugins
from tunesmith.registry import Offer
from tunesmith.specs import AcceleratorSpec, BackendSpec

KEY = "flash_attn"
#: What transformers and torch compute by themselves. The other kernels come with accelerators.
OWN = {"disabled": "eager", "eager": "eager", "sdpa": "sdpa"}


def bringing(plugins: Plugins, value: str) -> Offer[AcceleratorSpec] | None:
    """The accelerator that ``flash_attn: value`` switches on."""
    offers = (offer for offer in plugins.accelerators if offer.spec.switch is not None and offer.spec.switch.key == KEY)
    return next((offer for offer in offers if offer.spec.switch and offer.spec.switch.value == value), None)


def kernel_of(value: str, plugins: Plugins) -> str | None:
    """transformers' name of the kernel behind a value of ``flash_attn``; ``None`` where transformers chooses."""
    offer = bringing(plugins, value)
    return OWN.get(value) or (offer.spec.attention or None if offer is not None else None)


def choose_attention(draft: Draft, known: Mapping[str, str]) -> None:
    """Pick the accelerator that brings the kernel, whatever the command; say what ``auto`` comes to.

    :param known: values that a package brings, installed or not, and the package.
    """
    wanted = draft.value(KEY)
    offer = bringing(draft.plugins, wanted) if isinstance(wanted, str) else None
    if wanted == "auto":
        _say_auto(draft)
    elif offer is not None and "backends" in draft.command.picks:
        draft.pick("accelerators", offer, draft.origin(KEY))
    elif wanted in known and offer is None:
        draft.lacks(KEY, f"flash_attn: {wanted} is not installed", f"It comes with {known[wanted]}.")


def _say_auto(draft: Draft) -> None:
    for spec in draft.picked("backends"):
        best = _value(spec.attention[0], draft.plugins)
        why = f"{draft.origin(KEY)}: {best} on {spec.name}, eager for a model that has no {best}"
        draft.settings[KEY] = Setting("auto", why, "host", given=draft.given(KEY))


def check_attention(draft: Draft) -> None:
    """The backend has the kernel, for what the run does with it."""
    wanted = draft.value(KEY)
    kernel = kernel_of(wanted, draft.plugins) if isinstance(wanted, str) else None
    trains = bool(draft.picked("trainers") and draft.value("do_train"))
    for spec in draft.picked("backends"):
        has = spec.attention if trains else (*spec.attention, *spec.attention_to_infer)
        if kernel is None or kernel in has:
            continue
        names = ", ".join(value for one in has if (value := _value(one, draft.plugins)))
        draft.lacks(KEY, _why_not(spec, wanted, kernel), f"Write one of {names}, or auto.")


def _why_not(spec: BackendSpec, wanted: Any, kernel: str) -> str:
    if kernel in spec.attention_to_infer:
        return f"flash_attn: {wanted} cannot train on {spec.name}: it has no backward pass there"
    return f"the backend {spec.name} has no {wanted} attention"


def _value(kernel: str, plugins: Plugins) -> str:
    """The value of ``flash_attn`` that asks for a kernel; empty where nobody brings it."""
    if kernel in OWN.values():
        return kernel
    return next((str(o.spec.switch.value) for o in plugins.accelerators if o.spec.attention == kernel and o.spec.switch), "")
