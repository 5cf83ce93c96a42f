"""Stands in for SGLang, which needs a device: the flags and the part of ``/generate`` that the engine uses.

It refuses what SGLang refuses, amid the events or with its statuses, and any flag or field that SGLang does not have.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tunesmith.testing.small_server import Dialect, Pick, Said, SmallModel, Wanted, Wrong, serve

FIELDS = {"input_ids", "sampling_params", "stream", "return_logprob", "top_logprobs_num", "lora_path"}
PARAMETERS = {
    *("max_new_tokens", "stop_token_ids", "skip_special_tokens", "temperature", "top_p", "top_k", "min_p", "logit_bias"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "sampling_seed", "json_schema"),
}


class Generate(Dialect):
    path = "/generate"

    def __init__(self, deterministic: bool) -> None:
        self.deterministic = deterministic

    def understand(self, body: Mapping[str, Any], model: SmallModel) -> Wanted:
        asked = body["sampling_params"]
        self.check(body, asked, model)
        top_k = asked.get("top_k", -1)
        pick = Pick(
            asked.get("temperature", 1.0),
            0 if top_k == -1 else top_k,
            asked.get("top_p", 1.0),
            asked.get("min_p", 0.0),
            asked.get("repetition_penalty", 1.0),
            asked.get("presence_penalty", 0.0),
            asked.get("frequency_penalty", 0.0),
            {int(token): bias for token, bias in asked.get("logit_bias", {}).items()},
            asked.get("sampling_seed") if self.deterministic else None,
        )
        report = body.get("top_logprobs_num", 0) if body.get("return_logprob") else None
        ends = frozenset(asked.get("stop_token_ids", ()))
        return Wanted(tuple(body["input_ids"]), asked["max_new_tokens"], ends, pick, body.get("lora_path"), report)

    def check(self, body: Mapping[str, Any], asked: Mapping[str, Any], model: SmallModel) -> None:
        if unknown := (body.keys() - FIELDS) | (asked.keys() - PARAMETERS):
            raise Wrong(400, f"unknown fields {unknown}")
        if asked.get("top_k", -1) != -1 and asked["top_k"] < 1:
            raise Wrong(400, f"top_k must be -1 (disable) or at least 1, got {asked['top_k']}.")
        if len(body["input_ids"]) + asked["max_new_tokens"] > model.longest:
            raise Wrong(400, f"Requested token count exceeds the model's maximum context length of {model.longest} tokens.")
        if body.get("lora_path") not in (None, *model.adapters):
            raise Wrong(400, f"The adapter {body['lora_path']} is not loaded.")
        if any(int(token) >= model.vocabulary for token in asked.get("logit_bias", ())):
            raise Wrong(400, f"logit_bias must has keys in [0, {model.vocabulary - 1}]")
        if asked.get("json_schema"):
            raise Wrong(400, f"the stand-in has no grammar for a schema: {asked['json_schema']}")

    def tell(self, said: Said, wanted: Wanted) -> Mapping[str, Any]:
        facts: dict[str, Any] = {"finish_reason": {"type": said.finish} if said.finish else None}
        if wanted.logprobs is not None:
            facts["output_token_logprobs"] = [[said.logprob, said.token, None]]
            if wanted.logprobs:
                facts["output_top_logprobs"] = [[[value, token, None] for token, value in said.top]]
        return {"text": "", "output_ids": [said.token], "meta_info": facts}

    def refuse(self, error: Wrong) -> Mapping[str, Any]:
        return {"error": {"message": str(error)}}


def main() -> None:
    flags = argparse.ArgumentParser()
    for name in ("config", "model-path", "host", "dtype", "log-level-http", "lora-backend"):
        flags.add_argument(f"--{name}")
    for name in ("port", "context-length", "tp-size"):
        flags.add_argument(f"--{name}", type=int)
    for name in ("trust-remote-code", "incremental-streaming-output", "enable-deterministic-inference"):
        flags.add_argument(f"--{name}", action="store_true")
    flags.add_argument("--mem-fraction-static", type=float)
    flags.add_argument("--lora-paths", nargs="*", type=json.loads, default=[])
    given = flags.parse_args()
    assert given.host == "127.0.0.1"
    assert given.incremental_streaming_output
    key = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))["api-key"]
    adapters = {one["lora_name"]: Path(one["lora_path"]) for one in given.lora_paths}
    serve(
        SmallModel(Path(given.model_path), adapters, given.context_length),
        Generate(given.enable_deterministic_inference),
        given.port,
        key,
    )


if __name__ == "__main__":
    main()
