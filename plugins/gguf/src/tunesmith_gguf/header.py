"""What a GGUF file says of its model before the tensors come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_VERSION, GGUFWriter, LlamaFileType, RopeScalingType
from tunesmith.model_folder import read_json

from tunesmith_gguf.kinds import stretch_of
from tunesmith_gguf.vocabulary import read_vocabulary

FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}


def write_header(writer: GGUFWriter, folder: Path, config: Any, wanted: str, pre: str | None) -> None:
    """Sizes, positions, tokenizer, special tokens and chat template of the model in ``folder``.

    :param wanted: the number format.
    :param pre: llama.cpp's name of how texts are split, where the user gave it.
    """
    writer.add_file_type(LlamaFileType[FILE_TYPES[wanted]])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    _sizes(writer, config)
    _positions(writer, config)
    read_vocabulary(folder, config.vocab_size, pre).write(writer)
    _special_tokens(writer, folder)
    template = folder / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text(encoding="utf-8"))


def _sizes(writer: GGUFWriter, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "sliding_window", None) and config.model_type.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if getattr(config, "attn_logit_softcapping", None):
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if getattr(config, "final_logit_softcapping", None):
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _positions(writer: GGUFWriter, config: Any) -> None:
    """``llama3`` stretches by a tensor, and the others by numbers here."""
    found = stretch_of(config.to_dict())
    writer.add_rope_freq_base(found["rope_theta"])
    if found["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType[found["rope_type"].upper()])
        writer.add_rope_scaling_factor(found["factor"])
    if found["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(found["original_max_position_embeddings"])


def _special_tokens(writer: GGUFWriter, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "unk": tokenizer.unk_token_id,
    }
    for name, place in ids.items():
        if place is not None:
            getattr(writer, f"add_{name}_token_id")(place)
    ends = read_json(folder, "generation_config.json").get("eos_token_id") or []
    turns = [end for end in (ends if isinstance(ends, list) else [ends]) if end != ids["eos"]]
    if turns:
        writer.add_eot_token_id(turns[0])
    begun = tokenizer("a").input_ids[:1] == [ids["bos"]]
    writer.add_add_bos_token(begun and ids["bos"] is not None)
    writer.add_add_space_prefix(len(tokenizer.tokenize("a")) > 0 and tokenizer.tokenize("a")[0].startswith("▁"))
