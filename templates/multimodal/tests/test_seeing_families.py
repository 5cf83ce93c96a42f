"""Every family that sees: the ids of its own processor, a run that trains, and the answers of plain ``generate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, BatchFeature
from tunesmith import TunesmithError, api
from tunesmith.contracts import Request, Sampling
from tunesmith.data.conversation import Conversation, Media, Text, Turn
from tunesmith.data.preparation import make_tools
from tunesmith.plugins import Plugins
from tunesmith.templates.finding import renderer_for, spec_for
from tunesmith.testing.small_seeing import make_seeing, read_seeing
from tunesmith_huggingface.engine import HuggingfaceEngine
from tunesmith_multimodal.blank import look_along
from tunesmith_multimodal.processors import load_processor, process

Config = Callable[..., dict[str, Any]]
FAMILIES = read_seeing(Path(__file__).with_name("families.toml"))
QWEN = "<|vision_start|><|image_pad|><|vision_end|>" * 2
GLM = "<|begin_of_image|><|image|><|end_of_image|>" * 2
#: Templates of families whose processor is one of those above, and how a question about two pictures ends in them.
RELATED = {
    "llava_next": "USER: <image>\n<image>\nWhat? ASSISTANT:",
    "llava_next_llama3": "user<|end_header_id|>\n\n<image>\n<image>\nWhat?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "llava_next_qwen": "<|im_start|>user\n<image>\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\n",
    "llava_next_yi": "<|im_start|>user\n<image>\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\n",
    "ministral3": "[INST][IMG][IMG]What?[/INST]",
    "mistral_small_3_2": "[INST][IMG][IMG]What?[/INST]",
    "glm4_5v": f"<|user|>\n{GLM}What?<|assistant|>\n",
    "qwen3_vl": f"<|im_start|>user\n{QWEN}What?<|im_end|>\n<|im_start|>assistant\n<think>\n",
    "qwen3_5": f"<|im_start|>user\n{QWEN}What?<|im_end|>\n<|im_start|>assistant\n<think>\n",
    "qwen3_6": f"<|im_start|>user\n{QWEN}What?<|im_end|>\n<|im_start|>assistant\n<think>\n",
    "granite3_vision": "<|user|>\n<image>\n<image>\nWhat?\n<|assistant|>\n",
}


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A name and the folder of its small model."""
    folder = tmp_path_factory.mktemp("families") / request.param
    make_seeing(FAMILIES[request.param], folder)
    return request.param, folder


def shown(*files: Path) -> Conversation:
    return Conversation((Turn("user", (*(Media("image", str(file)) for file in files), Text("What?"))),))


def test_the_ids_are_those_of_its_processor(family: tuple[str, Path], place: Path, config: Config) -> None:
    name, folder = family
    facts = FAMILIES[name]
    Image.new("RGB", (61, 24), (9, 200, 9)).save(place / "pictures" / "wide.png")
    files = [place / "pictures" / file for file in ("train0.png", "wide.png")]
    encoder, renderer = make_tools(api.plan(config(model_name_or_path=str(folder), template=facts.template)), Plugins())
    assert renderer is not None
    mine = encoder.ids(renderer.render(shown(*files), generation_prompt=True))
    processor = load_processor(folder)
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "What?"}]
    written = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=renderer.chat_template(),
        add_generation_prompt=True,
        tokenize=False,
    )
    assert written.endswith(facts.asked)
    theirs = processor(text=[written], images=[Image.open(file) for file in files], add_special_tokens=False)
    assert mine == tuple(theirs["input_ids"][0])


@pytest.mark.parametrize(
    ("name", "key", "own"),
    [("gemma3", "image_do_pan_and_scan", "do_pan_and_scan"), ("internvl", "crop_to_patches", "crop_to_patches")],
)
def test_images_are_cut_as_asked(name: str, key: str, own: str, place: Path, config: Config, tmp_path: Path) -> None:
    make_seeing(FAMILIES[name], tmp_path / name)
    file = place / "pictures" / "long.png"
    Image.new("RGB", (900, 300), (9, 200, 9)).save(file)
    found = {}
    for value in (True, False):
        keys = config(model_name_or_path=str(tmp_path / name), template=FAMILIES[name].template, **{key: value})
        encoder, renderer = make_tools(api.plan(keys), Plugins())
        assert renderer is not None
        assert renderer.media is not None
        rendered = renderer.render(shown(file), generation_prompt=True)
        ids = encoder.ids(rendered)
        plain = renderer_for(spec_for(FAMILIES[name].template, Plugins())).render(shown(file), generation_prompt=True)
        with Image.open(file) as image:
            processor, how = load_processor(tmp_path / name), {own: value}
            theirs = processor(
                text=[plain.text], images=[image], return_tensors="pt", add_special_tokens=False, images_kwargs=how
            )
        assert ids == tuple(theirs["input_ids"][0].tolist())
        seen = renderer.media.inputs(torch.tensor([ids]), rendered.media)
        torch.testing.assert_close(seen["pixel_values"], theirs["pixel_values"])
        found[value] = len(seen["pixel_values"])
    assert found[True] > found[False] == 1


