"""What each role wants: a model of its own, or the one that learns as it was before, whose weights it shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.model_folder import read_json
from tunesmith.model_heads import PICKLED_VALUE_HEAD, classifies, has_value_head
from tunesmith.plan import ModelWish
from tunesmith.planning.draft import Draft, roles_of
from tunesmith.planning.models import check_adapter, check_model, find_in, unfold_adapter
from tunesmith.planning.vocabularies import differing_words
from tunesmith.specs import POLICY, Role, TunerSpec


def wish(draft: Draft) -> None:
    """Fill ``draft.models``; find out what is not here."""
    for role in roles_of(draft):
        found = _policy(draft, role) if role.name == POLICY.name else _other(draft, role)
        if found is not None:
            draft.models[role.name] = found


def _policy(draft: Draft, role: Role) -> ModelWish | None:
    name = draft.value(role.model)
    if name is None:
        return None
    found = _own(draft, role, str(name), tuple(draft.value(role.adapters) or ()), draft.value(role.bits))
    return replace(found, head=_head(draft, role, found, learns=bool(draft.picked("trainers"))))


def _own(draft: Draft, role: Role, name: str, adapters: tuple[str, ...], bits: int | None) -> ModelWish:
    """A model from its folder, checked."""
    name, adapters = unfold_adapter(draft, role, name, adapters)
    check_model(draft, role.model, name)
    for adapter in adapters:
        check_adapter(draft, role.adapters, adapter, name)
    return ModelWish(role.name, name, adapters, bits)


# ---- roles beside the policy -----------------------------------------------------------------------------------------


def _other(draft: Draft, role: Role) -> ModelWish | None:
    policy, name = draft.models.get(POLICY.name), draft.value(role.model)
    if policy is None:
        return None
    if name is None and not role.as_started:
        draft.lacks(role.model, f"{role.model} is not given", f"The stage needs a {role.name} model: write {role.model}: …")
        return None
    kind = role.kinds[str(draft.value(role.kind))] if role.kind else "model"
    if kind == "address":
        _check_address(draft, role, str(name))
        return None
    found = _on_policy(draft, role, policy, str(name)) if kind == "adapter" else _named(draft, role, policy, name)
    found = replace(found, head=_head(draft, role, found, learns=False))
    _check_words(draft, role, policy, found)
    return _shared(draft, policy, found)


def _named(draft: Draft, role: Role, policy: ModelWish, name: str | None) -> ModelWish:
    adapters, bits = tuple(draft.value(role.adapters) or ()), draft.value(role.bits)
    if name is not None:
        return _own(draft, role, str(name), adapters, bits)
    for adapter in adapters:
        check_adapter(draft, role.adapters, adapter, str(policy.path))
    return ModelWish(role.name, policy.path, adapters or policy.adapters, bits or policy.bits)


def _on_policy(draft: Draft, role: Role, policy: ModelWish, adapter: str) -> ModelWish:
    """An adapter that lies on the model that learns."""
    for key in (role.adapters, role.bits):
        if draft.value(key):
            draft.problem(key, f"{key} has no meaning with {role.kind}: {draft.value(role.kind)}", "Leave it out.")
    if adapter.startswith(("http://", "https://")):
        word = next((word for word, kind in role.kinds.items() if kind == "address"), "")
        draft.problem(role.model, f"{role.model} is an address", f"Write {role.kind}: {word}")
    else:
        check_adapter(draft, role.model, adapter, str(policy.path))
    merged = policy.adapters[: _merged(draft, policy)]
    return ModelWish(role.name, policy.path, (*merged, adapter), policy.bits)


def _check_address(draft: Draft, role: Role, address: str) -> None:
    if not address.startswith(("http://", "https://")):
        what = f"{role.model}: {address} is no address, which {role.kind}: {draft.value(role.kind)} asks for"
        draft.problem(role.model, what, "Write http://HOST:PORT/…")


# ---- sharing the policy's weights ------------------------------------------------------------------------------------


def _merged(draft: Draft, policy: ModelWish) -> int:
    """How many of the policy's adapters are part of the base on which the last one learns."""
    goes_on = all(not (spec.starts_anew and draft.value(spec.starts_anew)) for spec in draft.picked("tuners"))
    return len(policy.adapters) - 1 if goes_on and policy.adapters else len(policy.adapters)


def _shared(draft: Draft, policy: ModelWish, found: ModelWish) -> ModelWish:
    """The same weights once in memory, where the policy's do not move and nothing but an adapter would tell them apart."""
    tuners: list[TunerSpec] = draft.picked("tuners")
    count = _merged(draft, policy)
    base, rest = found.adapters[:count], found.adapters[count:]
    still = bool(tuners) and tuners[0].saves == "adapter"
    same = (found.path, found.bits, base) == (policy.path, policy.bits, policy.adapters[:count])
    if not (still and same and len(rest) <= 1 and found.head != "score"):
        return found
    if rest and rest == policy.adapters[count:]:
        what = f"the {found.role} model is the model with {rest[0]}, as learning starts"
        draft.notices.append(f"{what}; {_key(draft, found.role)}: {policy.path} takes it without")
    return replace(found, path=None, adapters=rest, base_of=POLICY.name)


def _key(draft: Draft, name: str) -> str:
    return next(role.model for role in roles_of(draft) if role.name == name)


# ---- heads and words -------------------------------------------------------------------------------------------------


def _head(draft: Draft, role: Role, found: ModelWish, *, learns: bool) -> str:
    """The head that a model gets: a new one where it learns, else the one that its folders hold."""
    if role.head == "lm":
        return "lm"
    folders = [folder for name in (*found.adapters, str(found.path)) if (folder := find_in(draft, name).folder)]
    if any(map(has_value_head, folders)):
        return "value"
    if role.head == "score" and folders and _classifies(draft, role, folders[-1]):
        return "score"
    key = role.adapters if found.adapters and draft.given(role.adapters) else role.model
    for folder in folders:
        if (folder / PICKLED_VALUE_HEAD).is_file():
            what = f"{folder / PICKLED_VALUE_HEAD} is a pickle, which can hold code and is not read"
            draft.problem(key, what, "Save its tensors as value_head.safetensors.")
            return "value"
    if not learns and role.name == POLICY.name and role not in draft.command.roles:
        return "lm"  # a command about what a stage has trained may have no use for its head
    if not learns and len(folders) == len(found.adapters) + 1:
        names = " or ".join(str(folder) for folder in folders)
        draft.problem(key, f"{names} holds no value head, so it rates nothing", "Give what a reward model's training wrote.")
    return "value"


def _classifies(draft: Draft, role: Role, folder: Path) -> bool:
    try:
        if not classifies(folder):
            return False
        labels = read_json(folder, "config.json").get("id2label") or {}
    except TunesmithError as error:
        draft.note_error(role.model, error)
        return False
    if len(labels) > 1:
        draft.problem(role.model, f"{folder} tells {len(labels)} labels apart; a reward model has one", "Give another model.")
    return True


def _check_words(draft: Draft, role: Role, policy: ModelWish, found: ModelWish) -> None:
    """The same ids have to mean the same words to both models."""
    if found.path == policy.path:
        return
    mine, others = (find_in(draft, str(one.path)).folder for one in (policy, found))
    if mine is None or others is None:
        return
    try:
        difference = differing_words(mine, others)
    except TunesmithError as error:
        draft.note_error(role.model, error)
        return
    if difference:
        what = f"{found.path} and {policy.path} have different vocabularies: {difference}"
        draft.problem(role.model, what, "Give a model that has the same tokenizer.")
