"""A model that must look to learn, its parts that stay, and what is served of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText
from tunesmith import TunesmithError, api
from tunesmith.contracts import Request, Sampling
from tunesmith.data.conversation import Conversation, Media, Text, Turn
from tunesmith.testing.small_pictures import ASKED
from tunesmith_huggingface.engine import HuggingfaceEngine
from tunesmith_multimodal.processors import load_processor

Config = Callable[..., dict[str, Any]]
GREEDY = Sampling(do_sample=False, max_new_tokens=6)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def moved(before: Path, after: Path) -> set[str]:
    """Names of the weights that differ."""
    old, new = weights(before), weights(after)
    return {name for name in old if not torch.equal(old[name], new[name])}


def losses(out: Path) -> list[float]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def test_it_has_to_look_and_does(trained: Path) -> None:
    found = json.loads((trained / "all_results.json").read_text())
    assert found["predict_exact_match"] > 0.8  # of four colours that it has not seen in these shades and sizes
    assert losses(trained)[-1] < losses(trained)[0] / 10


def test_a_resumed_run_repeats_the_losses_exactly(trained: Path) -> None:
    keys = json.loads((trained / "plan.json").read_text())["settings"]
    whole = losses(trained)
    again = {key: setting["value"] for key, setting in keys.items() if setting["origin"] == "Python"}
    api.train({**again, "resume_from_checkpoint": str(trained / "checkpoint-60"), "do_predict": False})
    assert losses(trained) == whole


def test_by_default_only_the_language_model_learns(place: Path, config: Config, tmp_path: Path) -> None:
    api.train(config(finetuning_type="full", max_steps=1))
    learned = moved(place / "qwen2-vl", tmp_path / "out")
    assert learned
    assert not any("visual" in part for part in learned)
    keys = {"freeze_language_model": True, "freeze_vision_tower": True, "freeze_multi_modal_projector": False}
    api.train(config(finetuning_type="full", max_steps=1, output_dir=str(tmp_path / "merger"), **keys))
    learned = moved(place / "qwen2-vl", tmp_path / "merger")
    assert learned
    assert all("merger" in part for part in learned)


@pytest.mark.parametrize("family", ["qwen2-vl", "llava"])
def test_lora_stays_out_of_what_is_frozen(place: Path, config: Config, tmp_path: Path, family: str) -> None:
    model = {"model_name_or_path": str(place / family), "template": family.replace("-", "_")}
    api.train(config(finetuning_type="lora", lora_rank=2, max_steps=2, **model))
    names = list(load_file(tmp_path / "out" / "adapter_model.safetensors"))
    assert names
    assert all("language_model" in name for name in names)
    assert (tmp_path / "out" / "preprocessor_config.json").is_file()
    seeing = {"freeze_vision_tower": False, "freeze_multi_modal_projector": False, "output_dir": str(tmp_path / "all")}
    api.train(config(finetuning_type="lora", lora_rank=2, max_steps=1, **model, **seeing))
    names = list(load_file(tmp_path / "all" / "adapter_model.safetensors"))
    assert any("visual" in name or "vision_tower" in name for name in names)
    assert any("merger" in name or "multi_modal_projector" in name for name in names)


# ---- answering -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(trained: Path) -> Any:
    plan = api.plan({"model_name_or_path": str(trained), "template": "qwen2_vl"}, command="chat")
    engine = HuggingfaceEngine(plan)
    engine.start(plan)
    yield engine
    engine.stop()


def shown(*files: Path, data: bool = False) -> Conversation:
    pictures = [Media("image", "gone.png", file.read_bytes()) if data else Media("image", str(file)) for file in files]
    return Conversation((Turn("user", (*pictures, Text(ASKED))),))


def answers(engine: HuggingfaceEngine, talks: list[Conversation]) -> list[list[int]]:
    requests = [Request(str(at), engine.encode(talk), GREEDY, media=talk.media) for at, talk in enumerate(talks)]
    said: dict[str, list[int]] = {request.id: [] for request in requests}
    for delta in engine.generate(requests):
        said[delta.request] += delta.ids
    return list(said.values())


def test_answers_are_those_of_plain_generate(place: Path, trained: Path, engine: HuggingfaceEngine) -> None:
    files = [place / "pictures" / f"held{number}.png" for number in range(4)]
    talks = [
        *map(shown, files),
        shown(files[0], files[1]),
        Conversation((Turn("user", (Text(ASKED),)),)),
        shown(files[2], data=True),
    ]
    found = answers(engine, talks)
    assert found[6] == found[2]
    processor = load_processor(trained)
    model = AutoModelForImageTextToText.from_pretrained(trained, dtype=torch.float32).eval()
    for talk, answer in zip(talks[:6], found, strict=False):
        content = [{"type": "image"} for _ in talk.media] + [{"type": "text", "text": ASKED}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=False,
            chat_template=(trained / "chat_template.jinja").read_text(),
        )
        images = [Image.open(media.path) for media in talk.media] or None
        inputs = processor(text=[text], images=images, return_tensors="pt")
        ids = inputs["input_ids"]
        assert tuple(ids[0].tolist()) == engine.encode(talk)
        wanted = model.generate(**inputs, do_sample=False, max_new_tokens=6, eos_token_id=sorted(engine.loaded.ends))
        assert answer == wanted[0, ids.shape[1] :].tolist()


def test_the_question_alone_does_not_tell(place: Path, engine: HuggingfaceEngine) -> None:
    """The engine gives different answers to one question about different pictures."""
    rows = json.loads((place / "held.json").read_text())
    found = answers(engine, [shown(place / "pictures" / row["images"][0]) for row in rows[:12]])
    assert len({tuple(answer) for answer in found}) > 2


def test_damaged_data_of_a_request_is_told(engine: HuggingfaceEngine) -> None:
    talk = Conversation((Turn("user", (Media("image", "a.png", b"\x89PNG\r\n\x1a\nno"), Text(ASKED))),))
    with pytest.raises(TunesmithError, match=r"a\.png (cannot be read|is no image)"):
        engine.encode(talk)
