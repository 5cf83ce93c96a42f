"""What runs in the stack llm-compressor: ``python one_shot.py job.json``. Nothing of ours can be imported here.

A job holds ``method`` (gptq, awq, fp8), ``bits``, ``model`` and ``out`` (folders), ``size`` (of a file of weights) and ``rows``
(token ids to calibrate on).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Layers that stay as they are: the output head, and what sends tokens to experts.
PLAIN = ["lm_head", "re:.*router.*", "re:.*mlp.gate$"]


def recipe_of(method: str, bits: int) -> list[Any]:
    """The modifiers: whole numbers in groups of 128 weights, or fp8 with a scale for each row and each token."""
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    common: dict[str, Any] = {"targets": "Linear", "ignore": PLAIN}
    if method == "fp8":
        return [QuantizationModifier(scheme="FP8_DYNAMIC", **common)]
    if method == "awq":
        return [AWQModifier(), QuantizationModifier(scheme="W4A16", **common)]
    return [GPTQModifier(scheme="W4A16" if bits == 4 else "W8A16", **common)]


def without_pinning() -> None:
    """AWQ pins memory for copies to a device, and torch refuses where there is none."""
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda *_, **__: None


def carry_out(job: Mapping[str, Any]) -> None:
    """Quantise and save."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    without_pinning()
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    data: dict[str, Any] = {}
    if job["rows"]:
        rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["rows"]]
        longest = max(map(len, job["rows"]))
        data = {"dataset": Dataset.from_list(rows), "num_calibration_samples": len(rows), "max_seq_length": longest}
    oneshot(model=model, tokenizer=tokenizer, recipe=recipe_of(job["method"], job["bits"]), **data)
    model.save_pretrained(job["out"], save_compressed=True, max_shard_size=job["size"])


if __name__ == "__main__":
    carry_out(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
