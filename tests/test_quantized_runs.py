"""Runs over weights in few bits, through the Python API and the commands as users run them: learn, resume, chat, export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan

Run = Callable[..., list[float]]
Keys = dict[str, Any]

LORA = {"finetuning_type": "lora", "lora_rank": 4}
FOUR = {**LORA, "quantization_bit": 4, "quantization_method": "bnb"}
WAYS: dict[str, Keys] = {
    "qlora": FOUR,
    "qlora-reentrant": {**FOUR, "use_reentrant_gc": True, "bf16": True},
    "qlora-eight": {**FOUR, "quantization_bit": 8, "quantization_method": "bitsandbytes"},
    "torchao": {**FOUR, "quantization_bit": 8, "quantization_method": "torchao"},
    "hqq": {**FOUR, "quantization_method": "hqq"},
    "aware": {
        "finetuning_type": "full",
        "quantization_bit": 4,
        "quantization_method": "torchao",
        "quantization_aware": True,
        "torchao_group_size": 32,
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the width that kernels want, and a few sums."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("place")
    make_tiny("llama", folder / "model", hidden=128, intermediate=256, layers=2)
    rows = [{"instruction": f"What is {a} plus {b}?", "input": "", "output": f"{a + b}."} for a in range(4) for b in range(4)]
    (folder / "sums.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"sums": {"file_name": "sums.json"}}))
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def config(place: Path, out: Path, **keys: Any) -> Keys:
    return {
        "model_name_or_path": str(place / "model"),
        "dataset": "sums",
        "dataset_dir": str(place),
        "data_cache_dir": str(place / "cache"),
        "template": "llama3",
        "output_dir": str(out),
        "per_device_train_batch_size": 4,
        "learning_rate": 3e-3,
        "max_steps": 6,
        "logging_steps": 1,
        "save_steps": 3,
        "disable_tqdm": True,
        "backend": "cpu",
        "eval_dataset": "sums",
        "eval_steps": 2,
        "eval_strategy": "steps",
        **keys,
    }


def losses(out: Path) -> list[float]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry[name] for entry in history for name in ("loss", "eval_loss") if name in entry]


@pytest.mark.parametrize("way", WAYS)
def test_it_learns_and_resumes_exactly(place: Path, tmp_path: Path, way: str) -> None:
    """The loss falls, with an evaluation every other step, and a resumed run repeats the losses to the last digit."""
    out = tmp_path / "out"
    api.train(config(place, out, **WAYS[way]))
    whole = losses(out)
    assert whole[-1] < 0.95 * whole[0]
    api.train(config(place, out, **WAYS[way], resume_from_checkpoint=str(out / "checkpoint-3")))
    assert losses(out) == whole
    assert "quantization_config" not in json.loads((place / "model" / "config.json").read_text())


@pytest.fixture(scope="module")
def adapter(place: Path) -> Path:
    """An adapter that learned over four bits."""
    api.train(config(place, place / "adapter", **FOUR))
    return place / "adapter"


def test_gradients_do_not_stop_after_an_evaluation(place: Path, tmp_path: Path, adapter: Path) -> None:
    """Evaluating in between changes nothing of what is learned."""
    api.train(config(place, tmp_path / "out", **FOUR, eval_strategy="no"))
    without = losses(tmp_path / "out")
    history = json.loads((adapter / "trainer_state.json").read_text())["log_history"]
    assert [entry["loss"] for entry in history if "loss" in entry] == without


def test_a_quantised_model_with_its_adapter_answers(place: Path, adapter: Path) -> None:
    """Chat holds the base in four bits, and the adapter beside it."""
    keys = {"model_name_or_path": str(place / "model"), "adapter_name_or_path": str(adapter), "template": "llama3"}
    with api.Chat({**keys, "backend": "cpu", "quantization_bit": 4, "max_new_tokens": 4, "do_sample": False}) as chat:
        assert isinstance(chat.ask("What is 1 plus 1?"), str)
        wish = chat.plan.models["policy"]
    assert (wish.quantizer, wish.packed) == ("bitsandbytes@bitsandbytes", True)


def test_an_export_merges_into_the_plain_model_and_says_so(place: Path, adapter: Path, tmp_path: Path) -> None:
    from tunesmith.cli.main import main

    keys = {"model_name_or_path": place / "model", "adapter_name_or_path": adapter, "template": "llama3", "backend": "cpu"}
    arguments = [f"{key}={value}" for key, value in {**keys, "export_dir": tmp_path / "out"}.items()]
    assert main(["export", *arguments]) == 0
    plan = planned("export", {**keys, "export_dir": tmp_path / "new"})
    assert any("was trained over weights in 4 bits (bitsandbytes); here it lies on plain ones" in n for n in plan.notices)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


@pytest.fixture(scope="module")
def published(place: Path) -> Path:
    """The model as somebody published it in fp8: blocks of 64 × 64 weights with a scale each."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder = place / "published"
    shutil.copytree(place / "model", folder)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith("proj.weight")]:
        rows, columns = tensors[name].shape
        blocks = tensors[name].float().reshape(rows // 64, 64, columns // 64, 64)
        scale = blocks.abs().amax(dim=(1, 3)) / 448
        tensors[name] = (blocks / scale[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    plain = json.loads((folder / "config.json").read_text())
    held = {"quant_method": "fp8", "weight_block_size": [64, 64], "activation_scheme": "dynamic"}
    (folder / "config.json").write_text(json.dumps({**plain, "quantization_config": held}))
    return folder


def test_a_model_published_in_few_bits_is_trained_whole_and_resumes_exactly(
    published: Path, place: Path, tmp_path: Path
) -> None:
    """It is loaded into plain weights; what is saved is a plain model, from which the run goes on exactly."""
    out = tmp_path / "out"
    keys = {"model_name_or_path": str(published), "finetuning_type": "full", "eval_strategy": "no"}
    api.train(config(place, out, **keys))
    whole = losses(out)
    assert whole[-1] < whole[0]
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    api.train(config(place, out, **keys, resume_from_checkpoint=str(out / "checkpoint-3")))
    assert losses(out) == whole


def test_a_model_published_in_few_bits_is_exported_plain(published: Path, tmp_path: Path) -> None:
    from tunesmith.cli.main import main

    keys = {"model_name_or_path": published, "template": "llama3", "backend": "cpu", "export_dir": tmp_path / "out"}
    assert main(["export", *(f"{key}={value}" for key, value in keys.items())]) == 0
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


def planned(command: str, keys: Keys) -> Plan:
    return api.plan({key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}, command=command)


# ---- planning --------------------------------------------------------------------------------------------------------


def refused(place: Path, tmp_path: Path, command: str = "train", **keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(command, config(place, tmp_path / "out", **keys))
    return "\n".join(map(str, caught.value.problems))


def model_that_says(place: Path, tmp_path: Path, **held: Any) -> Path:
    """A model whose config.json says how its weights are quantised; nobody reads the weights here."""
    import shutil

    folder = tmp_path / "packed"
    shutil.copytree(place / "model", folder)
    plain = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**plain, "quantization_config": held}))
    return folder


def test_both_names_mean_the_same(place: Path, tmp_path: Path) -> None:
    for name in ("bnb", "bitsandbytes"):
        plan = planned("train", config(place, tmp_path / "out", **{**FOUR, "quantization_method": name}))
        assert plan.models["policy"].quantizer == "bitsandbytes@bitsandbytes"


WRONG: dict[str, tuple[Keys, str]] = {
    "full": ({**FOUR, "finetuning_type": "full"}, "full cannot train over quantised weights"),
    "bits": ({**FOUR, "quantization_bit": 3}, "bitsandbytes has no 3 bits"),
    "four": ({**FOUR, "quantization_method": "torchao"}, "adapters cannot learn over torchao's 4 bits"),
    "map": ({**FOUR, "quantization_device_map": "auto"}, "spreads a model for inference"),
    "type": ({**FOUR, "quantization_bit": 8, "quantization_type": "fp4"}, "quantization_type does nothing here"),
    "fsdp": ({**FOUR, "quantization_bit": 8, "fsdp": True}, "fsdp cannot share out the weights of bitsandbytes in 8 bits"),
    "unknown": ({**FOUR, "quantization_method": "torcha"}, "Did you mean 'torchao'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_refused_before_anything_is_loaded(place: Path, tmp_path: Path, name: str) -> None:
    keys, message = WRONG[name]
    assert message in refused(place, tmp_path, **keys)


def test_four_bits_of_torchao_are_not_here_on_a_processor(place: Path, tmp_path: Path) -> None:
    keys = {"quantization_bit": 4, "quantization_method": "torchao", "backend": "cpu"}
    plan = planned("chat", {"model_name_or_path": place / "model", "template": "llama3", **keys})
    assert any(
        "torchao in 4 bits is made of cutlass kernels, which the backend cpu cannot run" in str(problem)
        for problem in plan.missing
    )


def test_a_method_without_bits_is_said_to_do_nothing(place: Path, tmp_path: Path) -> None:
    plan = planned("train", config(place, tmp_path / "out", **LORA, quantization_method="bnb"))
    assert any("quantization_method: bnb does nothing" in notice for notice in plan.notices)


def test_a_quantised_model_is_recognised_by_its_own_files(place: Path, tmp_path: Path) -> None:
    model = model_that_says(place, tmp_path, quant_method="bitsandbytes", load_in_4bit=True)
    plan = planned("train", config(place, tmp_path / "out", **LORA, model_name_or_path=str(model)))
    assert plan.models["policy"].packed
    assert any("holds weights quantised by bitsandbytes" in chosen.why for chosen in plan.picked("quantizers"))


def test_a_quantised_model_is_not_quantised_again(place: Path, tmp_path: Path) -> None:
    model = model_that_says(place, tmp_path, quant_method="bitsandbytes", load_in_4bit=True)
    keys = {**FOUR, "model_name_or_path": str(model)}
    assert planned("train", config(place, tmp_path / "out", **keys)).models["policy"].packed
    again = refused(place, tmp_path, **{**keys, "quantization_method": "torchao", "quantization_bit": 8})
    assert "quantised by bitsandbytes already; quantization_bit: 8 cannot quantise them again" in again


def test_a_model_that_nobody_can_read_is_refused(place: Path, tmp_path: Path) -> None:
    model = model_that_says(place, tmp_path, quant_method="quark")
    message = refused(place, tmp_path, **LORA, model_name_or_path=str(model))
    assert "holds weights quantised by quark, which no quantizer reads" in message


def test_the_estimate_knows_what_bits_take(place: Path, tmp_path: Path) -> None:
    """Within a tenth of what the layers really take, and less than the plain model."""
    found = {}
    for bits in (None, 8, 4):
        keys = {**FOUR, "quantization_bit": bits} if bits else LORA
        estimate = planned("train", config(place, tmp_path / "out", **keys)).estimate
        assert estimate is not None
        found[bits] = estimate.parts["weights"]
    assert found[4] < found[8] < found[None]
    saved = (found[8] - found[4]) * 8
    weights = 2 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 128 * 256)
    assert saved == pytest.approx(weights * (8.1 - 4.127), rel=0.1)
