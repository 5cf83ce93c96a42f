"""SGLang's own HTTP interface, as its server starts and as it is spoken to.

Flags and fields are those of SGLang 0.5.23 (``sglang/srt/arg_groups/fields``, ``sglang/srt/managers/io_struct.py``).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.generation import Request, Sampling, TokenLogprob
from tunesmith.plan import Plan
from tunesmith.runtime.event_stream import Post, Refused
from tunesmith.runtime.loading import runs_own_code
from tunesmith.runtime.server_engine import ServerEngine, Speech
from tunesmith.runtime.server_flags import as_flags
from tunesmith.runtime.server_process import HOST, ServerCommand, server_python
from tunesmith.stacks import place

from tunesmith_sglang.options import SglangOptions

MODULE = "sglang.launch_server"
#: The server reports probabilities before temperature and penalties change them only where it is told so.
PLAIN_LOGPROBS = {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1"}


class SglangEngine(ServerEngine):
    """Answers by ``/generate`` with token ids, everything batched by the server."""

    name = "sglang"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.options = plan.options(SglangOptions)
        self.seeds = bool((self.options.sglang_config or {}).get("enable_deterministic_inference"))
        self._key_file: Path | None = None

    def longest(self, plan: Plan) -> tuple[int, bool]:
        """``sglang_maxlen``."""
        setting = plan.settings["sglang_maxlen"]
        return setting.value, setting.given

    def patience(self, plan: Plan) -> float:
        """``sglang_start_timeout``."""
        return float(self.options.sglang_start_timeout)

    def command(self, plan: Plan, folder: Path, port: int) -> ServerCommand:
        """The server's command line. Its key goes by a file, since command lines can be read by everybody."""
        python = place.interpreter(plan.server_stack or self.name)
        self._key_file = key_file(self.key)
        all_devices = self.options.sglang_tp_size == -1
        settings = {
            "config": self._key_file,
            "model_path": folder,
            "host": HOST,
            "port": port,
            "context_length": self.context,
            "mem_fraction_static": self.options.sglang_mem_fraction,
            "tp_size": plan.spread.devices if all_devices else self.options.sglang_tp_size,
            "dtype": plan["infer_dtype"],
            "trust_remote_code": runs_own_code(plan, str(plan.models["policy"].path), folder),
            "incremental_streaming_output": True,
            "log_level_http": "warning",
            **self._adapter_settings(),
            **(self.options.sglang_config or {}),
        }
        # -P: the folder that the user is in must not offer modules to the server.
        arguments = (str(python), "-P", "-m", MODULE, *as_flags(settings))
        return ServerCommand(arguments, {**server_python(python), **PLAIN_LOGPROBS}, secrets=(self.key,))

    def _adapter_settings(self) -> dict[str, Any]:
        if not self.served.by_name:
            return {}
        named = [json.dumps({"lora_name": name, "lora_path": str(place)}) for name, place in self.served.by_name.items()]
        return {"lora_paths": named, "lora_backend": self.options.sglang_lora_backend}

    def start(self, plan: Plan) -> None:
        """As every server; the file with the key is gone afterwards."""
        try:
            super().start(plan)
        finally:
            if self._key_file is not None:
                self._key_file.unlink(missing_ok=True)

    def post(self, request: Request, room: int, ends: Sequence[int]) -> Post:
        """A streamed generation.

        :raises TunesmithError: a seed that the server would ignore, or a penalty beyond its range.
        """
        wanted = request.sampling
        if wanted.seed is not None and wanted.do_sample and not self.seeds:
            hint = "Leave it out, or write sglang_config: {enable_deterministic_inference: true}"
            raise TunesmithError(f"sglang cannot answer with seed {wanted.seed}.", hint)
        if wanted.repetition_penalty > 2:
            what = f"sglang cannot answer with repetition_penalty {wanted.repetition_penalty!r}."
            raise TunesmithError(what, "It must be above 0 and at most 2.")
        return Post("/generate", body(request, room, ends, request.adapter or self.served.loaded, self.seeds))

    def read(self, event: Mapping[str, Any]) -> Speech:
        """The new tokens."""
        facts = event.get("meta_info") or {}
        reason = facts.get("finish_reason") or {}
        if reason.get("type") == "abort":
            raise Refused(0, str(reason.get("message") or "it was given up by the server"))
        return Speech(tuple(event.get("output_ids") or ()), tuple(_logprobs(facts)), reason.get("type"))


def key_file(key: str) -> Path:
    """The server's key as a file of settings that only this user can read."""
    descriptor, name = tempfile.mkstemp(prefix="tunesmith-", suffix=".yaml")  # made with mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(f"api-key: {key}\n")
    return Path(name)


def body(request: Request, room: int, ends: Sequence[int], adapter: str | None, seeds: bool) -> dict[str, Any]:
    """A request of ours as SGLang's own."""
    wanted = request.sampling
    reports = {"return_logprob": True, "top_logprobs_num": wanted.logprobs}
    return {
        "input_ids": list(request.ids),
        "sampling_params": {
            "max_new_tokens": room,
            "stop_token_ids": list(ends),
            "skip_special_tokens": False,  # the text is put together here, from the ids
            **picking(wanted),
            **({"sampling_seed": wanted.seed} if seeds and wanted.seed is not None else {}),
        },
        "stream": True,
        **(reports if wanted.logprobs is not None else {}),
        **({"lora_path": adapter} if adapter else {}),
    }


def picking(wanted: Sampling) -> dict[str, Any]:
    """How to pick tokens. Temperature 0 is greedy, ``top_k`` -1 all tokens."""
    drawing = {
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": wanted.top_k or -1,
        "min_p": wanted.min_p,
    }
    return {
        **(drawing if wanted.do_sample else {"temperature": 0.0}),
        "repetition_penalty": wanted.repetition_penalty,
        "presence_penalty": wanted.presence_penalty,
        "frequency_penalty": wanted.frequency_penalty,
        **({"logit_bias": {str(token): bias for token, bias in wanted.logit_bias}} if wanted.logit_bias else {}),
        **({"json_schema": wanted.schema} if wanted.schema is not None else {}),
    }


def _logprobs(facts: Mapping[str, Any]) -> list[TokenLogprob]:
    """One entry a token, from ``[log-probability, id, text]`` of each and of the likeliest there."""
    tokens = facts.get("output_token_logprobs") or []
    tops = facts.get("output_top_logprobs") or [[]] * len(tokens)
    return [
        TokenLogprob(token, value, tuple((other, likely) for likely, other, _ in top or ()))
        for (value, token, _), top in zip(tokens, tops, strict=True)
    ]
