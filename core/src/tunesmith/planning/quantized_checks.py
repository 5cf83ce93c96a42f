"""What cannot be done with weights in few bits."""

from __future__ import annotations

from tunesmith.plan import ModelWish
from tunesmith.planning.draft import Draft
from tunesmith.planning.quantizing import bits_key, quantizer_of
from tunesmith.specs import BackendSpec, QuantizerSpec, TunerSpec


def check_quantized(draft: Draft) -> None:
    """Who can learn over them, and where their kernels run."""
    _over_quantized(draft)
    _backends(draft)
    _sharded(draft)


def _sharded(draft: Draft) -> None:
    """Processes share out pieces of weights, and packed ones have to look like the others for that."""
    for wish in draft.models.values() if draft.spread.shards == "weights" else ():
        spec = quantizer_of(draft, wish)
        if spec and wish.packed and (wish.bits or 0) not in spec.shards:
            strategy = draft.picked("strategies")[0].name
            bits = f" in {wish.bits} bits" if wish.bits else ""
            what = f"{strategy} cannot share out the weights of {spec.name}{bits}: they are of no format that it knows"
            able = [f"{o.spec.name} in {b} bits" for o in draft.plugins.quantizers for b in o.spec.shards]
            draft.problem(
                bits_key(draft, wish.role) if wish.bits else "model_name_or_path",
                what,
                f"Use {' or '.join(able)}." if able else "Leave out one of them.",
            )


def _over_quantized(draft: Draft) -> None:
    """What learns over weights in few bits, or over weights that are to be in few bits, if anything can."""
    wish = draft.models.get("policy")
    spec = quantizer_of(draft, wish) if wish and draft.picked("trainers") else None
    if wish is None or spec is None:
        return
    key = bits_key(draft, wish.role) if wish.bits else "model_name_or_path"
    for tuner in draft.picked("tuners"):
        if not wish.packed and not learns_plain(tuner, spec):
            what = f"{tuner.name} computes with the weights themselves, not with what they will be once they are quantised"
            switch = spec.plain_with.key if spec.plain_with else ""
            own = [offer.spec.name for offer in draft.plugins.tuners if offer.spec.saves == "model"]
            draft.problem(switch, what, f"Leave out {switch}, or use a tuner that trains the weights: {', '.join(own)}.")
        elif wish.packed and spec.trains != "nothing" and not learns_packed(tuner, spec):
            draft.problem(key, f"{tuner.name} cannot train over quantised weights", _instead(draft, spec))
    if wish.packed and spec.trains == "nothing":
        draft.problem(key, f"weights quantised by {spec.name} can be used and not trained over", _instead(draft, spec))
    if wish.packed and len(wish.adapters) > 1:
        what = "adapters cannot be merged into quantised weights, and only the last of those given can go on learning"
        draft.problem("adapter_name_or_path", what, "Give one adapter, or export the merged model first.")


def learns_packed(tuner: TunerSpec, spec: QuantizerSpec) -> bool:
    """Whether a tuner can train over weights that this quantizer holds in few bits."""
    return tuner.over_quantized if isinstance(tuner.over_quantized, bool) else spec.layers in tuner.over_quantized


def learns_plain(tuner: TunerSpec, spec: QuantizerSpec) -> bool:
    """Whether a tuner can train where this quantizer leaves weights plain: in aware training it must go through the layers."""
    return spec.plain_with is None or tuner.saves == "model" or learns_packed(tuner, spec)


def _instead(draft: Draft, spec: QuantizerSpec) -> str:
    ways = (
        [offer.spec.name for offer in draft.plugins.tuners if learns_packed(offer.spec, spec)]
        if spec.trains == "adapters"
        else []
    )
    hints = [f"Use a tuner that can: {', '.join(ways)}."] if ways else []
    if switch := spec.plain_with:
        hints.append(f"With {switch.key}: {str(switch.value).lower()} weights stay plain while they learn.")
    return " ".join(hints) or "Train the model that they were made from."


def _backends(draft: Draft) -> None:
    """A quantizer's kernels are made for some devices, and a backend may carry some quantizers only."""
    for backend in draft.picked("backends"):
        for wish in draft.models.values():
            spec = quantizer_of(draft, wish)
            if spec and wish.packed:
                _check_backend(draft, backend, spec, wish)


def _check_backend(draft: Draft, backend: BackendSpec, spec: QuantizerSpec, wish: ModelWish) -> None:
    lacking = [kind for kind in spec.kernels.get(wish.bits or 0, ()) if kind not in backend.kernels]
    if lacking:
        bits = f" in {wish.bits} bits" if wish.bits else ""
        what = f"{spec.name}{bits} is made of {' and '.join(lacking)} kernels, which the backend {backend.name} cannot run"
        others = [bits for bits in spec.bits if bits not in spec.kernels]
        hint = f"There it has {' and '.join(map(str, others))} bits." if others else "Choose another quantization_method."
        draft.lacks(bits_key(draft, wish.role), what, hint)
    elif backend.carries and spec.name not in backend.carries:
        what = f"the backend {backend.name} carries no {spec.name}"
        draft.lacks(bits_key(draft, wish.role), what, f"It carries {', '.join(backend.carries)}.")
