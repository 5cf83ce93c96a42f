"""Which quantizer holds each model's weights: the one ``quantization_bit`` asks for, or the one that reads what lies there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tunesmith.model_folder import quantization_of, read_json
from tunesmith.plan import ModelWish
from tunesmith.planning.choose import check_packages, choose_named, whence
from tunesmith.planning.draft import Draft, roles_of
from tunesmith.planning.models import find_in
from tunesmith.planning.stacks import require_stack, server_of
from tunesmith.registry import Offer
from tunesmith.specs import POLICY, QuantizerSpec

AXIS = "quantizers"
METHOD = "quantization_method"


def quantize(draft: Draft) -> None:
    """Pick the quantizers, and write into each of ``draft.models`` which one is its own."""
    if AXIS in draft.command.picks:
        for role, wish in draft.models.items():
            if wish.path:
                draft.models[role] = _quantized(draft, wish)
        if draft.command.packs and draft.value(draft.command.packs):
            _choose_to_write(draft, draft.command.packs)
        if draft.given(METHOD) and not draft.picked(AXIS) and not any(wish.bits for wish in draft.models.values()):
            draft.notices.append(f"{METHOD}: {draft.value(METHOD)} does nothing without quantization_bit")
    draft.notices += _other_bases(draft)


def quantizer_of(draft: Draft, wish: ModelWish) -> QuantizerSpec | None:
    """The quantizer of a model, if it has one."""
    return draft.plugins.quantizers.get(wish.quantizer).spec if wish.quantizer else None


def bits_key(draft: Draft, name: str) -> str:
    """The key that asks for the bits of a role: its own where that is given, for its model may share the policy's bits."""
    key = next((role.bits for role in roles_of(draft) if role.name == name), "")
    return key if key and draft.given(key) else POLICY.bits


def _quantized(draft: Draft, wish: ModelWish) -> ModelWish:
    folder = find_in(draft, str(wish.path)).folder
    held = quantization_of(read_json(folder, "config.json")) if folder is not None and not draft.problems else {}
    if held and (server := server_of(draft)) is not None:
        method = held["quant_method"]
        draft.notices.append(f"{wish.path} holds weights quantised by {method}; {server.name} reads them by itself")
        return wish
    if held:
        offer = _reader(draft, wish, held)
    else:
        offer = _asked_for(draft, wish) if wish.bits else None
    if offer is None:
        return wish
    packed = _stays_packed(draft, wish, offer.spec)
    further = offer.spec.packages.get(wish.bits or 0, ()) if packed else ()
    check_packages(draft, AXIS, offer, further=further)
    return replace(wish, quantizer=f"{offer.spec.name}@{offer.owner.plugin}", packed=packed)


def _stays_packed(draft: Draft, wish: ModelWish, spec: QuantizerSpec) -> bool:
    """Whether the weights stay in few bits: not in runs that train or merge what can be loaded into plain weights."""
    trains = "trainers" in draft.command.picks
    if spec.trains == "anything":
        return bool(spec.kernels) and not (trains or "exporters" in draft.command.picks or _lacks_kernels(draft, spec))
    aware = spec.plain_with is not None and draft.value(spec.plain_with.key) == spec.plain_with.value
    return not (aware and trains and wish.bits)


def _lacks_kernels(draft: Draft, spec: QuantizerSpec) -> bool:
    lacking = [kind for kind in spec.kernels.get(0, ()) for backend in draft.picked("backends") if kind not in backend.kernels]
    if lacking:
        names = " and ".join(backend.name for backend in draft.picked("backends"))
        why = f"the backend {names} runs no {lacking[0]} kernels"
        draft.notices.append(f"{spec.name} weights are loaded into plain ones: {why}")
    return bool(lacking)


# ---- quantised while loading -----------------------------------------------------------------------------------------


def _asked_for(draft: Draft, wish: ModelWish) -> Offer[QuantizerSpec] | None:
    """The quantizer that ``quantization_method`` names, if it can do these bits."""
    wanted = str(draft.value(METHOD))
    names = {alias: offer.spec.name for offer in draft.plugins.quantizers for alias in offer.spec.aliases}
    before = len(draft.offers)
    choose_named(draft, AXIS, METHOD, names.get(wanted, wanted))
    picked = [offer for axis, offer in draft.offers if axis == AXIS]
    if not picked or (len(draft.offers) == before and names.get(wanted, wanted).partition("@")[0] != picked[-1].spec.name):
        return None
    offer: Offer[QuantizerSpec] = picked[-1]
    if wish.bits in offer.spec.bits:
        return offer
    key, name = bits_key(draft, wish.role), offer.spec.name
    if offer.spec.bits:
        known = " or ".join(map(str, offer.spec.bits))
        draft.problem(key, f"{name} has no {wish.bits} bits", f"Write {key}: {known}.")
    else:
        what = f"{name} cannot quantise a model while it is loaded: it reads models that were quantised by it before"
        draft.problem(key, what, f"Give such a model and leave out {key}, or choose another {METHOD}.")
    return None


def method_of(draft: Draft) -> str:
    """The method that a command quantises its model by."""
    return str(draft.value(METHOD)) if draft.given(METHOD) else draft.command.packs_with


