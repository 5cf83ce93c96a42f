"""Rows with images: the ids of the model's own processor, and what becomes of rows that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tunesmith import TunesmithError, api
from tunesmith.data.conversation import Conversation, Media, Text, Turn
from tunesmith.data.flow import Prepared, prepare
from tunesmith.data.preparation import make_tools
from tunesmith.data.store import TokenStore
from tunesmith.errors import ConfigError
from tunesmith.plugins import Plugins
from tunesmith.testing.small_pictures import ASKED, picture, row, write_rows
from tunesmith_multimodal.processors import load_processor

Config = Callable[..., dict[str, Any]]
PARTS = "{%- if m.content is string %}{{ m.content }}{%- else %}{%- for p in m.content %}{%- if p.type == 'text' %}{{ p.text }}"
IMAGES = "{%- if m.content is not string %}{%- for p in m.content %}{%- if p.type == 'image' %}{{ 'P<|image_pad|>\n' }}"
ENDS = "{%- endif %}{%- endfor %}{%- endif %}"
#: Templates of a tokenizer: pictures first, where they stand, and none.
OWN = {
    "first": "{%- for m in messages %}{{ 'U: ' }}" + IMAGES + ENDS + PARTS + ENDS + "{{ '\n' }}{%- endfor %}{{ 'A:' }}",
    "in order": "{%- for m in messages %}{{ 'U: ' }}"
    + PARTS
    + "{%- else %}{{ 'P<|image_pad|>' }}"
    + ENDS
    + "{{ '\n' }}{%- endfor %}{{ 'A:' }}",
    "blind": "{%- for m in messages %}{{ 'U: ' + m.content }}{%- endfor %}{{ 'A:' }}",
}
FAMILIES = {"qwen2-vl": "qwen2_vl", "llava": "llava"}


def prepared(config: dict[str, Any], **how: Any) -> Prepared:
    return prepare(api.plan(config), Plugins(), **how)


def test_the_ids_are_those_of_the_models_own_processor(place: Path, config: Config) -> None:
    files = [place / "pictures" / name for name in ("train0.png", "train1.png")]
    shown = tuple(Media("image", file.name) for file in files)
    talk = Conversation((Turn("user", (*shown, Text(ASKED))),))
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": ASKED}]
    for family, template in FAMILIES.items():
        model = place / family
        encoder, renderer = make_tools(api.plan(config(model_name_or_path=str(model), template=template)), Plugins())
        assert renderer is not None
        mine = encoder.ids(renderer.render(talk, generation_prompt=True))
        processor = load_processor(model)
        for written in ((model / "chat_template.jinja").read_text(), renderer.chat_template()):
            text = processor.apply_chat_template(
                [{"role": "user", "content": content}], chat_template=written, add_generation_prompt=True, tokenize=False
            )
            theirs = processor(text=[text], images=[Image.open(file) for file in files], add_special_tokens=False)
            assert mine == tuple(theirs["input_ids"][0])


def test_the_tokenizers_own_template_writes_pictures_too(place: Path, config: Config) -> None:
    shown = (Media("image", "train0.png"), Text("Or"), Media("image", "train1.png"), Text(ASKED))
    talk = Conversation((Turn("user", shown), Turn("assistant", (Text("red"),)), Turn("user", (Text("Sure?"),))))
    made = []
    for template in ("qwen2_vl", "auto"):
        encoder, renderer = make_tools(api.plan(config(template=template)), Plugins())
        assert renderer is not None
        rendered = renderer.render(talk, generation_prompt=True)
        assert [Path(media.path).name for media in rendered.media] == ["train0.png", "train1.png"]
        made.append((encoder.ids(rendered), renderer.render(talk).learned))
    assert made[0] == made[1]
    found = [prepared(config(template=template)).report.sources[0] for template in ("qwen2_vl", "auto")]
    assert found[0].tokens == found[1].tokens
    assert found[0].tokens_learned == found[1].tokens_learned


def test_own_templates_that_put_pictures_first_or_nowhere(place: Path, config: Config, tmp_path: Path) -> None:
    from shutil import copytree

    talk = Conversation((Turn("user", (Text(ASKED), Media("image", "train0.png"))),))
    said = {}
    for name, source in OWN.items():
        folder = copytree(place / "qwen2-vl", tmp_path / name)
        (folder / "chat_template.jinja").write_text(source)
        _, renderer = make_tools(api.plan(config(model_name_or_path=str(folder), template="auto")), Plugins())
        assert renderer is not None
        if name == "blind":
            with pytest.raises(TunesmithError, match="has no place for images beside text"):
                renderer.render(talk)
        else:
            said[name] = renderer.render(talk, generation_prompt=True).text.replace("<|image_pad|>", "")
    assert said == {"first": f"U: P\n{ASKED}\nA:", "in order": f"U: {ASKED}P\nA:"}


def test_no_letters_of_a_user_become_a_picture(config: Config) -> None:
    encoder, renderer = make_tools(api.plan(config()), Plugins())
    assert renderer is not None
    typed = Conversation((Turn("user", (Text("<|vision_start|><|image_pad|><|vision_end|>"),)),))
    pad = encoder.files.plain.token_to_id("<|image_pad|>")
    assert pad not in encoder.ids(renderer.render(typed))


def test_stores_know_what_is_seen(place: Path, config: Config) -> None:
    write_rows(place, "mixed", [row("a", "b"), row(ASKED, "red", "train0.png"), row("c", "d")])
    found = prepared(config(dataset="mixed"))
    assert found.train is not None
    store = TokenStore.open(found.train)
    seen = [store[number]["tokens"].media for number in range(3)]
    assert seen == [(), (Media("image", str(place / "pictures" / "train0.png")),), ()]
    assert found.report.sources[0].duplicates == 0
    write_rows(place, "alike", [row("a", "b", "a.png"), row("a", "b", "b.png"), row("a", "b", "b.png")])
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40), (name[0] == "a" and "red") or "blue").save(place / "pictures" / name)
    assert prepared(config(dataset="alike")).report.sources[0].duplicates == 1


def test_streamed_rows_are_the_same(place: Path, config: Config) -> None:
    whole = prepared(config()).train
    streamed = prepared(config(streaming=True, max_steps=1, preprocessing_batch_size=16)).stream
    assert whole is not None
    assert streamed is not None
    from tunesmith.data.stream import Place

    block = next(streamed.blocks(Place(), lambda number: True))
    store = {tokens.media: tokens for number in range(120) for tokens in [TokenStore.open(whole)[number]["tokens"]]}
    for example in block.examples:
        assert np.array_equal(store[example["tokens"].media].ids, example["tokens"].ids)


def test_bad_images_are_bad_rows_with_their_place(place: Path, config: Config) -> None:
    (place / "pictures" / "broken.png").write_bytes((place / "pictures" / "train0.png").read_bytes()[:40])
    rows = [row(ASKED, "red", name) for name in ("train0.png", "missing.png", "../qwen2-vl/config.json", "broken.png")]
    Image.new("RGB", (1500, 2)).save(place / "pictures" / "thin.png")
    write_rows(place, "bad", [*rows, row(ASKED, "red", "thin.png")])
    source = prepared(config(dataset="bad"), lenient=True).report.sources[0]
    told = [str(bad) for bad in source.bad_rows]
    assert source.kept == 1
    assert [f"{number}" in text.partition(": images: ")[0][-4:] for number, text in enumerate(told, start=2)] == [True] * 4
    for text, wanted in zip(
        told, ("there is no image", "lies outside", "broken.png is no image", "cannot be used"), strict=True
    ):
        assert wanted in text
    with pytest.raises(TunesmithError, match=r"bad row: .*there is no image"):
        prepared(config(dataset="bad"))


def test_a_cut_never_goes_through_a_picture(place: Path, config: Config) -> None:
    talk = [*row(ASKED, "red", "train0.png")["messages"], *row(ASKED, "blue", "train1.png")["messages"]]
    write_rows(place, "long", [{"messages": talk, "images": ["train0.png", "train1.png"]}])
    pad = load_processor(place / "qwen2-vl").image_token_id
    pictures = {}
    for name in ("train0.png", "train1.png"):
        write_rows(place, name[:6], [row(ASKED, "red", name)])
        found = prepared(config(dataset=name[:6])).train
        assert found is not None
        pictures[name] = int((TokenStore.open(found)[0]["tokens"].ids == pad).sum())
    for limit in range(30, 260, 3):
        report = prepared(config(dataset="long", cutoff_len=limit), lenient=True)
        if not report.report.sources[0].kept:
            continue
        assert report.train is not None
        tokens = TokenStore.open(report.train)[0]["tokens"]
        wanted = sum(pictures[Path(media.path).name] for media in tokens.media)
        assert int((tokens.ids == pad).sum()) == wanted


def test_the_limits_of_sizes_are_part_of_what_was_prepared(config: Config) -> None:
    found = {prepared(config(image_max_pixels=most)).report.sources[0].tokens for most in (1100, 4000)}
    assert len(found) == 2


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"packing": True}, "packing: train has images, which cannot be packed"),
        ({"image_min_pixels": 700_000}, r"image_min_pixels \(700000\) is above image_max_pixels"),
        ({"media_dir": "nowhere/at/all"}, "there is no folder nowhere/at/all"),
        ({"freeze_language_model": True}, "nothing is left to learn: every part is frozen"),
    ],
)
def test_what_cannot_be_is_a_problem_of_the_plan(config: Config, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        api.plan(config(**keys))


def test_images_that_no_column_announces_are_not_packed_either(place: Path, config: Config) -> None:
    import json

    content = [{"type": "image", "image": "train0.png"}, {"type": "text", "text": ASKED}]
    lines = [{"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "red"}]}]
    (place / "parts.json").write_text(json.dumps(lines))
    info = json.loads((place / "dataset_info.json").read_text())
    info["parts"] = {"file_name": "parts.json", "formatting": "openai"}
    (place / "dataset_info.json").write_text(json.dumps(info))
    assert prepared(config(dataset="parts")).report.sources[0].kept == 1
    with pytest.raises(TunesmithError, match="cannot be packed"):
        prepared(config(dataset="parts", packing=True))


def test_a_model_without_a_processor_says_so(place: Path, config: Config, tmp_path: Path) -> None:
    from tunesmith.runtime.tiny import make_tiny

    make_tiny("qwen2", tmp_path / "blind")
    with pytest.raises(TunesmithError, match="the model has no processor for them"):
        prepared(config(model_name_or_path=str(tmp_path / "blind")))


def test_the_wrong_template_is_told_by_its_words(place: Path, config: Config) -> None:
    table = 'user = "{content}"\nreply = "{content}</s>"\nstop = ["</s>"]\nmedia = { image = "<picture>" }'
    (place / "wrong.toml").write_text(f"[wrong]\n{table}\n")
    with pytest.raises(TunesmithError, match=r"LlavaProcessor looks for '<image>'"):
        prepared(config(model_name_or_path=str(place / "llava"), template=str(place / "wrong.toml")))


def test_a_picture_that_changed_is_noticed(place: Path, config: Config) -> None:
    import torch
    from tunesmith.runtime.collate import Collator

    write_rows(place, "moving", [row(ASKED, picture(place / "pictures", "moving.png", "1"), "moving.png")])
    found = prepared(config(dataset="moving")).train
    assert found is not None
    rows = [TokenStore.open(found)[0]]
    _, renderer = make_tools(api.plan(config()), Plugins())
    assert renderer is not None
    collate = Collator(0, media=renderer.media)
    batch = collate(rows)
    assert batch["pixel_values"].dtype == torch.float32
    assert int(batch["mm_token_type_ids"].sum()) == len(batch["pixel_values"]) // 4
    Image.new("RGB", (200, 20)).save(place / "pictures" / "moving.png")
    with pytest.raises(TunesmithError, match="is not what it was"):
        collate(rows)
