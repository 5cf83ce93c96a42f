"""Stands in for vLLM, which needs a device or gigabytes: the flags and the part of ``/v1/completions`` that the engine uses.

It refuses what vLLM refuses, with vLLM's statuses, and any flag or field that vLLM does not have.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.testing.small_server import Dialect, Pick, Said, SmallModel, Wanted, Wrong, serve

FIELDS = {
    *("model", "prompt", "max_tokens", "stream", "return_token_ids", "stop_token_ids", "skip_special_tokens", "temperature"),
    *("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logit_bias"),
    *("logprobs", "return_tokens_as_token_ids", "structured_outputs"),
}


class Completions(Dialect):
    path = "/v1/completions"

    def __init__(self, base: str) -> None:
        self.base = base

    def understand(self, body: Mapping[str, Any], model: SmallModel) -> Wanted:
        self.check(body, model)
        pick = Pick(
            body.get("temperature", 1.0),
            max(0, body.get("top_k", 0)),
            body.get("top_p", 1.0),
            body.get("min_p", 0.0),
            body.get("repetition_penalty", 1.0),
            body.get("presence_penalty", 0.0),
            body.get("frequency_penalty", 0.0),
            {int(token): bias for token, bias in body.get("logit_bias", {}).items()},
            body.get("seed"),
        )
        adapter = None if body["model"] == self.base else body["model"]
        ends = frozenset(body.get("stop_token_ids", ()))
        return Wanted(tuple(body["prompt"]), body["max_tokens"], ends, pick, adapter, body.get("logprobs"))

    def check(self, body: Mapping[str, Any], model: SmallModel) -> None:
        if unknown := body.keys() - FIELDS:
            raise Wrong(400, f"extra fields {unknown}")
        if body["model"] not in (self.base, *model.adapters):
            raise Wrong(404, f"The model `{body['model']}` does not exist.")
        if len(body["prompt"]) + body["max_tokens"] > model.longest:
            raise Wrong(400, f"This model's maximum context length is {model.longest} tokens.")
        if any(not 0 <= token < model.vocabulary for token in body["prompt"]):
            raise Wrong(400, "Token id is out of vocabulary")
        if body.get("logprobs") is not None and not 0 <= body["logprobs"] <= 20:
            raise Wrong(400, "Requested sample logprobs is greater than max allowed: 20")
        if any(int(token) >= model.vocabulary for token in body.get("logit_bias", ())):
            raise Wrong(400, "logit_bias contains a token id that is out of vocabulary")
        if body.get("structured_outputs"):
            raise Wrong(400, "the stand-in has no grammar for a schema: " + json.dumps(body["structured_outputs"]))

    def tell(self, said: Said, wanted: Wanted) -> Mapping[str, Any]:
        choice: dict[str, Any] = {"index": 0, "text": "", "token_ids": [said.token], "finish_reason": said.finish}
        if wanted.logprobs is not None:
            top = {f"token_id:{said.token}": said.logprob, **{f"token_id:{token}": value for token, value in said.top}}
            choice["logprobs"] = {
                "text_offset": [0],
                "tokens": [f"token_id:{said.token}"],
                "token_logprobs": [said.logprob],
                "top_logprobs": [top],
            }
        return {"object": "text_completion", "choices": [choice]}

    def refuse(self, error: Wrong) -> Mapping[str, Any]:
        return {"error": {"message": str(error), "type": "BadRequestError", "param": None, "code": error.status}}


def main() -> None:
    flags = argparse.ArgumentParser()
    for name in ("model", "host", "served-model-name", "generation-config", "dtype"):
        flags.add_argument(f"--{name}")
    for name in ("port", "max-model-len", "max-lora-rank", "max-loras", "tensor-parallel-size", "max-num-seqs"):
        flags.add_argument(f"--{name}", type=int)
    for name in ("trust-remote-code", "enforce-eager", "enable-lora", "disable-uvicorn-access-log"):
        flags.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
    flags.add_argument("--gpu-memory-utilization", type=float)
    flags.add_argument("--lora-modules", nargs="*", type=json.loads, default=[])
    given = flags.parse_args()
    assert given.host == "127.0.0.1"
    print("INFO: the stand-in of vLLM has the key", os.environ["VLLM_API_KEY"], flush=True)
    adapters = {one["name"]: Path(one["path"]) for one in given.lora_modules}
    model = SmallModel(Path(given.model), adapters, given.max_model_len)
    serve(model, Completions(given.served_model_name), given.port, os.environ["VLLM_API_KEY"])


if __name__ == "__main__":
    main()