def _choose_to_write(draft: Draft, key: str) -> None:
    """The quantizer that a command writes its model with."""
    wanted = method_of(draft)
    bits = draft.value(key)
    if (writer := _writer(draft, wanted, bits)) is not None:
        draft.pick(AXIS, writer, f"{writer.spec.name} writes {wanted}")
        check_packages(draft, AXIS, writer)
        require_stack(draft, METHOD if draft.given(METHOD) else key, writer.spec.writes_in)
        return
    names = {alias: offer.spec.name for offer in draft.plugins.quantizers for alias in offer.spec.aliases}
    choose_named(draft, AXIS, METHOD if draft.given(METHOD) else key, names.get(wanted, wanted))
    spec = next(iter(draft.picked(AXIS)), None)
    if spec is None or not (why := _cannot_write(draft, spec, bits)):
        return
    specs = [offer.spec for offer in draft.plugins.quantizers if offer.spec.writes or offer.spec.methods]
    able = ", ".join(f"{name} ({_listed(several)})" for one in specs for name, several in _writable(one))
    draft.problem(key, f"{key}: {bits} cannot be done: {why}", f"Write {METHOD} with one that can: {able}.")


def _writer(draft: Draft, method: str, bits: int) -> Offer[QuantizerSpec] | None:
    """Who quantises a model that lies in a folder by this method to these bits."""
    return next((offer for offer in draft.plugins.quantizers if bits in offer.spec.methods.get(method, ())), None)


def _writable(spec: QuantizerSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The words of ``quantization_method`` that a quantizer can write by, with their bits."""
    if spec.writes:
        yield spec.name, spec.writes
    yield from spec.methods.items()


def _cannot_write(draft: Draft, spec: QuantizerSpec, bits: int) -> str:
    others = [several for offer in draft.plugins.quantizers if (several := offer.spec.methods.get(spec.name))]
    if others:
        return f"{spec.name} is written in {_listed(others[0])} bits"
    if not spec.writes:
        return spec.unwritten or f"what {spec.name} has quantised cannot be saved"
    if bits not in spec.writes:
        return f"{spec.name} can write {_listed(spec.writes)} bits"
    lacking = [
        kind for kind in spec.kernels.get(bits, ()) for backend in draft.picked("backends") if kind not in backend.kernels
    ]
    return f"{spec.name} quantises to {bits} bits by {lacking[0]} kernels, which do not run here" if lacking else ""


def _listed(bits: tuple[int, ...]) -> str:
    return " or ".join(map(str, bits))


# ---- quantised before ------------------------------------------------------------------------------------------------


def _reader(draft: Draft, wish: ModelWish, held: Mapping[str, Any]) -> Offer[QuantizerSpec] | None:
    """The quantizer that reads what the model's folder holds."""
    method = str(held["quant_method"])
    offer = next((offer for offer in draft.plugins.quantizers if method in offer.spec.reads), None)
    if offer is None:
        _unread(draft, wish, method)
        return None
    if wish.bits and not _same(draft, wish.bits, held, offer.spec):
        key = bits_key(draft, wish.role)
        what = f"{wish.path} holds weights quantised by {method} already; {key}: {wish.bits} cannot quantise them again"
        draft.problem(key, what, f"Leave out {key}, or give the model that these weights were made from.")
        return None
    draft.pick(AXIS, offer, f"{wish.path} holds weights quantised by {method}")
    return offer


def _unread(draft: Draft, wish: ModelWish, method: str) -> None:
    what = f"{wish.path} holds weights quantised by {method}"
    if package := draft.plugins.catalogue.names(AXIS).get(method):
        draft.lacks("model_name_or_path", f"{what}, whose reader is not installed", whence(draft, package))
    else:
        read = sorted({name for offer in draft.plugins.quantizers for name in offer.spec.reads})
        listed = f"Read are {', '.join(read)}." if read else ""
        hint = f"Give the model that they were made from. {listed}".strip()
        draft.problem("model_name_or_path", f"{what}, which no quantizer reads", hint)


def _same(draft: Draft, bits: int, held: Mapping[str, Any], spec: QuantizerSpec) -> bool:
    """Whether the user asks for what is there anyway."""
    there = held.get("bits") or (4 if held.get("load_in_4bit") else 8 if held.get("load_in_8bit") else None)
    asked = str(draft.value(METHOD)).partition("@")[0]
    return asked in (spec.name, *spec.aliases) and there in (None, bits)


# ---- adapters --------------------------------------------------------------------------------------------------------


def _other_bases(draft: Draft) -> Iterator[str]:
    """Adapters that were trained over weights in other bits than those they now lie on."""
    wish = draft.models.get("policy")
    for adapter in wish.adapters if wish else ():
        folder = find_in(draft, adapter).folder
        recorded = read_json(folder, "plan.json").get("models", {}).get("policy", {}) if folder else {}
        if recorded.get("packed") and wish and not wish.packed:
            name, bits = str(recorded["quantizer"]).partition("@")[0], recorded.get("bits")
            over = f"in {bits} bits ({name})" if bits else f"quantised by {name}"
            yield f"the adapter {adapter} was trained over weights {over}; here it lies on plain ones"
