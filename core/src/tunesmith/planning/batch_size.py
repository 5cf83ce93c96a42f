"""``per_device_train_batch_size: auto``: the largest batch that fits by the plan's own estimate of memory."""

from __future__ import annotations

from tunesmith.config import Setting
from tunesmith.planning.choose import probe_backend
from tunesmith.planning.draft import Draft
from tunesmith.planning.estimate import estimated
from tunesmith.sizes import size_text

KEY = "per_device_train_batch_size"
SIZES = tuple(2**power for power in range(10))


def size_batches(draft: Draft) -> None:
    """Settle the batch size where it is ``auto``; the upper end of the estimate must fit into one device's memory."""
    if draft.value(KEY) != "auto":
        return
    memory, where = device_memory(draft), draft.origin(KEY)
    fitting = [(size, need) for size in SIZES if (need := _need(draft, size)) is not None and need <= memory]
    draft.settings[KEY] = Setting(1, where, "transformers", given=True)
    if fitting:
        size, need = fitting[-1]
        why = f"auto: at most {size_text(need)} by the estimate, of {size_text(memory)}"
        draft.settings[KEY] = Setting(size, why, "transformers", given=True)
        draft.notices.append(f"{KEY}: {size}, {why}")
    elif not memory or _need(draft, 1) is None:
        draft.problem(KEY, f"{KEY}: auto needs a model and a device whose sizes are known here", "Write a number.")
    elif draft.picked("backends"):
        what = f"{KEY}: auto: a batch of one may take {size_text(_need(draft, 1) or 0)}, and a device has {size_text(memory)}"
        draft.problem(KEY, what, "Lower cutoff_len, quantise, or write 1 to try all the same.")


def device_memory(draft: Draft) -> int:
    """Bytes that one device of the picked backend has; 0 where that is not known."""
    return max((probe_backend(offer).memory for axis, offer in draft.offers if axis == "backends"), default=0)


def _need(draft: Draft, size: int) -> float | None:
    """The upper end of the estimate for a batch of ``size``."""
    before = draft.settings[KEY]
    draft.settings[KEY] = Setting(size, before.origin, before.owner, given=True)
    found = estimated(draft)
    draft.settings[KEY] = before
    return found.total * (1 + found.error) if found else None
