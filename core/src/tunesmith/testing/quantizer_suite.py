"""The suite that every quantizer runs: a small model in few bits answers nearly as before, and adapters learn over it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM

from tunesmith import QuantizerSpec
from tunesmith.contracts import Quantizer
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish, Plan
from tunesmith.runtime.loading import freeze_packed
from tunesmith.spec import options_of
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import load, option_faults, spec_faults
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama

#: Wide enough for kernels that want blocks of 128 weights, and calm enough that small changes of weights change answers little.
WIDE: Mapping[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.05}


class QuantizerSuite:
    """That a quantizer really holds weights in few bits, says so truthfully, and lets adapters learn over them.

    Set ``spec``, ``bits`` and the ``options`` to try it with::

        class TestAcme(QuantizerSuite):
            spec = ACME
            bits = 4
            options = (AcmeOptions(acme_group=32),)

    A quantizer that only reads models that are quantised already writes one in :meth:`folder`.
    """

    spec: ClassVar[QuantizerSpec]
    bits: ClassVar[int | None] = None
    options: ClassVar[tuple[object, ...]] = ()
    keys: ClassVar[Mapping[str, Any]] = {}
    """Keys of other owners that the quantizer reads."""
    tolerance: ClassVar[float] = 0.25
    """How far answers may be from those of the plain model: the length of the difference over that of the answer."""
    gradient_tolerance: ClassVar[float] = 1e-2
    """The same for gradients that flow through a quantised layer, and those that its own answers imply."""

    # -- what is under test ----------------------------------------------------------------------------------------

    def folder(self, base: Path) -> Path:
        """A model to load, written below ``base``: two layers, 128 wide, in float32."""
        tiny_llama(**WIDE).save_pretrained(base / "model")
        return base / "model"

    @pytest.fixture(scope="class")
    @classmethod
    def model_folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The model, written once."""
        return cls().folder(tmp_path_factory.mktemp("quantizer"))

    @cached_property
    def plan(self) -> Plan:
        """A plan with the options of the suite."""
        picked = {"quantizers": self.spec.name}
        return hand_plan(*self.options, picked=picked, **{"quantization_bit": self.bits, **self.keys})

    def wish(self, folder: Path, *, packed: bool = True) -> ModelWish:
        """What the run wants of the model."""
        return ModelWish("policy", str(folder), bits=self.bits, quantizer=self.spec.name, packed=packed)

    def loaded(self, folder: Path, *, packed: bool = True) -> tuple[Quantizer, Any]:
        """A quantizer, and the model that it had a hand in loading."""
        quantizer: Quantizer = load(self.spec)(self.plan)
        wish = self.wish(folder, packed=packed)
        kwargs = {"dtype": torch.float32, "device_map": {"": "cpu"}, **quantizer.arguments(wish, torch.float32)}
        return quantizer, quantizer.after_load(AutoModelForCausalLM.from_pretrained(folder, **kwargs), wish)

    def with_updates(self, folder: Path) -> tuple[Any, list[torch.nn.Parameter]]:
        """The quantised model with a small update beside every layer, and the matrices of these updates."""
        _, model = self.loaded(folder)
        freeze_packed(model)
        generator = torch.Generator().manual_seed(0)
        layers = [module for name, module in model.model.layers.named_modules() if name.endswith("proj")]
        return model, [_update(layer, generator) for layer in layers]

    # -- tests -----------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, the bits under test are its own, and it says what they take."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)
        assert self.spec.bits or self.spec.reads, "it neither quantises nor reads what is quantised"
        assert self.bits is None or self.bits in self.spec.bits
        assert self.spec.stores.keys() == set(self.spec.bits), "stores says for each of bits what a weight takes"

    def test_it_proves_that_a_model_is_quantised(self, model_folder: Path) -> None:
        """``check`` passes on what it loaded and refuses a plain model."""
        quantizer, model = self.loaded(model_folder)
        quantizer.check(model, self.wish(model_folder))
        with pytest.raises(TunesmithError):
            quantizer.check(tiny_llama(**WIDE), self.wish(model_folder))

    def test_it_answers_nearly_as_the_plain_model(self, model_folder: Path) -> None:
        """The answers differ, and not by much."""
        plain, packed = logits(tiny_llama(**WIDE)), logits(self.loaded(model_folder)[1])
        assert 0 < ((packed - plain).norm() / plain.norm()).item() < self.tolerance

    def test_the_output_head_and_the_embeddings_stay_as_they_are(self, model_folder: Path) -> None:
        """Neither is quantised."""
        plain, (_, packed) = tiny_llama(**WIDE), self.loaded(model_folder)
        assert torch.equal(packed.get_output_embeddings().weight, plain.get_output_embeddings().weight)
        assert torch.equal(packed.get_input_embeddings().weight, plain.get_input_embeddings().weight)

    def test_it_takes_as_little_memory_as_it_says(self, model_folder: Path) -> None:
        """Linear layers take what ``stores`` says; tables that only small layers feel may add a bit a weight."""
        if self.bits is None:
            pytest.skip("it reads what others have quantised")
        plain, (_, packed) = tiny_llama(**WIDE), self.loaded(model_folder)
        layers = [name for name, _ in plain.model.layers.named_parameters() if name.endswith("proj.weight")]
        count = sum(plain.model.layers.get_parameter(name).numel() for name in layers)
        held = sum(held_bytes(t) for name, t in packed.model.layers.state_dict().items() if "layernorm" not in name)
        assert -0.1 <= held * 8 / count - self.spec.stores[self.bits] <= 1

    def test_adapters_learn_over_it(self, model_folder: Path) -> None:
        """The loss falls."""
        self._needs_training()
        model, updates = self.with_updates(model_folder)
        optimizer = torch.optim.AdamW(updates, lr=1e-2)
        model.train()
        losses = []
        for _ in range(6):
            loss = model(**tiny_batch()).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0]

    def test_recomputed_activations_change_no_gradient(self, model_folder: Path) -> None:
        """The first layer's update gets the same gradient with either kind of gradient checkpointing as without."""
        self._needs_training()
        model, (first, *_) = self.with_updates(model_folder)
        (expected,) = torch.autograd.grad(model.train()(**tiny_batch()).loss, first)
        for reentrant in (True, False):
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            first.grad = None
            model(**tiny_batch()).loss.backward()
            assert torch.allclose(first.grad, expected, rtol=1e-3, atol=1e-6)

    def test_gradients_fit_the_answers_also_after_an_evaluation(self, model_folder: Path) -> None:
        """A layer's gradient is that of the very weights it answers with, and evaluating in between changes nothing."""
        self._needs_training()
        _, model = self.loaded(model_folder)
        layer = model.model.layers[0].mlp.up_proj
        x = torch.randn(5, WIDE["hidden_size"], generator=torch.Generator().manual_seed(0), requires_grad=True)
        for _ in range(2):
            model.train()
            weight = layer(torch.eye(WIDE["hidden_size"]).requires_grad_()).detach().T
            (found,) = torch.autograd.grad(layer(x).square().sum(), x)
            expected = 2 * (x @ weight.T) @ weight
            assert (found - expected).norm() < self.gradient_tolerance * expected.norm()
            logits(model)

    def _needs_training(self) -> None:
        if self.spec.trains != "adapters":
            pytest.skip(f"{self.spec.trains} can learn over its weights")


