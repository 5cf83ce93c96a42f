"""vLLM's OpenAI-compatible server, as it starts and as it is spoken to.

Flags and fields are those of vLLM 0.32 (``vllm/entrypoints/openai/completion/protocol.py``, ``vllm/engine/arg_utils.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.generation import Request, Sampling, TokenLogprob
from tunesmith.plan import Plan
from tunesmith.runtime.event_stream import Post
from tunesmith.runtime.loading import runs_own_code
from tunesmith.runtime.server_engine import ServerEngine, Speech
from tunesmith.runtime.server_flags import as_flags
from tunesmith.runtime.server_process import HOST, ServerCommand, server_python
from tunesmith.stacks import place

from tunesmith_vllm.options import VllmOptions

#: What the server calls the model without adapters; no folder has this name.
BASE = "(base)"
#: How vLLM writes a token where it is asked for ids.
TOKEN = "token_id:"
MODULE = "vllm.entrypoints.openai.api_server"


class VllmEngine(ServerEngine):
    """Answers by ``/v1/completions`` with token ids, everything batched by the server."""

    def __init__(self, plan: Plan) -> None:
        self.name = plan.the("engines").name
        self.stack = plan.server_stack or self.name
        super().__init__(plan)

    def longest(self, plan: Plan) -> tuple[int, bool]:
        """``vllm_maxlen``."""
        setting = plan.settings["vllm_maxlen"]
        return setting.value, setting.given

    def patience(self, plan: Plan) -> float:
        """``vllm_start_timeout``."""
        return float(plan["vllm_start_timeout"])

    def command(self, plan: Plan, folder: Path, port: int) -> ServerCommand:
        """The server's command line."""
        python = place.interpreter(self.stack)
        settings = {
            "model": folder,
            "host": HOST,
            "port": port,
            "served_model_name": BASE,
            "generation_config": "vllm",  # requests say everything; the model's own settings do not creep in
            "max_model_len": self.context,
            "dtype": plan["infer_dtype"],
            "trust_remote_code": runs_own_code(plan, str(plan.models["policy"].path), folder),
            **_engine_settings(plan.options(VllmOptions), plan.spread.devices, self.served.by_name),
        }
        variables = {
            **server_python(python),
            "VLLM_API_KEY": self.key,
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        }
        # -P: the folder that the user is in must not offer modules to the server.
        arguments = (str(python), "-P", "-m", MODULE, *as_flags(settings, negated="no-"))
        return ServerCommand(arguments, variables, secrets=(self.key,))

    def post(self, request: Request, room: int, ends: Sequence[int]) -> Post:
        """A streamed completion."""
        return Post("/v1/completions", body(request, room, ends, request.adapter or self.served.loaded or BASE))

    def read(self, event: Mapping[str, Any]) -> Speech:
        """The new tokens of the one choice that was asked for."""
        choice = next(iter(event.get("choices") or ()), None)
        if choice is None:
            return Speech()
        return Speech(
            tuple(choice.get("token_ids") or ()), tuple(_logprobs(choice.get("logprobs"))), choice.get("finish_reason")
        )


def _engine_settings(options: VllmOptions, devices: int, adapters: Mapping[str, Path]) -> dict[str, Any]:
    lora = {
        "enable_lora": True,
        "max_lora_rank": options.vllm_max_lora_rank,
        "max_loras": len(adapters),
        "lora_modules": [json.dumps({"name": name, "path": str(folder)}) for name, folder in adapters.items()],
    }
    return {
        "gpu_memory_utilization": options.vllm_gpu_util,
        "enforce_eager": options.vllm_enforce_eager or None,
        "tensor_parallel_size": devices if devices > 1 else None,
        "disable_uvicorn_access_log": True,
        **(lora if adapters else {}),
        **(options.vllm_config or {}),
    }


def body(request: Request, room: int, ends: Sequence[int], model: str) -> dict[str, Any]:
    """A request of ours as a completion request of vLLM."""
    wanted = request.sampling
    return {
        "model": model,
        "prompt": list(request.ids),
        "max_tokens": room,
        "stream": True,
        "return_token_ids": True,
        "stop_token_ids": list(ends),
        "skip_special_tokens": False,  # the text is put together here, from the ids
        **picking(wanted),
        **({"logprobs": wanted.logprobs, "return_tokens_as_token_ids": True} if wanted.logprobs is not None else {}),
        **({"structured_outputs": structure(wanted.schema)} if wanted.schema is not None else {}),
    }


def picking(wanted: Sampling) -> dict[str, Any]:
    """How to pick tokens. Temperature 0 is greedy."""
    drawing = {"temperature": wanted.temperature, "top_p": wanted.top_p, "top_k": wanted.top_k, "min_p": wanted.min_p}
    return {
        **(drawing if wanted.do_sample else {"temperature": 0.0}),
        "repetition_penalty": wanted.repetition_penalty,
        "presence_penalty": wanted.presence_penalty,
        "frequency_penalty": wanted.frequency_penalty,
        **({"seed": wanted.seed} if wanted.seed is not None else {}),
        **({"logit_bias": {str(token): bias for token, bias in wanted.logit_bias}} if wanted.logit_bias else {}),
    }


def structure(schema: str) -> dict[str, Any]:
    """What holds the answer to a JSON schema."""
    return {"json_object": True} if schema.strip() == "{}" else {"json": schema}


def _logprobs(plain: Mapping[str, Any] | None) -> list[TokenLogprob]:
    """One entry a token. The server lists the token itself behind the likeliest where it is not one of them."""
    if plain is None:
        return []
    tops = plain.get("top_logprobs") or [None] * len(plain["tokens"])
    return [
        TokenLogprob(_id(token), value, tuple(sorted(((_id(t), v) for t, v in (top or {}).items()), key=lambda pair: -pair[1])))
        for token, value, top in zip(plain["tokens"], plain["token_logprobs"], tops, strict=True)
    ]


def _id(token: str) -> int:
    return int(token.removeprefix(TOKEN))
