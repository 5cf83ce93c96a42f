"""A blank picture for the process that has none: parts that see take part in every step of every process.

Where weights lie in parts over several processes, or gradients are added up, a part that only some processes use makes the
others wait for ever. A batch of text looks at a blank picture therefore, whose features are multiplied by zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: What models take of what their towers give; gradients of anything else would be one exchange more than others make.
USED = ("pooler_output", "deepstack_features")


def look_along(model: PreTrainedModel, blank: Callable[[], Mapping[str, torch.Tensor]]) -> None:
    """Let the model look at ``blank`` in each forward without pictures, right after its words are embedded: where it looks at
    pictures otherwise, so that all processes exchange the same weights in the same order."""
    holder = model.base_model
    if hasattr(holder, "get_image_features"):
        holder.register_forward_pre_hook(_Blank(blank), with_kwargs=True)


class _Blank:
    def __init__(self, blank: Callable[[], Mapping[str, torch.Tensor]]) -> None:
        self.blank = blank

    def __call__(self, holder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(value is not None for name, value in kwargs.items() if name.startswith("pixel_values")) or _goes_on(kwargs):
            return

        def look(words: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            handle.remove()
            return output + self.nothing(holder, output)

        handle = holder.get_input_embeddings().register_forward_hook(look)

    def nothing(self, holder: Any, like: torch.Tensor) -> torch.Tensor:
        """Zero, of every feature of the blank picture."""
        import torch
        from torch.utils._pytree import tree_leaves

        seen = {name: value.to(like.device) for name, value in self.blank().items()}
        seen = {name: value.to(like.dtype) if value.is_floating_point() else value for name, value in seen.items()}
        found = holder.get_image_features(**seen, return_dict=True)
        features = [one for name in USED for one in tree_leaves(found.get(name)) if isinstance(one, torch.Tensor)]
        total: torch.Tensor = sum((one.sum() * 0 for one in features), start=like.new_zeros(()))
        return total.to(like.dtype)


def _goes_on(kwargs: Mapping[str, Any]) -> bool:
    """Whether the forward adds to an answer that has begun, whose pictures were looked at before."""
    cache = kwargs.get("past_key_values")
    return cache is not None and cache.get_seq_length() > 0
