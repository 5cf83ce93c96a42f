"""Experts out of checkpoints of several layouts, FP8 among them, and converted ones back into the kernel."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tunesmith import TunesmithError
from tunesmith_ktransformers import processor
from tunesmith_ktransformers.converted import facts_in
from tunesmith_ktransformers.expert_files import ExpertFiles, scaled

COUNT, WIDTH, HIDDEN = 4, 128, 128
CONFIG = {"model_type": "qwen3_moe", "num_experts": COUNT, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
CONFIG |= {"hidden_size": HIDDEN, "num_hidden_layers": 3, "first_k_dense_replace": 1}
HERE = find_spec("kt_kernel") is not None and processor.best_build(processor.read_flags()) in processor.TRAINING_BUILDS
needs_kernel = pytest.mark.skipif(not HERE, reason="kt-kernel is not here: it lives in the stack ktransformers")

Weights = dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def weights() -> Weights:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * 0.1).to(torch.bfloat16)

    return {n: (drawn(COUNT, WIDTH, HIDDEN), drawn(COUNT, WIDTH, HIDDEN), drawn(COUNT, HIDDEN, WIDTH)) for n in (1, 2)}


def apart(found: Weights, stem: str, names: tuple[str, str, str]) -> dict[str, torch.Tensor]:
    return {
        f"model.layers.{layer}.{stem}.{expert}.{name}.weight": matrix[expert].contiguous()
        for layer, matrices in found.items()
        for name, matrix in zip(names, matrices, strict=True)
        for expert in range(COUNT)
    }


def fused(found: Weights) -> dict[str, torch.Tensor]:
    tensors = {}
    for layer, (gate, up, down) in found.items():
        tensors[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = torch.cat([gate, up], dim=1)
        tensors[f"model.layers.{layer}.mlp.experts.down_proj"] = down
    return tensors


def written(folder: Path, tensors: dict[str, torch.Tensor], **config: object) -> Path:
    """A checkpoint in two files, with what else a model has."""
    folder.mkdir(exist_ok=True)
    names = sorted(tensors)
    others = {"model.layers.1.mlp.gate.weight": torch.zeros(COUNT, HIDDEN), "model.layers.0.mlp.up_proj.weight": torch.zeros(2)}
    others["model.layers.1.mlp.shared_experts.up_proj.weight"] = torch.zeros(2, 2)
    save_file({name: tensors[name] for name in names[::2]}, folder / "model-00001-of-00002.safetensors")
    save_file({**{name: tensors[name] for name in names[1::2]}, **others}, folder / "model-00002-of-00002.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    return folder


@pytest.mark.parametrize("layout", ["fused", "qwen", "mixtral"])
def test_layouts_are_read_alike(layout: str, tmp_path: Path) -> None:
    found = weights()
    tensors = {
        "fused": lambda: fused(found),
        "qwen": lambda: apart(found, "mlp.experts", ("gate_proj", "up_proj", "down_proj")),
        "mixtral": lambda: apart(found, "block_sparse_moe.experts", ("w1", "w3", "w2")),
    }[layout]()
    files = ExpertFiles(written(tmp_path / "model", tensors))
    assert files.layers() == [1, 2]
    for layer, matrices in found.items():
        for one, other in zip(files.experts(f"model.layers.{layer}.mlp.experts"), matrices, strict=True):
            assert torch.equal(one, other)


def test_fp8_is_read_as_bfloat16_with_the_scale_of_each_block(tmp_path: Path) -> None:
    found = weights()
    tensors = {}
    for name, matrix in apart(found, "mlp.experts", ("gate_proj", "up_proj", "down_proj")).items():
        blocks = matrix.float().unflatten(0, (-1, 64)).unflatten(2, (-1, 64))  # (rows, 64, columns, 64)
        scale = blocks.abs().amax((1, 3)) / 448
        tensors[name] = (blocks / scale[:, None, :, None]).flatten(2).flatten(0, 1).to(torch.float8_e4m3fn)
        tensors[name.replace("weight", "weight_scale_inv")] = scale
    quantization = {"quant_method": "fp8", "weight_block_size": [64, 64]}
    files = ExpertFiles(written(tmp_path / "model", tensors, quantization_config=quantization))
    for one, other in zip(files.experts(2), found[2], strict=True):
        assert one.dtype is torch.bfloat16
        assert (one.float() - other.float()).norm() / other.float().norm() < 0.04  # three bits of mantissa


def test_blocks_at_the_edge_may_be_cut() -> None:
    weight, scale = torch.ones(3, 5).to(torch.float8_e4m3fn), torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    assert scaled(weight, scale, (2, 2)).tolist() == [[1, 1, 2, 2, 4], [1, 1, 2, 2, 4], [8, 8, 16, 16, 32]]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    tensors = apart(weights(), "mlp.experts", ("gate_proj", "up_proj", "down_proj"))
    del tensors["model.layers.1.mlp.experts.3.up_proj.weight"]
    files = ExpertFiles(written(tmp_path / "model", tensors))
    with pytest.raises(TunesmithError, match=r"model.layers.1.mlp.experts.3.up_proj.weight is missing"):
        files.experts(1)
    with pytest.raises(TunesmithError, match=r"Layer 0 in .* has no experts"):
        files.experts(0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TunesmithError, match="holds no experts"):
        ExpertFiles(tmp_path / "empty")


# ---- converted -------------------------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("bits", [8, 4])
def test_converted_experts_answer_as_those_that_are_rounded_while_loading(bits: int, tmp_path: Path) -> None:
    from tunesmith_ktransformers.converter import Conversion, convert
    from tunesmith_ktransformers.kernel import KtKernel, Sizes, Tuning

    found = weights()
    model = written(tmp_path / "model", fused(found))
    said: list[str] = []
    facts = convert(Conversion(model, tmp_path / "kt", bits, pools=1, threads=1), said.append)
    assert facts_in(tmp_path / "kt") == facts
    assert (facts.bits, facts.layers, facts.count, facts.width) == (bits, 2, COUNT, WIDTH)
    assert said == ["layer 1 (1 of 2)", "layer 2 (2 of 2)"]
    with pytest.raises(TunesmithError, match="is there already"):
        convert(Conversion(model, tmp_path / "kt", bits, pools=1, threads=1), said.append)
    sizes, tuning = Sizes(COUNT, 2, HIDDEN, WIDTH), Tuning(bits=bits, tokens=64)
    loaded, rounded = KtKernel(1, sizes, tuning, 0), KtKernel(1, sizes, tuning, 0)
    loaded.load_files(tmp_path / "kt")
    rounded.load(*found[2])
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, HIDDEN, generator=generator).to(torch.bfloat16)
    chosen = torch.stack([torch.randperm(COUNT, generator=generator)[:2] for _ in range(20)])
    mixture = torch.rand(20, 2, generator=generator)
    one, other = (kernel.forward(inputs, chosen, mixture, keep=True) for kernel in (loaded, rounded))
    assert torch.equal(one, other)
    backward, wanted = (kernel.backward(inputs)[0] for kernel in (loaded, rounded))
    assert (backward.float() - wanted.float()).norm() / wanted.float().norm() < (0.02 if bits == 8 else 0.3)


@needs_kernel
def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    from tunesmith_ktransformers.converter import Conversion, convert

    tensors = fused(weights())
    del tensors["model.layers.2.mlp.experts.down_proj"]
    model = written(tmp_path / "model", tensors)
    with pytest.raises(TunesmithError, match="down_proj is missing"):
        convert(Conversion(model, tmp_path / "kt", 8, pools=1, threads=1), print)
    assert [place.name for place in tmp_path.iterdir()] == ["model"]