def recognised(folder: Path, *, command: str = "chat", **held: Any) -> Plan:
    """The plan for a model whose ``config.json`` says ``held`` of its weights. It has no weights that could be read."""
    from tunesmith import api

    model = folder / "model"
    model.mkdir(exist_ok=True)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
    config = {"model_type": "llama", **sizes, "quantization_config": held}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (model / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}', encoding="utf-8")
    return api.plan({"model_name_or_path": str(model), "backend": "cpu"}, command=command)


def held_bytes(value: Any) -> int:
    """Bytes that a tensor takes, also one that is made of others."""
    if hasattr(value, "__tensor_flatten__"):
        return sum(held_bytes(getattr(value, name)) for name in value.__tensor_flatten__()[0])
    return int(value.nbytes) if isinstance(value, torch.Tensor) else 0


def _update(layer: Any, generator: torch.Generator) -> torch.nn.Parameter:
    """Add to what ``layer`` answers what a matrix of its own, of rank 4 in effect, makes of its input; the matrix."""
    fixed = torch.randn(4, layer.in_features, generator=generator) / layer.in_features**0.5
    learned = torch.nn.Parameter(torch.zeros(layer.out_features, 4))
    layer.register_forward_hook(lambda _, given, answer: answer + given[0] @ fixed.T @ learned.T)
    return learned
