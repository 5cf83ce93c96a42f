"""Small random models of the families that see, each with its own configuration classes, tokens and processor files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from tunesmith.runtime.tiny import Sizes
from tunesmith.runtime.tiny.families import Family, find_family
from tunesmith.runtime.tiny.tokens import make_tokenizer
from tunesmith.runtime.tiny.weights import make_config

PATCHES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
QWEN = {"patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2, "depth": 2, "num_heads": 4, "out_hidden_size": 64}
BETWEEN_PIXELS = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
SECTIONS = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


@dataclass(frozen=True)
class Seeing:
    """How a small model of a family is made.

    :param template: the template that writes for it; ``asked``: a question about two pictures as its model wants to read it.
    :param base: the family of small models that its language model and tokens are like; ``config``: the whole configuration.
    :param own: whether the language model's configuration is a class of the family's own, rather than that of ``base``.
    :param tokens: special tokens more; ``named``: what the tokenizer calls them; ``marks``: configuration key → token.
    :param processor: its class; ``images``: preprocessor_config.json; ``settings``: processor_config.json.
    """

    template: str
    asked: str
    base: str
    config: str
    processor: str
    images: Mapping[str, Any]
    vision: Mapping[str, Any]
    marks: Mapping[str, str]
    own: bool = False
    text: Mapping[str, Any] = field(default_factory=dict)
    top: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


QWEN_MARKS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN_IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    **BETWEEN_PIXELS,
    "size": {"shortest_edge": 256, "longest_edge": 16384},
}
GLM_MARKS = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}
PIXTRAL = {"image_processor_type": "PixtralImageProcessor", "patch_size": {"height": 4, "width": 4}}
CLIP = {"model_type": "clip_vision_model", **PATCHES, "image_size": 32, "patch_size": 8, "projection_dim": 32}
GRIDS = [[32, 64], [64, 32], [64, 64]]
IMG = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
GLM_PICTURE = "<|begin_of_image|><|image|><|end_of_image|>"

FAMILIES = {
    "qwen2_5_vl": Seeing(
        "qwen2_vl",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{QWEN_IMAGE * 2}What?<|im_end|>\n<|im_start|>assistant\n",
        "qwen2",
        "Qwen2_5_VLConfig",
        "Qwen2_5_VLProcessor",
        QWEN_IMAGES,
        {**QWEN, "hidden_size": 32, "intermediate_size": 64, "window_size": 16, "fullatt_block_indexes": [1]},
        QWEN_MARKS,
        own=True,
        text={"rope_parameters": SECTIONS},
    ),
    "qwen3_vl": Seeing(
        "qwen3_vl_nothink",
        f"<|im_start|>user\n{QWEN_IMAGE * 2}What?<|im_end|>\n<|im_start|>assistant\n",
        "qwen3",
        "Qwen3VLConfig",
        "Qwen3VLProcessor",
        {**QWEN_IMAGES, "image_processor_type": "Qwen2VLImageProcessorFast"},
        {
            **QWEN,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        QWEN_MARKS,
        own=True,
        text={"rope_parameters": SECTIONS},
    ),
    "gemma3": Seeing(
        "gemma3",
        "<bos><start_of_turn>user\n<start_of_image><start_of_image>What?<end_of_turn>\n<start_of_turn>model\n",
        "gemma3",
        "Gemma3Config",
        "Gemma3Processor",
        {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 32, "width": 32}},
        {"model_type": "siglip_vision_model", **PATCHES, "image_size": 32, "patch_size": 8, "vision_use_head": False},
        {"boi_token_index": "<start_of_image>", "eoi_token_index": "<end_of_image>", "image_token_index": "<image_soft_token>"},
        own=True,
        top={"mm_tokens_per_image": 4},
        settings={"image_seq_length": 4},
        tokens=("<image_soft_token>",),
        named={"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
    ),
    "pixtral": Seeing(
        "pixtral",
        "<s>[INST][IMG][IMG]What?[/INST]",
        "mistral",
        "LlavaConfig",
        "PixtralProcessor",
        {**PIXTRAL, "size": {"longest_edge": 64}},
        {"model_type": "pixtral", **PATCHES, "image_size": 64, "patch_size": 4},
        {"image_token_index": "[IMG]"},
        top={"vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
        settings={"patch_size": 4},
        tokens=IMG,
    ),
    "mistral3": Seeing(
        "mistral_small",
        "[INST][IMG][IMG]What?[/INST]",
        "mistral",
        "Mistral3Config",
        "PixtralProcessor",
        {**PIXTRAL, "size": {"longest_edge": 64}},
        {"model_type": "pixtral", **PATCHES, "image_size": 64, "patch_size": 4},
        {"image_token_index": "[IMG]"},
        top={"vision_feature_layer": -1, "spatial_merge_size": 2},
        settings={"patch_size": 4, "spatial_merge_size": 2},
        tokens=(*IMG, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    ),
    "internvl": Seeing(
        "intern_vl",
        "<|im_start|>user\n<IMG_CONTEXT>\n<IMG_CONTEXT>\nWhat?<|im_end|>\n<|im_start|>assistant\n",
        "qwen2",
        "InternVLConfig",
        "InternVLProcessor",
        {"image_processor_type": "GotOcr2ImageProcessor", "size": {"height": 32, "width": 32}, "max_patches": 3},
        {**PATCHES, "image_size": [32, 32], "patch_size": [8, 8]},
        {"image_token_id": "<IMG_CONTEXT>"},
        top={"image_seq_length": 4},
        settings={"image_seq_length": 4},
        tokens=("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        named={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    "llava_next": Seeing(
        "llava_next_mistral",
        "[INST] <image>\n<image>\nWhat? [/INST]",
        "mistral",
        "LlavaNextConfig",
        "LlavaNextProcessor",
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": 32},
            "crop_size": {"height": 32, "width": 32},
            "image_grid_pinpoints": GRIDS,
        },
        CLIP,
        {"image_token_index": "<image>"},
        top={"image_grid_pinpoints": GRIDS, "image_seq_length": 16},
        settings={"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
        tokens=("<image>",),
    ),
    "glm4v": Seeing(
        "glm4v",
        f"[gMASK]<sop><|user|>\n{GLM_PICTURE * 2}What?<|assistant|>",
        "qwen2",
        "Glm4vConfig",
        "Glm4vProcessor",
        {
            "image_processor_type": "Glm4vImageProcessor",
            **BETWEEN_PIXELS,
            "size": {"shortest_edge": 256, "longest_edge": 16384},
        },
        {**QWEN, "hidden_size": 32, "intermediate_size": 64, "image_size": 32},
        GLM_MARKS,
        own=True,
        text={"rope_parameters": {**SECTIONS, "partial_rotary_factor": 1.0}},
        tokens=(*GLM_MARKS.values(), "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>", "</answer>"),
    ),
}


def make_seeing(name: str, folder: Path) -> Seeing:
    """Write the small model into ``folder``."""
    facts = FAMILIES[name]
    base = find_family(facts.base)
    family: Family = replace(base, special=(*base.special, *(token for token in facts.tokens if token not in base.special)))
    tokenizer = make_tokenizer(family, 2048, 4096)
    marks = {key: tokenizer.convert_tokens_to_ids(token) for key, token in facts.marks.items()}
    text = make_config(family, Sizes(), tokenizer).to_dict() | facts.text
    for key in ("model_type", "architectures") if facts.own else ("architectures",):
        text.pop(key, None)
    tied = {"tie_word_embeddings": bool(text.get("tie_word_embeddings"))}
    config = getattr(transformers, facts.config)(
        text_config=text, vision_config=dict(facts.vision), **marks, **facts.top, **tied
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    ends = tokenizer.convert_tokens_to_ids(list(base.stop))
    model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if facts.named:
        told = folder / "tokenizer_config.json"
        told.write_text(json.dumps({**json.loads(told.read_text()), "extra_special_tokens": dict(facts.named)}))
    for file, content in (("preprocessor_config", facts.images), ("processor_config", facts.settings)):
        (folder / f"{file}.json").write_text(json.dumps({"processor_class": facts.processor, **content}))
    return facts
