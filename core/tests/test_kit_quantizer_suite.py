"""The suite for quantizers: each fault it promises to find is found, and a good quantizer passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith import QuantizerSpec
from tunesmith.contracts import Quantizer
from tunesmith.errors import TunesmithError
from tunesmith.testing import QuantizerSuite
from tunesmith.testing.quantizer_suite import WIDE
from tunesmith.testing.tiny_models import tiny_llama


class Rounded(torch.nn.Linear):
    """Whole numbers of eight bits and a scale for each row."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        del self.weight
        scale = layer.weight.data.abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (layer.weight.data / scale).round().to(torch.int8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight * self.scale)


class Deaf(Rounded):
    """No gradient gets past it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.detach())


class Acme(Quantizer):
    """Rounds the layers of a loaded model."""

    kind: type[torch.nn.Module] = Rounded

    def __init__(self, plan: Any) -> None:
        self.plan = plan

    def arguments(self, wish: Any, dtype: torch.dtype) -> dict[str, Any]:
        return {}

    def after_load(self, model: Any, wish: Any) -> Any:
        for name, layer in [(n, m) for n, m in model.named_modules() if n.endswith("proj")]:
            parent, _, word = name.rpartition(".")
            setattr(model.get_submodule(parent), word, self.kind(layer))
        return model

    def check(self, model: Any, wish: Any) -> None:
        if not any(isinstance(module, Rounded) for module in model.modules()):
            raise TunesmithError("nothing is rounded")


class Silent(Acme):
    """Proves nothing."""

    def check(self, model: Any, wish: Any) -> None:
        return


class Idle(Acme):
    """Leaves the model as it is."""

    def after_load(self, model: Any, wish: Any) -> Any:
        return model

    def check(self, model: Any, wish: Any) -> None:
        if model.config.hidden_size == 0:
            raise TunesmithError("never")


class Greedy(Acme):
    """Rounds the output head too."""

    def after_load(self, model: Any, wish: Any) -> Any:
        model.lm_head.weight.data = model.lm_head.weight.data.round(decimals=2)
        return super().after_load(model, wish)


class DeafAcme(Acme):
    kind = Deaf


class TestRounded(QuantizerSuite):
    """The good one passes everything."""

    spec = QuantizerSpec("acme", f"{__name__}:Acme", "Rounds.", bits=(8,), stores={8: 8.25})
    bits = 8
    maker: type[Quantizer] = Acme

    def loaded(self, folder: Path, *, packed: bool = True) -> tuple[Quantizer, Any]:
        quantizer = self.maker(self.plan)
        return quantizer, quantizer.after_load(tiny_llama(**WIDE), self.wish(folder))


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Silent, "test_it_proves_that_a_model_is_quantised"),
        (Idle, "test_it_answers_nearly_as_the_plain_model"),
        (Idle, "test_it_takes_as_little_memory_as_it_says"),
        (Greedy, "test_the_output_head_and_the_embeddings_stay_as_they_are"),
        (DeafAcme, "test_gradients_fit_the_answers_also_after_an_evaluation"),
    ],
)
def test_a_faulty_quantizer_fails(kind: type[Quantizer], test: str, tmp_path: Path) -> None:
    suite = TestRounded()
    suite.maker = kind  # type: ignore[misc]
    with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)):
        getattr(suite, test)(tmp_path)