def test_cuts_that_a_family_does_not_know_are_told(place: Path, config: Config) -> None:
    _, renderer = make_tools(api.plan(config(crop_to_patches=True)), Plugins())
    assert renderer is not None
    with pytest.raises(TunesmithError, match="crop_to_patches: Qwen2VLProcessor cuts no images like that"):
        renderer.render(shown(place / "pictures" / "train0.png"), generation_prompt=True)


@pytest.mark.parametrize("template", RELATED)
def test_related_families_are_written_as_theirs(template: str) -> None:
    rendered = renderer_for(spec_for(template, Plugins())).render(shown(Path("a"), Path("b")), generation_prompt=True)
    assert rendered.text.endswith(RELATED[template])
    assert [rendered.pieces[at].control for at in rendered.media_at] == [True, True]


@pytest.mark.parametrize("template", ["gemma3n", "skywork_o1", "paligemma"])
def test_templates_without_pictures_say_so(template: str) -> None:
    with pytest.raises(TunesmithError, match=rf"the template '{template}' has no place for images"):
        renderer_for(spec_for(template, Plugins())).render(shown(Path("a")), generation_prompt=True)


def test_it_trains_and_answers(family: tuple[str, Path], place: Path, config: Config, tmp_path: Path) -> None:
    name, folder = family
    model = {"model_name_or_path": str(folder), "template": FAMILIES[name].template}
    seeing = {"freeze_vision_tower": False, "freeze_multi_modal_projector": False}
    api.train(config(finetuning_type="full", max_steps=2, per_device_train_batch_size=4, **model, **seeing))
    trained = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    before = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).state_dict()
    moved = {name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])}
    assert any("vision" in name or "visual" in name for name in moved)
    assert any("language_model" in name for name in moved)
    assert answers_are_those_of_generate(tmp_path / "out", model["template"], trained, place)


def test_a_text_uses_what_a_picture_uses(family: tuple[str, Path], place: Path) -> None:
    """With several processes: the same weights have gradients, and what is said of the text is the same."""
    _, folder = family
    processor = load_processor(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    with Image.open(place / "pictures" / "train0.png") as picture:
        inputs = processor(text=[processor.image_token], images=[picture], return_tensors="pt", add_special_tokens=False)
    model(**inputs).logits.sum().backward()
    wanted = {name for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    words = torch.tensor([[5, 6, 7, 8]])
    plain = model(input_ids=words).logits
    seen, _ = process(processor, [Image.new("RGB", (32, 32))])
    look_along(model, lambda: dict(BatchFeature(seen, tensor_type="pt")))
    for _ in range(2):
        found = model(input_ids=words).logits
        torch.testing.assert_close(found, plain)
    found.sum().backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == wanted


def answers_are_those_of_generate(folder: Path, template: str, model: Any, place: Path) -> bool:
    """Whether the engine says what plain ``generate`` says to the processor's own inputs."""
    plan = api.plan({"model_name_or_path": str(folder), "template": template}, command="chat")
    engine = HuggingfaceEngine(plan)
    engine.start(plan)
    files = [place / "pictures" / "train0.png", place / "pictures" / "train3.png"]
    talk = shown(*files)
    ids = engine.encode(talk)
    request = Request("1", ids, Sampling(do_sample=False, max_new_tokens=5), media=talk.media)
    said = [token for delta in engine.generate([request]) for token in delta.ids]
    processor = load_processor(folder)
    text = engine.renderer._inner.render(talk, generation_prompt=True).text  # type: ignore[attr-defined]
    inputs = processor(text=[text], images=[Image.open(file) for file in files], return_tensors="pt", add_special_tokens=False)
    assert tuple(inputs["input_ids"][0].tolist()) == ids
    wanted = model.generate(**inputs, do_sample=False, max_new_tokens=5, eos_token_id=sorted(engine.loaded.ends))
    engine.stop()
    return bool(said == wanted[0, len(ids) :].tolist())
