"""The suite that every inference engine runs: a tiny model answers, and what it says is held against plain ``generate``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tunesmith import EngineSpec, TunesmithError, api
from tunesmith.contracts import Delta, Engine, Request, Sampling
from tunesmith.data.conversation import Conversation, Text, Turn
from tunesmith.data.tokens import make_encoder
from tunesmith.plan import Plan
from tunesmith.runtime.tiny import make_tiny
from tunesmith.spec import options_of
from tunesmith.testing.spec_check import load, option_faults, spec_faults

GREEDY = Sampling(max_new_tokens=12, do_sample=False)
RANDOM = Sampling(max_new_tokens=24, do_sample=True, temperature=1.0, top_p=1.0, top_k=0, seed=5)

SCHEMA = '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false}'


def said(*turns: str) -> Conversation:
    """A conversation of user and assistant in turn."""
    roles = ("user", "assistant")
    return Conversation(tuple(Turn(roles[i % 2], (Text(text),)) for i, text in enumerate(turns)))  # type: ignore[arg-type]


ASKED = (said("Who are you?"), said("Add 2 and 3.", "5", "And 4 more?"), said("你好，请介绍一下你自己。"))


class EngineSuite:
    """That an engine answers as the model would, from the ids that training used, and lets itself be stopped.

    Set ``spec``; the engine must be installed, since the suite plans a real run with it::

        class TestAcme(EngineSuite):
            spec = ACME
            keys = {"acme_workers": 1}
    """

    spec: ClassVar[EngineSpec]
    family: ClassVar[str] = "llama"
    """The family of the tiny model that answers."""
    sizes: ClassVar[Mapping[str, int]] = {}
    """How large it is, where not the usual: fields of :class:`~tunesmith.runtime.tiny.families.Sizes`."""
    keys: ClassVar[Mapping[str, Any]] = {}
    """Further flat keys of the run."""
    schemas: ClassVar[bool] = False
    """Whether it can hold an answer to a JSON schema; if not, it must refuse one."""

    refuses: ClassVar[frozenset[str]] = frozenset()
    """Fields of a sampling that the engine does not build, and refuses by name."""

    # -- what is under test --------------------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A tiny model."""
        return make_tiny(cls.family, tmp_path_factory.mktemp("engine") / "model", **cls.sizes)

    @classmethod
    def plan(cls, folder: Path) -> Plan:
        """The plan of a chat with the model in ``folder``."""
        config = {"model_name_or_path": str(folder), "infer_backend": cls.spec.name, **cls.keys}
        made = api.plan(config, command="chat")
        made.check_ready()
        return made

    @classmethod
    def start(cls, folder: Path) -> Engine:
        """An engine that is ready to answer."""
        plan = cls.plan(folder)
        engine: Engine = load(cls.spec)(plan)
        engine.start(plan)
        return engine

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, folder: Path) -> Iterator[Engine]:
        """One for all tests that leave it as it was."""
        engine = cls.start(folder)
        yield engine
        engine.stop()

    # -- tests ---------------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line; options are a frozen dataclass in which every key has help."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)

    def test_the_ids_of_a_prompt_begin_the_ids_of_its_training_row(self, engine: Engine, folder: Path) -> None:
        """What generation starts from is what training saw before the answer, token by token."""
        encoder = make_encoder(self.plan(folder), engine.renderer)
        for conversation in ASKED:
            prompt = engine.encode(conversation)
            whole = Conversation((*conversation.turns, Turn("assistant", (Text("I am a model."),))))
            row = encoder.tokens(engine.renderer.render(whole))
            assert prompt == tuple(row.ids[: len(prompt)])
            assert row.weights[len(prompt)] > 0, "the answer begins where the prompt ends"
            assert row.weights[len(prompt) - 1] == 0, "the prompt is not learned"

    def test_greedy_answers_are_those_of_plain_generate(self, engine: Engine, folder: Path) -> None:
        """The same tokens as transformers alone, for requests of different lengths together and one by one."""
        requests = [Request(str(i), engine.encode(talk), GREEDY) for i, talk in enumerate(ASKED)]
        together = collect(engine.generate(requests))
        for request in requests:
            alone = collect(engine.generate([request]))[request.id]
            assert ids_of(alone) == ids_of(together[request.id]) == plain_generate(folder, request)

    def test_the_texts_of_the_deltas_are_the_answer(self, engine: Engine, folder: Path) -> None:
        """Put together, the texts are what decoding all tokens gives; only the last delta says how it ended."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        for talk in ASKED:
            deltas = collect(engine.generate([Request("a", engine.encode(talk), RANDOM)]))["a"]
            ids = [*ids_of(deltas)]
            shown = ids[:-1] if deltas[-1].finish == "stop" else ids
            assert text_of(deltas) == tokenizer.decode(shown, skip_special_tokens=True)
            assert [delta.finish for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
            assert deltas[-1].finish in ("stop", "length")

    def test_an_answer_has_no_more_tokens_than_allowed(self, engine: Engine) -> None:
        """``max_new_tokens`` is honoured, and the end is called ``length``."""
        deltas = collect(engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, max_new_tokens=3))]))["a"]
        assert len(ids_of(deltas)) == 3
        assert deltas[-1].finish == "length"

    def test_a_stop_string_ends_the_answer_and_is_not_shown(self, engine: Engine) -> None:
        """The text ends right before it."""
        ids = engine.encode(ASKED[0])
        whole = text_of(collect(engine.generate([Request("a", ids, GREEDY)]))["a"])
        stop = whole[len(whole) // 2 :][:2]
        deltas = collect(engine.generate([Request("a", ids, replace(GREEDY, stop=("never said", stop)))]))["a"]
        assert text_of(deltas) == whole[: whole.index(stop)]
        assert deltas[-1].finish == "stop"

    def test_a_stop_token_ends_the_answer_and_is_not_shown(self, folder: Path, tmp_path: Path) -> None:
        """An end token of ``generation_config.json`` is honoured."""
        asked, copy = ASKED[0], tmp_path / "model"
        engine = self.start(folder)
        first = collect(engine.generate([Request("a", engine.encode(asked), GREEDY)]))["a"]
        engine.stop()
        end = ids_of(first)[-1]
        before = ids_of(first)[: ids_of(first).index(end)]
        with_end(folder, copy, end)
        engine = self.start(copy)
        deltas = collect(engine.generate([Request("a", engine.encode(asked), GREEDY)]))["a"]
        engine.stop()
        assert ids_of(deltas) == (*before, end)
        assert deltas[-1].finish == "stop"
        assert text_of(deltas) == text_of(first[: len(before)])

    def test_a_seed_gives_the_same_answer_whatever_runs_beside_it(self, engine: Engine) -> None:
        """Alone or among others, first or last; another seed gives another answer."""
        ids = engine.encode(ASKED[0])
        alone = collect(engine.generate([Request("a", ids, RANDOM)]))["a"]
        others = [Request(str(seed), ids, replace(RANDOM, seed=seed)) for seed in (1, 2)]
        among = collect(engine.generate([*others, Request("a", ids, RANDOM)]))
        assert ids_of(among["a"]) == ids_of(alone)
        assert len({ids_of(deltas) for deltas in among.values()}) == 3

    def test_closing_the_iterator_ends_the_answer(self, engine: Engine) -> None:
        """What runs is given up at once, its threads too, and the next request is answered."""
        ids, threads = engine.encode(ASKED[0]), threading.active_count()
        began = time.perf_counter()
        collect(engine.generate([Request("a", ids, replace(GREEDY, max_new_tokens=40))]))
        a_token = (time.perf_counter() - began) / 40
        answers = engine.generate([Request("a", ids, replace(GREEDY, max_new_tokens=3000))])
        next(answers)
        began = time.perf_counter()
        answers.close()  # type: ignore[attr-defined]
        assert time.perf_counter() - began < 1000 * a_token, "the answer went on to its end"
        assert threading.active_count() == threads
        assert ids_of(collect(engine.generate([Request("b", ids, GREEDY)]))["b"])

    def test_an_unknown_adapter_is_an_error(self, engine: Engine) -> None:
        """It is named before anything is generated."""
        request = Request("a", engine.encode(ASKED[0]), GREEDY, adapter="nobody-made-this")
        with pytest.raises(TunesmithError, match="nobody-made-this"):
            collect(engine.generate([request]))

    def test_several_threads_may_ask_at_once(self, engine: Engine) -> None:
        """Each gets its own answer, the one that it would have got alone."""
        requests = [Request(str(i), engine.encode(talk), replace(GREEDY, max_new_tokens=6 + i)) for i, talk in enumerate(ASKED)]
        alone = [ids_of(collect(engine.generate([request]))[request.id]) for request in requests]
        with ThreadPoolExecutor(len(requests) * 2) as threads:
            found = list(threads.map(lambda request: collect(engine.generate([request])), requests * 2))
        assert [ids_of(next(iter(answer.values()))) for answer in found] == alone * 2

    def test_logprobs_are_the_models_own(self, engine: Engine, folder: Path) -> None:
        """Before sampling changes scores, one entry for each id; the greedy token is the most likely one."""
        if not self._honours(engine, logprobs=3):
            return
        asked = engine.encode(ASKED[0])
        for sampling in (GREEDY, replace(RANDOM, temperature=0.7, top_k=5, max_new_tokens=6)):
            deltas = collect(engine.generate([Request("a", asked, replace(sampling, logprobs=3))]))["a"]
            entries = [entry for delta in deltas for entry in delta.logprobs]
            expected = plain_logprobs(folder, asked, ids_of(deltas))
            assert [entry.id for entry in entries] == [*ids_of(deltas)]
            assert [entry.logprob for entry in entries] == pytest.approx(
                [row[entry.id] for row, entry in zip(expected, entries, strict=True)], abs=1e-3
            )
            for row, entry in zip(expected, entries, strict=True):
                assert [value for _, value in entry.top] == pytest.approx(sorted(row, reverse=True)[:3], abs=1e-3)
                assert (not sampling.do_sample and entry.top[0][0] == entry.id) or sampling.do_sample
        bare = collect(engine.generate([Request("a", asked, replace(GREEDY, logprobs=0))]))["a"]
        assert all(entry.top == () for delta in bare for entry in delta.logprobs)
        assert len([entry for delta in bare for entry in delta.logprobs]) == len(ids_of(bare))

    @pytest.mark.parametrize(
        "wanted", [{"presence_penalty": 1.5}, {"frequency_penalty": 0.05}, {"presence_penalty": -0.4, "frequency_penalty": 0.2}]
    )
    def test_penalties_count_what_the_answer_said(self, engine: Engine, folder: Path, wanted: dict[str, float]) -> None:
        """Taken off the scores of tokens of the answer, not of the prompt: once, or as often as they were said."""
        if not self._honours(engine, **wanted):
            return
        request = Request("a", engine.encode(ASKED[1]), replace(GREEDY, **wanted))
        assert ids_of(collect(engine.generate([request]))["a"]) == plain_penalised(folder, request)

    def test_a_bias_is_added_to_scores(self, engine: Engine) -> None:
        """A large one decides, a large negative one forbids, whatever the sampling."""
        if not self._honours(engine, logit_bias=((7, 1.0),)):
            return
        ids = engine.encode(ASKED[0])
        first = ids_of(collect(engine.generate([Request("a", ids, GREEDY)]))["a"])[0]
        wanted = 7 if first != 7 else 8
        for sampling in (GREEDY, RANDOM):
            pushed = replace(sampling, max_new_tokens=3, logit_bias=((wanted, 100.0),))
            assert ids_of(collect(engine.generate([Request("a", ids, pushed)]))["a"]) == (wanted,) * 3
        barred = replace(GREEDY, logit_bias=((first, -100.0),))
        assert first not in ids_of(collect(engine.generate([Request("a", ids, barred)]))["a"])

    def test_a_min_p_of_1_leaves_the_most_likely_token(self, engine: Engine) -> None:
        """Sampling is then greedy."""
        if not self._honours(engine, min_p=0.5):
            return
        ids = engine.encode(ASKED[0])
        drawn = collect(engine.generate([Request("a", ids, replace(RANDOM, max_new_tokens=12, min_p=1.0))]))["a"]
        assert ids_of(drawn) == ids_of(collect(engine.generate([Request("a", ids, GREEDY)]))["a"])

    def test_a_schema_is_honoured_or_refused(self, engine: Engine) -> None:
        """Never ignored: the answer is JSON that fits, or the error names the field."""
        request = Request("a", engine.encode(ASKED[0]), replace(RANDOM, max_new_tokens=400, schema=SCHEMA))
        if not self.schemas:
            with pytest.raises(TunesmithError, match="schema"):
                collect(engine.generate([request]))
            return
        answer = collect(engine.generate([request]))["a"]
        assert answer[-1].finish == "stop"
        assert json.loads(text_of(answer)).keys() == {"ok"}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"max_new_tokens": 0},
            {"temperature": -1.0, "do_sample": True},
            {"repetition_penalty": 0.0},
            {"min_p": 1.5, "do_sample": True},
            {"presence_penalty": 3.0},
            {"frequency_penalty": -3.0},
            {"logit_bias": ((10**9, 1.0),)},
            {"logprobs": -1},
        ],
    )
    def test_what_it_cannot_honour_is_an_error(self, engine: Engine, wrong: dict[str, Any]) -> None:
        """Nothing is rounded to something that works."""
        with pytest.raises(TunesmithError, match=next(iter(wrong))):
            collect(engine.generate([Request("a", engine.encode(ASKED[0]), replace(GREEDY, **wrong))]))

    def _honours(self, engine: Engine, **wanted: Any) -> bool:
        """Whether the engine builds all these fields; those that it does not, it must refuse by name."""
        refused = self.refuses & wanted.keys()
        for name in refused:
            sampling = replace(GREEDY, **{name: wanted[name]})
            with pytest.raises(TunesmithError, match=name):
                collect(engine.generate([Request("a", engine.encode(ASKED[0]), sampling)]))
        return not refused

    def test_it_can_be_stopped_twice(self, folder: Path) -> None:
        """And answers nothing afterwards."""
        engine = self.start(folder)
        request = Request("a", engine.encode(ASKED[0]), GREEDY)
        engine.stop()
        engine.stop()
        with pytest.raises(TunesmithError):
            collect(engine.generate([request]))


def collect(deltas: Iterator[Delta]) -> dict[str, list[Delta]]:
    """Request → its deltas in order."""
    answers: dict[str, list[Delta]] = {}
    for delta in deltas:
        answers.setdefault(delta.request, []).append(delta)
    return answers


def ids_of(deltas: list[Delta]) -> tuple[int, ...]:
    """All ids of an answer."""
    return tuple(id_ for delta in deltas for id_ in delta.ids)


def text_of(deltas: list[Delta]) -> str:
    """The whole text of an answer."""
    return "".join(delta.text for delta in deltas)


def plain_generate(folder: Path, request: Request) -> tuple[int, ...]:
    """What transformers alone answers, greedily."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([request.ids])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=request.sampling.max_new_tokens, do_sample=False
    )
    return tuple(out[0, ids.shape[1] :].tolist())


def plain_logprobs(folder: Path, prompt: tuple[int, ...], answer: tuple[int, ...]) -> list[list[float]]:
    """The log-probabilities of all tokens at each place of ``answer``, from one pass of transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        scores = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    rows: list[list[float]] = scores.log_softmax(-1).tolist()
    return rows


def plain_penalised(folder: Path, request: Request) -> tuple[int, ...]:
    """A greedy answer with presence and frequency penalty, token by token, without a cache."""
    import torch
    from transformers import AutoModelForCausalLM

    model, answer, wanted = AutoModelForCausalLM.from_pretrained(folder), [], request.sampling
    for _ in range(wanted.max_new_tokens):
        with torch.no_grad():
            scores = model(torch.tensor([[*request.ids, *answer]])).logits[0, -1].clone()
        for token in set(answer):
            scores[token] -= wanted.presence_penalty + wanted.frequency_penalty * answer.count(token)
        answer.append(int(scores.argmax()))
    return tuple(answer)


def with_end(folder: Path, copy: Path, end: int) -> None:
    """The same model in another folder, with one more token that ends an answer."""
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "generation_config.json").read_text())
    config["eos_token_id"] = [*config["eos_token_id"], end]
    (copy / "generation_config.json").write_text(json.dumps(config))
