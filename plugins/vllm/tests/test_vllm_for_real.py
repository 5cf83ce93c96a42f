"""vLLM itself, on a processor: its stack is built, and its server answers as transformers does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from tunesmith import TunesmithError
from tunesmith.generation import Engine, Request
from tunesmith.plugins import Plugins
from tunesmith.stacks import making, place
from tunesmith.testing import EngineSuite
from tunesmith.testing.engine_suite import ASKED, GREEDY, collect, ids_of
from tunesmith_vllm.plugin import CPU_ENGINE, CPU_STACK

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stack, made where ``TUNESMITH_STACKS`` says and kept there, else in a folder that is thrown away."""
    with pytest.MonkeyPatch.context() as patch:
        if "TUNESMITH_STACKS" not in os.environ:
            patch.setenv("TUNESMITH_STACKS", str(tmp_path_factory.mktemp("stacks")))
        if place.made(CPU_STACK.name) is None:
            try:
                making.create(CPU_STACK, Plugins(), None, print)
            except TunesmithError as error:
                pytest.skip(f"the index cannot make the stack: {error.message} {error.hint.splitlines()[-1:]}")
        yield


class TestVllmItself(EngineSuite):
    """In float32, as transformers computes here."""

    spec = CPU_ENGINE
    sizes: ClassVar = {"hidden": 128}  # its attention on processors wants heads of 32
    schemas = True
    keys: ClassVar = {
        "infer_dtype": "float32",
        "vllm_maxlen": 1024,
        "vllm_enforce_eager": True,
        "vllm_gpu_util": 0.1,
        "vllm_config": {"max_num_seqs": 8, "kv_cache_memory_bytes": 2**28},
    }

    def test_a_schema_holds_the_answer(self, engine: Engine) -> None:
        """The grammar is vLLM's own."""
        wanted = replace(GREEDY, max_new_tokens=20, schema='{"type": "boolean"}')
        deltas = collect(engine.generate([Request("a", engine.encode(ASKED[0]), wanted)]))["a"]
        assert json.loads("".join(delta.text for delta in deltas)) in (True, False)

    def test_logprobs_come_with_their_tokens(self, engine: Engine) -> None:
        """As many alternatives as were asked for, the likeliest first."""
        deltas = collect(engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, logprobs=2))]))["a"]
        told = [entry for delta in deltas for entry in delta.logprobs]
        assert [entry.id for entry in told] == list(ids_of(deltas))
        assert all(len(entry.top) == 2 and entry.top[0] == (entry.id, entry.logprob) for entry in told)
