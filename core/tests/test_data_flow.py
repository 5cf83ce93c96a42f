"""From files to token stores and a report: what is kept, cut, dropped, cached, mixed and packed, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tunesmith import TunesmithError
from tunesmith.config import Setting
from tunesmith.data.arrays import verify
from tunesmith.data.conversation import Conversation, Text, Turn
from tunesmith.data.dataset_info import describe
from tunesmith.data.flow import Prepared, prepare
from tunesmith.data.learning import Learning, drafted
from tunesmith.data.preparation import make_tools
from tunesmith.data.prompt_facts import prompt_of_facts
from tunesmith.data.report import Report, table
from tunesmith.data.store import TokenStore
from tunesmith.host_options import DataOptions, ModelOptions
from tunesmith.plan import ModelWish, Plan
from tunesmith.plugins import Plugins
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_tokenizers import write_tokenizer

PLUGIN = """
from pathlib import Path
from tunesmith import FormatSpec, TemplateSpec, hookimpl
from tunesmith.contracts import BadRow, Format
from tunesmith.data.columns import Row
from tunesmith.data.conversation import Conversation, Document, Feedback, Preference, Prompt, Text, Turn

TUNESMITH_API = (1, 0)
KINDS = ("conversation", "preference", "feedback", "document", "prompt")


class Talk(Format):
    def __init__(self, columns, tags):
        self.columns = columns

    def read(self, row, kind):
        row = Row(row, self.columns)
        if kind == "document":
            return Document(row.text("text", needed=True))
        said = row.items("talk", needed=True)
        turns = tuple(Turn("assistant" if i % 2 else "user", (Text(text),), *weight) for i, (text, *weight) in enumerate(said))
        if kind == "preference":
            chosen, rejected = (Turn("assistant", (Text(row.text(name, needed=True)),)) for name in ("chosen", "rejected"))
            return Preference(Conversation(turns), (chosen,), (rejected,))
        if kind == "prompt":
            return Prompt(Conversation(turns), row.rest("talk"))
        if len(turns) % 2:
            raise BadRow("there is no answer", f"talk[{len(turns) - 1}]")
        return Feedback(Conversation(turns), row.flag("kto_tag")) if kind == "feedback" else Conversation(turns)


@hookimpl
def tunesmith_formats():
    columns = {"talk": "talk", "text": "text", "chosen": "chosen", "rejected": "rejected", "kto_tag": None, "note": None}
    required = {"conversation": ("talk",), "document": ("text",)}
    more = {"columns": columns, "required": required, "default": True}
    return [FormatSpec("talk", "tunesmith_local:Talk", "For tests.", yields=KINDS, **more)]


@hookimpl
def tunesmith_templates():
    return [TemplateSpec("small", str(Path(__file__).with_name("small.toml")), "small")]
"""
TEMPLATE = """[small]
summary = "For tests"
user = "<|im_start|>{content}<|im_end|>"
prompt = "<s>"
reply = "{content}<|im_end|>"
after = "\\n"
stop = ["<|im_end|>"]
"""
#: Dies where a worker reads its first row, and not in the process that tests.
DEADLY = """
import multiprocessing, os

def die(self, row, kind):
    os._exit(9)

if multiprocessing.parent_process():
    Talk.read = die
"""
TALK = {"talk": [["hello"], ["good morning"]]}
PAIRS = [{"talk": [[f"user says {i}"], ["good morning " * (i % 5 + 1)]]} for i in range(20)]


@dataclass(frozen=True)
class Road:
    """A folder with a model, a plugin and datasets."""

    folder: Path

    def write(self, name: str, rows: list[Any], **entry: Any) -> None:
        file = self.folder / "dataset_info.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        file.write_text(json.dumps(known | {name: {"file_name": f"{name}.jsonl", **entry}}))

    @property
    def plugins(self) -> Plugins:
        return Plugins(only=["local"], local=self.folder)

    def plan(self, *names: str, evals: tuple[str, ...] = (), kind: str = "conversation", seed: int = 5, **options: Any) -> Plan:
        data = DataOptions(**{"template": "small", "data_cache_dir": str(self.folder / "cache"), **options})
        plan = hand_plan(data, ModelOptions(model_name_or_path=str(self.folder / "model")), seed=seed)
        found = [
            describe(chosen, split, dataset_dir=str(self.folder), wants=(kind,), plugins=self.plugins)
            for split, chosen in (("train", names), ("eval", evals))
        ]
        assert not [problem for part in found for problem in (*part.problems, *part.missing)]
        datasets = tuple(dataset for part in found for dataset in part.datasets)
        models = {"policy": ModelWish("policy", str(self.folder / "model"))}
        return replace(plan, datasets=datasets, models=models, only=("local",), local=str(self.folder))

    def prepare(self, *names: str, lenient: bool = False, **options: Any) -> Prepared:
        return prepare(self.plan(*names, **options), self.plugins, lenient=lenient)

    def train(self, *names: str, **options: Any) -> TokenStore:
        path = self.prepare(*names, **options).train
        assert path
        return TokenStore.open(path)

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.folder / "model" / "tokenizer.json"))

    def text(self, ids: Any) -> str:
        return self.tokenizer.decode([int(id_) for id_ in ids], skip_special_tokens=False)

    def learned(self, store: TokenStore, index: int = 0, name: str = "tokens") -> str:
        tokens = store[index][name]
        return self.text(np.asarray(tokens.ids)[np.asarray(tokens.weights) > 0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tokenizer(tmp_path_factory.mktemp("model"))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def road(tmp_path: Path, model: Path) -> Road:
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "tunesmith_local.py").write_text(PLUGIN)
    (tmp_path / "small.toml").write_text(TEMPLATE)
    made = Road(tmp_path)
    made.write("pairs", PAIRS)
    return made


def everything(store: TokenStore) -> list[Any]:
    return [{name: (list(t.ids), list(t.weights)) for name, t in store[i].items()} for i in range(len(store))]


# ---- tokens ----------------------------------------------------------------------------------------------------------


def test_rows_become_tokens_with_the_answers_learned(road: Road) -> None:
    road.write("one", [TALK, {"talk": [["a"], ["b"], ["c"], ["d"]]}])
    store = road.train("one")
    assert (len(store), store.sequences, store.kind, store.packed) == (2, ("tokens",), "conversation", False)
    assert road.text(store[0]["tokens"].ids) == "<|im_start|>hello<|im_end|><s>good morning<|im_end|>\n"
    assert road.learned(store) == "good morning<|im_end|>"
    assert road.learned(store, 1) == "b<|im_end|>d<|im_end|>"
    assert store[-1]["tokens"].ids.tolist() == store[1]["tokens"].ids.tolist()
    assert (
        store.lengths().tolist()
        == [len(store[i]["tokens"].ids) for i in range(2)]
        == [store.boundaries(i)[0] for i in range(2)]
    )
    with pytest.raises(IndexError):
        store[2]


def test_a_prompts_ids_are_a_prefix_of_each_training_row(road: Road) -> None:
    store = road.train("pairs", mask_history=True)
    encoder, renderer = make_tools(road.plan("pairs"), road.plugins)
    assert renderer is not None
    for index, row in enumerate(PAIRS):
        asked = Conversation((Turn("user", (Text(row["talk"][0][0]),)),))
        prompt = encoder.ids(renderer.render(asked, generation_prompt=True))
        ids, weights = store[index]["tokens"].ids, store[index]["tokens"].weights
        assert tuple(ids[: len(prompt)].tolist()) == prompt
        assert (sum(weights[: len(prompt)]), weights[len(prompt)]) == (0, 1)


def test_history_prompt_and_weights(road: Road) -> None:
    road.write("one", [{"talk": [["a"], ["b"], ["c"], ["d"]]}])
    assert road.learned(road.train("one", mask_history=True)) == "d<|im_end|>"
    whole = road.train("one", train_on_prompt=True)
    assert road.learned(whole) == road.text(whole[0]["tokens"].ids)
    road.write("weighed", [{"talk": [["a"], ["b", 0], ["c"], ["d", 0.5]]}])
    weighed = road.train("weighed")
    assert road.learned(weighed) == "d<|im_end|>"
    assert set(weighed[0]["tokens"].weights.tolist()) == {0.0, 0.5}
    both = road.train("weighed", train_on_prompt=True)
    assert "b" not in road.learned(both)
    assert "c" in road.learned(both)


def test_weights_do_not_change_the_ids(road: Road) -> None:
    talk = [["a"], ["b"], ["c"], ["d"]]
    road.write("plain", [{"talk": talk}])
    road.write("weighed", [{"talk": [["a"], ["b", 0], ["c"], ["d", 0.5]]}])
    ids = [
        road.train(name, **options)[0]["tokens"].ids.tolist()
        for name, options in (("plain", {}), ("weighed", {}), ("plain", {"mask_history": True}))
    ]
    assert ids[0] == ids[1] == ids[2]


def test_preferences_share_their_prompt_and_learn_the_answers(road: Road) -> None:
    road.write("pref", [{"talk": [["a"], ["b"], ["c"]], "chosen": "good", "rejected": "lazy"}], ranking=True)
    store = road.train("pref", kind="preference")
    assert (store.kind, store.sequences) == ("preference", ("chosen", "rejected"))
    assert [road.learned(store, 0, name) for name in store.sequences] == ["good<|im_end|>", "lazy<|im_end|>"]
    prompts = [np.asarray(t.ids)[: int(np.argmax(t.weights))].tolist() for t in store[0].values()]
    assert prompts[0] == prompts[1]


def test_feedback_learns_the_last_answer_and_keeps_the_verdict(road: Road) -> None:
    rows = [{"talk": [["a"], ["b"], ["c"], ["d"]], "good": good} for good in (True, False)]
    road.write("kto", rows, columns={"kto_tag": "good"})
    store = road.train("kto", kind="feedback")
    assert road.learned(store) == "d<|im_end|>"
    assert [store.facts(i) for i in range(2)] == [{"desirable": True}, {"desirable": False}]


def test_prompts_end_where_generation_starts_and_keep_the_other_columns(road: Road) -> None:
    road.write("ask", [{"talk": [["hello"]], "answer": 4, "level": "é"}])
    store = road.train("ask", kind="prompt")
    assert road.text(store[0]["prompt"].ids) == "<|im_start|>hello<|im_end|><s>"
    assert prompt_of_facts(store.facts(0)).extras == {"answer": 4, "level": "é"}


#: The tokenizer's own template: an answer shows how long it thought while it is the last.
LAST_ONLY = """{% for message in messages %}{% if message.role == 'assistant' %}{{ '<s>' }}
{%- if loop.last %}{{ 'hm ' }}{% endif %}{{ message.content + '<|im_end|>' }}
{%- else %}{{ '<|im_start|>' + message.content + '<|im_end|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<s>' }}{% endif %}"""


def learned_rows(road: Road, store: TokenStore) -> list[tuple[str, str]]:
    return [(road.text(store[i]["tokens"].ids), road.learned(store, i)) for i in range(len(store))]


def test_answers_that_a_template_writes_anew_get_an_example_each(road: Road) -> None:
    (road.folder / "model" / "chat_template.jinja").write_text(LAST_ONLY)
    road.write("one", [{"talk": [["a"], ["b"], ["c"], ["d"], ["e"], ["f", 0.5]]}, {"talk": [["a"], ["b"]]}])
    prepared = road.prepare("one", template="auto")
    store = TokenStore.open(prepared.train)
    first, history = "<|im_start|>a<|im_end|><s>", "<|im_start|>a<|im_end|><s>b<|im_end|><|im_start|>c<|im_end|><s>"
    assert learned_rows(road, store) == [
        (f"{first}hm b<|im_end|>", "hm b<|im_end|>"),
        (f"{history}hm d<|im_end|>", "hm d<|im_end|>"),
        (f"{history}d<|im_end|><|im_start|>e<|im_end|><s>hm f<|im_end|>", "hm f<|im_end|>"),
        (f"{first}hm b<|im_end|>", "hm b<|im_end|>"),
    ]
    assert max(store[2]["tokens"].weights) == 0.5
    source = prepared.report.sources[0]
    assert (source.rows_in, source.kept, source.split_conversations) == (2, 4, 1)
    spoken = (("user", "a"), ("assistant", "b"), ("user", "c"))
    asked = Conversation(tuple(Turn(role, (Text(word),)) for role, word in spoken))
    encoder, renderer = make_tools(road.plan("one", template="auto"), road.plugins)
    assert renderer is not None
    prompt = encoder.ids(renderer.render(asked, generation_prompt=True))
    assert tuple(store[1]["tokens"].ids[: len(prompt)].tolist()) == prompt


def test_answers_with_dropped_reasoning_get_an_example_each(road: Road) -> None:
    thinking = 'thinking = { open = "<s>", close = "</s>" }\n'
    (road.folder / "small.toml").write_text(TEMPLATE.replace('"{content}<', '"{thinking}{content}<') + thinking)
    road.write("one", [{"talk": [["a"], ["<s>hm</s>b"], ["c"], ["<s>so</s>d"]]}])
    store = road.train("one")
    assert [road.learned(store, at) for at in range(len(store))] == ["<s>hm</s>b<|im_end|>", "<s>so</s>d<|im_end|>"]
    assert "hm" not in road.text(store[1]["tokens"].ids)
    whole = road.train("one", preserve_thinking=True)
    assert [road.learned(whole, at) for at in range(len(whole))] == ["<s>hm</s>b<|im_end|><s>so</s>d<|im_end|>"]
    assert [road.learned(road.train("one", mask_history=True))] == ["<s>so</s>d<|im_end|>"]
    never = TEMPLATE + thinking.replace('</s>" }', '</s>", history = "never" }')
    (road.folder / "small.toml").write_text(never)
    with pytest.raises(TunesmithError, match=r"Turn 4 \(assistant\): the template 'small' leaves out its reasoning"):
        road.train("one")


def test_an_answer_that_is_only_seen_may_be_written_anew(road: Road) -> None:
    (road.folder / "model" / "chat_template.jinja").write_text(LAST_ONLY)
    talk = [["a"], ["b"], ["c"], ["d"]]
    road.write("plain", [{"talk": talk}])
    road.write("quiet", [{"talk": [["a"], ["b", 0], ["c"], ["d"]]}])
    for name, options in (("plain", {"mask_history": True}), ("quiet", {})):
        prepared = road.prepare(name, template="auto", **options)
        assert [learned for _, learned in learned_rows(road, TokenStore.open(prepared.train))] == ["hm d<|im_end|>"]
        assert prepared.report.sources[0].split_conversations == 0
    road.write("pref", [{"talk": talk[:3], "chosen": "good", "rejected": "lazy"}], ranking=True)
    store = road.train("pref", kind="preference", template="auto")
    assert [road.learned(store, 0, name) for name in store.sequences] == ["hm good<|im_end|>", "hm lazy<|im_end|>"]


def test_an_example_of_one_answer_gives_up_its_oldest_exchange_first(road: Road) -> None:
    (road.folder / "model" / "chat_template.jinja").write_text(LAST_ONLY)
    road.write("one", [{"talk": [["a"], ["b"], ["c"], ["d"]]}])
    whole = road.train("one", template="auto").lengths().max()
    prepared = road.prepare("one", template="auto", cutoff_len=int(whole) - 1)
    rows = learned_rows(road, TokenStore.open(prepared.train))
    assert rows[1] == ("<|im_start|>c<|im_end|><s>hm d<|im_end|>", "hm d<|im_end|>")
    assert prepared.report.sources[0].truncated == 1


def test_a_system_text_that_a_template_leaves_out_is_told(road: Road) -> None:
    (road.folder / "small.toml").write_text(TEMPLATE + 'leaves_out = ["system"]\n')
    encoder, renderer = make_tools(road.plan("pairs"), road.plugins)
    turns = Turn("system", (Text("Be kind"),)), Turn("user", (Text("hello"),)), Turn("assistant", (Text("a"),))
    for talk, unsaid in ((turns, True), (turns[1:], False)):
        (made,) = drafted(Conversation(talk), renderer, encoder, Learning())
        assert made.drafts[0].unsaid is unsaid


def test_an_answer_whose_template_writes_no_end_learns_to_stop(road: Road) -> None:
    bare = TEMPLATE.replace('reply = "{content}<|im_end|>"', 'reply = "{content}"')
    assert bare != TEMPLATE
    (road.folder / "small.toml").write_text(bare)
    road.write("one", [{"talk": [["a"], ["b"], ["c"], ["d"]]}, {"talk": [["a"], ["b"], ["c"], ["d", 0]]}])
    prepared = road.prepare("one")
    store = TokenStore.open(prepared.train)
    assert [road.learned(store, at) for at in range(2)] == ["bd<|im_end|>", "b"]
    assert prepared.report.sources[0].stops_added == 1
    road.write("pref", [{"talk": [["a"]], "chosen": "good", "rejected": "lazy"}], ranking=True)
    store = road.train("pref", kind="preference")
    assert [road.learned(store, 0, name) for name in store.sequences] == ["good<|im_end|>", "lazy<|im_end|>"]


def test_documents_are_learned_whole_and_split_rather_than_cut(road: Road) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 6
    road.write("texts", [{"text": text}, {"text": "hello <s>"}])
    prepared = road.prepare("texts", kind="document", cutoff_len=16)
    assert prepared.train
    store = TokenStore.open(prepared.train)
    ids = [int(id_) for i in range(len(store)) for id_ in store[i]["tokens"].ids]
    assert road.text(ids) == f"{text}<|im_end|>hello <s><|im_end|>"
    assert store.lengths().max() == 16
    assert all(store[i]["tokens"].weights.all() for i in range(len(store)))
    source = prepared.report.sources[0]
    assert (source.split_documents, source.tokens_lost, source.rows_in, source.kept) == (1, 0, 2, len(store))


def test_placeholders_of_an_entry_are_filled(road: Road) -> None:
    road.write(
        "me",
        [{"talk": [["Who are you, {{name}}?"], ["I am {{name}} by {{author}}, not {{other}}."]]}],
        placeholders={"name": "Al", "author": "Bo"},
    )
    assert (
        road.text(road.train("me")[0]["tokens"].ids)
        .replace("<|im_end|>", "|")
        .endswith("Who are you, Al?|<s>I am Al by Bo, not {{other}}.|\n")
    )


def test_two_workers_give_what_one_gives(road: Road) -> None:
    road.write("many", PAIRS * 3 + [{"talk": [["x"]]}])
    one, two = (
        road.prepare(
            "many",
            preprocessing_num_workers=count,
            preprocessing_batch_size=7,
            max_bad_rows=1,
            data_cache_dir=str(road.folder / f"c{count}"),
        )
        for count in (1, 2)
    )
    assert one.train
    assert two.train
    assert everything(TokenStore.open(one.train)) == everything(TokenStore.open(two.train))
    assert one.report == two.report


def test_an_error_in_a_worker_is_the_users_error_here(road: Road) -> None:
    road.write("long", [TALK, TALK, LONG])
    with pytest.raises(TunesmithError, match=r"long\.jsonl:3 has \d+ tokens") as caught:
        road.prepare("long", cutoff_len=20, overflow="error", preprocessing_num_workers=2, preprocessing_batch_size=2)
    assert caught.value.hint.startswith("Raise cutoff_len")


def test_a_worker_that_dies_is_said_to_have_died(road: Road) -> None:
    (road.folder / "tunesmith_local.py").write_text(PLUGIN + DEADLY)
    with pytest.raises(TunesmithError, match="A process that prepared data died"):
        road.prepare("pairs", preprocessing_num_workers=2, preprocessing_batch_size=5)


def test_preparing_imports_nothing_heavy(road: Road) -> None:
    plan = road.folder / "plan.json"
    road.plan("pairs").write(plan)
    code = (
        "import sys; from pathlib import Path; from tunesmith.plan import Plan; from tunesmith.plugins import Plugins\n"
        "from tunesmith.data.flow import prepare\n"
        "plan = Plan.read(Path(sys.argv[1])); prepare(plan, Plugins(only=plan.only, local=Path(plan.local)))\n"
        "heavy = {'torch', 'transformers', 'datasets', 'peft', 'pandas', 'pyarrow'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(plan)], check=True)


# ---- too long --------------------------------------------------------------------------------------------------------

LONG = {"talk": [["hello"], ["good morning"], ["What is two plus two?"], ["Two plus two is four."]]}


def lengths_of(road: Road, row: dict[str, Any]) -> tuple[int, int]:
    """Tokens of the whole row and of its first exchange, the stop token included."""
    road.write("whole", [row])
    road.write("first", [{"talk": row["talk"][:2]}])
    return int(road.train("whole").lengths()[0]), int(road.train("first").lengths()[0]) - 1


def test_whole_exchanges_go_first_and_are_counted(road: Road) -> None:
    whole, first = lengths_of(road, LONG)
    for cutoff in (whole - 2, first):
        prepared = road.prepare("whole", cutoff_len=cutoff)
        source = prepared.report.sources[0]
        assert (source.truncated, source.answers_cut, source.tokens_lost) == (1, 0, whole - first)
        assert prepared.train
        assert (
            road.text(TokenStore.open(prepared.train)[0]["tokens"].ids)
            == "<|im_start|>hello<|im_end|><s>good morning<|im_end|>"
        )


def test_the_end_of_the_only_answer_goes_next_and_is_counted(road: Road) -> None:
    _, first = lengths_of(road, LONG)
    prepared = road.prepare("whole", cutoff_len=first - 1)
    source = prepared.report.sources[0]
    assert (source.truncated, source.answers_cut) == (1, 1)
    assert prepared.train
    assert road.learned(TokenStore.open(prepared.train)) == "good morning"


def test_the_oldest_exchanges_go_first_where_only_the_last_answer_is_learned(road: Road) -> None:
    whole, _ = lengths_of(road, LONG)
    prepared = road.prepare("whole", cutoff_len=whole - 1, mask_history=True)
    assert prepared.train
    store = TokenStore.open(prepared.train)
    assert road.text(store[0]["tokens"].ids).startswith("<|im_start|>What is two plus two?")
    assert road.learned(store) == "Two plus two is four.<|im_end|>"
    assert prepared.report.sources[0].tokens_lost == whole - int(store.lengths()[0])


def test_the_prompt_is_not_taken_for_an_answer_when_it_is_learned(road: Road) -> None:
    whole, _ = lengths_of(road, LONG)
    store = road.train("whole", cutoff_len=whole - 2, train_on_prompt=True)
    assert road.text(store[0]["tokens"].ids) == "<|im_start|>hello<|im_end|><s>good morning<|im_end|>"


def test_dropping_instead(road: Road) -> None:
    road.write("two", [LONG, TALK])
    prepared = road.prepare("two", cutoff_len=20, overflow="drop")
    source = prepared.report.sources[0]
    assert (source.kept, dict(source.dropped)) == (1, {"longer than cutoff_len": 1})
    assert source.tokens_lost == source.length["longest"]


def test_an_error_instead_names_the_row(road: Road) -> None:
    road.write("two", [TALK, LONG])
    with pytest.raises(TunesmithError, match=r"two\.jsonl:2 has \d+ tokens; cutoff_len is 20"):
        road.prepare("two", cutoff_len=20, overflow="error")
    assert not list((road.folder / "cache" / "rows").glob("[!.]*"))


def test_a_row_whose_prompt_does_not_fit_is_dropped_and_counted(road: Road) -> None:
    road.write("two", [TALK, {"talk": [["hello " * 40], ["good"]]}])
    source = road.prepare("two", cutoff_len=20).report.sources[0]
    assert (source.kept, dict(source.dropped)) == (1, {"prompt alone longer than cutoff_len": 1})


def test_a_cutoff_below_the_shortest_prompt_is_refused(road: Road) -> None:
    with pytest.raises(TunesmithError, match=r"cutoff_len: 4 is below the shortest prompt of pairs, \d+ tokens"):
        road.prepare("pairs", cutoff_len=4)


# ---- what is wrong with rows -----------------------------------------------------------------------------------------


def test_a_bad_row_ends_the_run_with_its_place(road: Road) -> None:
    road.write("bad", [TALK, {"talk": [["x"]]}, {"talk": 7}])
    with pytest.raises(
        TunesmithError, match=r"bad: bad row: .*bad\.jsonl:2: talk\[0\]: there is no answer \(and 1 more bad rows\)"
    ) as caught:
        road.prepare("bad")
    assert "max_bad_rows: 2" in caught.value.hint


def test_allowed_bad_rows_are_left_out_and_listed(road: Road) -> None:
    road.write("bad", [TALK, {"talk": [["x"]]}, {"talk": 7}])
    source = road.prepare("bad", max_bad_rows=2).report.sources[0]
    assert (source.rows_in, source.kept, source.bad_row_count, dict(source.dropped)) == (3, 1, 2, {"bad row (talk)": 2})
    assert [(Path(row.place).name, row.column) for row in source.bad_rows] == [
        ("bad.jsonl:2", "talk[0]"),
        ("bad.jsonl:3", "talk"),
    ]
    with pytest.raises(TunesmithError, match="bad row"):
        road.prepare("bad", max_bad_rows=1)


def test_a_lenient_look_reports_bad_rows_and_does_not_make_them_pass_later(road: Road) -> None:
    road.write("bad", [TALK, {"talk": [["x"]]}])
    assert road.prepare("bad", lenient=True).report.bad_rows == 1
    with pytest.raises(TunesmithError, match="bad row"):
        road.prepare("bad")


def test_hopeless_data_is_not_read_to_its_end(road: Road) -> None:
    road.write("bad", [{"talk": [["x"]]}] * 500)
    seen: list[int] = []
    with pytest.raises(TunesmithError, match="more bad rows"):
        prepare(road.plan("bad", preprocessing_batch_size=50), road.plugins, progress=lambda name, count: seen.append(count))
    assert max(seen) == 150
    assert not list((road.folder / "cache" / "rows").glob("[!.]*"))


def test_a_column_that_no_row_has_is_named_once(road: Road) -> None:
    road.write("typo", [{"tlak": [["a"], ["b"]]}] * 3)
    with pytest.raises(TunesmithError, match=r"typo: no row of .*typo\.jsonl has the column 'talk' \(talk\)") as caught:
        road.prepare("typo")
    assert caught.value.hint.startswith("Did you mean 'tlak'? Columns are named in dataset_info.json")
    road.write("extra", [TALK | {"notes": "x"}], columns={"note": "nots"})
    with pytest.raises(TunesmithError, match=r"has the column 'nots' \(note\)"):
        road.prepare("extra")


def test_a_malformed_line_ends_the_run(road: Road) -> None:
    (road.folder / "pairs.jsonl").write_text(json.dumps(TALK) + "\n{oops\n")
    with pytest.raises(TunesmithError, match=r"pairs\.jsonl:2: this line is no valid JSON"):
        road.prepare("pairs")


def test_nothing_to_learn_is_dropped_and_counted(road: Road) -> None:
    road.write("mute", [{"talk": [["a"], ["b", 0]]}, TALK, TALK])
    source = road.prepare("mute").report.sources[0]
    assert (source.nothing_to_learn, source.kept, source.duplicates) == (1, 2, 1)
    assert dict(source.dropped) == {"nothing to learn": 1}


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("conversation", {"talk": [["a"], ["b", 0]]}),
        ("feedback", {"talk": [["a"], ["b", 0]], "good": True}),
    ],
)
def test_a_row_that_is_masked_altogether_is_reported_whatever_it_is(kind: str, row: dict[str, Any], road: Road) -> None:
    road.write("mixed", [row, {**TALK, "good": True}], **({"columns": {"kto_tag": "good"}} if kind == "feedback" else {}))
    prepared = road.prepare("mixed", kind=kind)
    source = prepared.report.sources[0]
    assert (source.nothing_to_learn, source.kept, dict(source.dropped)) == (1, 1, {"nothing to learn": 1})
    assert prepared.train
    store = TokenStore.open(prepared.train)
    assert all(np.asarray(store[at]["tokens"].weights).any() for at in range(len(store)))


def test_a_pair_whose_answers_become_the_same_once_they_are_cut_is_reported(road: Road) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 4
    rows = [
        {"talk": [["hello"]], "chosen": f"{long} good", "rejected": f"{long} lazy"},
        {"talk": [["hello"]], "chosen": "good", "rejected": "lazy"},
        {"talk": [["hello"]], "chosen": "good", "rejected": "good"},
    ]
    road.write("pref", rows, ranking=True)
    source = road.prepare("pref", kind="preference", cutoff_len=24).report.sources[0]
    assert dict(source.dropped) == {
        "both answers are the same once they are cut to cutoff_len": 1,
        "both answers are the same": 1,
    }
    assert (source.rows_in, source.kept) == (3, 1)
    whole = road.prepare("pref", kind="preference", cutoff_len=200).report.sources[0]
    assert dict(whole.dropped) == {"both answers are the same": 1}


def test_datasets_of_which_nothing_is_left(road: Road) -> None:
    road.write("mute", [{"talk": [["a"], ["b", 0]]}])
    road.write("empty", [])
    for name, message in (
        ("mute", "Nothing of mute is left to learn from: of 1 rows, 1 nothing to learn"),
        ("empty", "empty has no rows"),
    ):
        with pytest.raises(TunesmithError, match=message):
            road.prepare(name)


# ---- choosing, mixing, setting aside, packing ------------------------------------------------------------------------


def ids_of(store: TokenStore) -> list[bytes]:
    return [np.asarray(store[i]["tokens"].ids).tobytes() for i in range(len(store))]


def test_max_samples_takes_the_first_rows_and_says_so(road: Road) -> None:
    prepared = road.prepare("pairs", max_samples=3)
    assert prepared.train
    assert ids_of(TokenStore.open(prepared.train)) == ids_of(road.train("pairs"))[:3]
    assert prepared.report.sources[0].notes == ("max_samples: the first 3 rows, not a random choice",)


def test_num_samples_draws_at_random_by_the_seed(road: Road) -> None:
    road.write("drawn", PAIRS, num_samples=25)
    prepared = road.prepare("drawn")
    assert "25 of 20 examples drawn at random (seed 5), 5 of them again" in prepared.report.sources[0].notes[0]
    drawn = ids_of(road.train("drawn"))
    assert (len(drawn), len(set(drawn))) == (25, 20)
    assert drawn != ids_of(road.train("drawn", seed=6))


def test_a_dataset_named_twice_counts_twice(road: Road) -> None:
    once = ids_of(road.train("pairs"))
    assert ids_of(road.train("pairs", "pairs")) == once * 2
    assert len(list((road.folder / "cache" / "rows").glob("[!.]*"))) == 1


def test_datasets_are_mixed_as_asked(road: Road) -> None:
    road.write("other", [{"talk": [["fox"], [f"dog {i}"]]} for i in range(10)])
    mixed = ids_of(road.train("pairs", "other", mix_strategy="interleave_under", interleave_probs=(0.5, 0.5)))
    assert mixed[: len(set(mixed))] == mixed
    assert len(road.train("pairs", "other", mix_strategy="interleave_over")) == 40
    with pytest.raises(TunesmithError, match=r"add up to 0\.9"):
        road.prepare("pairs", "other", mix_strategy="interleave_under", interleave_probs=(0.5, 0.4))


@pytest.mark.parametrize(("size", "count"), [(0.25, 5), (3, 3)])
def test_rows_are_set_aside_for_evaluation(road: Road, size: float, count: int) -> None:
    prepared = road.prepare("pairs", val_size=size)
    assert prepared.train
    train, aside = (ids_of(TokenStore.open(path)) for path in (prepared.train, prepared.evals["eval"]))
    assert (len(train), len(aside)) == (20 - count, count)
    assert sorted(train + aside) == sorted(ids_of(road.train("pairs")))


def test_a_row_that_is_drawn_again_is_never_on_both_sides(road: Road) -> None:
    road.write("few", [{"talk": [["fox"], [f"dog {i}"]]} for i in range(6)])
    prepared = road.prepare("pairs", "few", "few", val_size=8, mix_strategy="interleave_over")
    assert prepared.train
    train, aside = (ids_of(TokenStore.open(path)) for path in (prepared.train, prepared.evals["eval"]))
    assert len(aside) == len(set(aside)) == 8
    assert not set(train) & set(aside)


def test_evaluation_datasets_together_or_each(road: Road) -> None:
    road.write("one", [TALK])
    road.write("two", [LONG])
    together = road.prepare("pairs", evals=("one", "two"))
    assert {name: len(TokenStore.open(path)) for name, path in together.evals.items()} == {"eval": 2}
    each = road.prepare("pairs", evals=("one", "two"), eval_on_each_dataset=True)
    assert {name: len(TokenStore.open(path)) for name, path in each.evals.items()} == {"one": 1, "two": 1}
    assert road.prepare(evals=("one",)).train is None


def test_packs_know_where_their_rows_begin(road: Road) -> None:
    prepared = road.prepare("pairs", packing=True, cutoff_len=64)
    plain = road.train("pairs", cutoff_len=64)
    assert prepared.train
    store = TokenStore.open(prepared.train)
    assert store.packed
    assert len(store) < len(plain)
    rows = []
    for index in range(len(store)):
        ids, sizes = np.asarray(store[index]["tokens"].ids), store.boundaries(index)
        assert len(ids) == sum(sizes) == store.lengths()[index] <= 64
        rows += [part.tobytes() for part in np.split(ids, np.cumsum(sizes)[:-1])]
    assert sorted(rows) == sorted(ids_of(plain))
    view = prepared.report.views[0]
    assert (view.examples, view.rows, view.fill) == (len(store), 20, pytest.approx(view.tokens / (64 * len(store))))


def test_neat_packing_packs_and_preferences_cannot_be_packed(road: Road) -> None:
    assert road.train("pairs", neat_packing=True).packed
    road.write("pref", [{"talk": [["a"]], "chosen": "good", "rejected": "lazy"}], ranking=True)
    with pytest.raises(TunesmithError, match="pref holds preference examples, which cannot be packed"):
        road.prepare("pref", kind="preference", packing=True)
    with pytest.raises(TunesmithError, match="train_on_prompt has no meaning"):
        road.prepare("pref", kind="preference", train_on_prompt=True)


# ---- cache -----------------------------------------------------------------------------------------------------------


def change_data(road: Road) -> dict[str, Any]:
    road.write("pairs", [*PAIRS, TALK])
    return {}


def change_entry(road: Road) -> dict[str, Any]:
    road.write("pairs", PAIRS, placeholders={"x": "y"})
    return {}


def change_template(road: Road) -> dict[str, Any]:
    (road.folder / "small.toml").write_text(TEMPLATE.replace("<s>", "</s>"))
    return {}


def change_tokenizer(road: Road) -> dict[str, Any]:
    write_tokenizer(road.folder / "model", eos="</s>")
    return {}


def change_format(road: Road) -> dict[str, Any]:
    (road.folder / "tunesmith_local.py").write_text(PLUGIN + "\n# changed\n")
    return {}


CHANGES: dict[str, Callable[[Road], dict[str, Any]]] = {
    "data": change_data,
    "entry": change_entry,
    "template": change_template,
    "tokenizer": change_tokenizer,
    "format": change_format,
    "cutoff_len": lambda road: {"cutoff_len": 40},
    "mask_history": lambda road: {"mask_history": True},
    "max_samples": lambda road: {"max_samples": 3},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_prepared_is_found_again_until_something_changes(road: Road, change: str) -> None:
    assert not road.prepare("pairs").report.cached
    assert road.prepare("pairs").report.cached
    old = road.prepare("pairs").fingerprint
    changed = road.prepare("pairs", **CHANGES[change](road))
    assert not changed.report.cached
    assert changed.fingerprint != old


def test_other_views_reuse_the_rows(road: Road) -> None:
    road.prepare("pairs")
    assert not road.prepare("pairs", packing=True).report.cached
    assert not road.prepare("pairs", val_size=2).report.cached
    assert len(list((road.folder / "cache" / "rows").glob("[!.]*"))) == 1


def test_overwriting_prepares_again(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    before = road.prepare("pairs")
    assert not road.prepare("pairs", overwrite_cache=True).report.cached
    monkeypatch.setenv("LOCAL_RANK", "1")
    again = road.prepare("pairs", overwrite_cache=True)
    assert again.report.cached
    assert again.train == before.train


def test_two_at_once_prepare_once(road: Road) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: prepare(road.plan("pairs"), road.plugins), range(2)))
    assert sorted(prepared.report.cached for prepared in found) == [False, True]


def test_a_run_that_stops_halfway_leaves_nothing_behind(road: Road) -> None:
    class Stopped(BaseException):
        pass

    def stop(name: str, rows: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        prepare(road.plan("pairs"), road.plugins, progress=stop)
    assert not [file for file in (road.folder / "cache").rglob("*") if file.is_file() and not file.name.startswith(".lock-")]
    assert len(road.train("pairs")) == 20


def test_a_named_folder_verifies_what_it_was_made_of(road: Road) -> None:
    named = {"tokenized_path": str(road.folder / "mine")}
    first = road.prepare("pairs", **named)
    assert first.train == road.folder / "mine" / "run" / "train"
    assert road.prepare("pairs", **named).report.cached
    with pytest.raises(TunesmithError, match=r"was prepared from something else: .*cutoff_len: 2048 → 40"):
        road.prepare("pairs", **named, cutoff_len=40)
    with pytest.raises(TunesmithError, match=r"something else: .*seed: 5 → 6"):
        road.prepare("pairs", **named, seed=6)
    change_template(road)
    with pytest.raises(TunesmithError, match=r"something else: datasets\[0\]\.rows\.template"):
        road.prepare("pairs", **named)
    assert not road.prepare("pairs", **named, overwrite_cache=True).report.cached


def test_a_named_folder_can_be_moved(road: Road) -> None:
    road.prepare("pairs", tokenized_path=str(road.folder / "mine"))
    (road.folder / "mine").rename(road.folder / "yours")
    assert len(TokenStore.open(road.folder / "yours" / "run" / "train")) == 20


def test_a_named_folder_with_other_things_in_it_is_refused(road: Road) -> None:
    (road.folder / "mine").mkdir()
    (road.folder / "mine" / "state.json").write_text("{}")
    with pytest.raises(TunesmithError, match="holds files that are no prepared data"):
        road.prepare("pairs", tokenized_path=str(road.folder / "mine"))


def written_by_another_version(folder: Path) -> None:
    """Every manifest below ``folder`` with a report that counts something unknown here."""
    for file in folder.rglob("manifest.json"):
        manifest = json.loads(file.read_text())
        if "report" in manifest:
            manifest["report"] = json.dumps({**json.loads(manifest["report"]), "counted_otherwise": 1})
            file.write_text(json.dumps(manifest))


def test_a_cache_of_another_version_is_prepared_anew(road: Road) -> None:
    before = everything(road.train("pairs"))
    written_by_another_version(road.folder / "cache")
    prepared = road.prepare("pairs")
    assert not prepared.report.cached
    assert everything(road.train("pairs")) == before


def test_a_named_folder_of_another_version_is_told(road: Road) -> None:
    named = {"tokenized_path": str(road.folder / "mine")}
    road.prepare("pairs", **named)
    written_by_another_version(road.folder / "mine")
    with pytest.raises(TunesmithError, match="was prepared by another version"):
        road.prepare("pairs", **named)
    assert not road.prepare("pairs", **named, overwrite_cache=True).report.cached


# ---- stores and reports ----------------------------------------------------------------------------------------------


def test_a_store_goes_to_another_process_as_its_path(road: Road) -> None:
    store = road.train("pairs")
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert everything(pickle.loads(sent)) == everything(store)  # noqa: S301


def test_a_damaged_store_is_named(road: Road) -> None:
    path = road.prepare("pairs").train
    assert path
    rows = next((road.folder / "cache" / "rows").glob("[!.]*"))
    verify(rows)
    ids = rows / "tokens.ids.npy"
    whole = ids.read_bytes()
    ids.write_bytes(whole[:-4] + b"\0\0\0\0")
    with pytest.raises(TunesmithError, match=r"tokens\.ids\.npy was changed after it was written"):
        verify(rows)
    ids.write_bytes(whole[:-4])
    with pytest.raises(TunesmithError, match=r"tokens\.ids\.npy is not there in full length"):
        TokenStore.open(path)
    ids.write_bytes(whole)
    with pytest.raises(TunesmithError, match="holds rows, not a view"):
        TokenStore.open(rows)
    with pytest.raises(TunesmithError, match="holds no prepared data"):
        TokenStore.open(road.folder)


def test_the_report_counts_and_survives_json(road: Road) -> None:
    report = road.prepare("pairs").report
    source = report.sources[0]
    sizes = np.sort(road.train("pairs").lengths())
    assert source.length == {
        "shortest": sizes[0], "p50": sizes[9], "p90": sizes[17], "p95": sizes[18], "p99": sizes[19], "longest": sizes[19],
    }  # fmt: skip
    assert (source.tokens, source.would_cut["512"]) == (sizes.sum(), 0.0)
    assert Report.from_json(report.to_json()) == report
    shown = table(report)
    assert "pairs (train)" in shown
    assert f"train: 20 examples, {source.tokens:,} tokens" in shown


def test_of_machines_that_share_a_folder_the_first_prepares_and_the_others_wait(road: Road) -> None:
    plan = road.plan("pairs", data_shared_file_system=True)
    numbered = {number: replace(plan, settings={**plan.settings, **number_of(number)}) for number in (0, 1)}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(prepare, numbered[1], road.plugins)
        with pytest.raises(FuturesTimeout):
            waiting.result(0.5)
        first = prepare(numbered[0], road.plugins)
        second = waiting.result(30)
    assert second.train == first.train
    assert (first.report.cached, second.report.cached) == (False, True)


def test_a_folder_that_machines_do_not_share_is_named_when_waiting_ends(road: Road) -> None:
    plan = road.plan("pairs", data_shared_file_system=True)
    alone = replace(plan, settings={**plan.settings, **number_of(1, ddp_timeout=0)})
    with pytest.raises(TunesmithError, match=r"the first machine has not prepared .*cache.* within 0 seconds") as told:
        prepare(alone, road.plugins)
    assert "data_cache_dir" in str(told.value.hint)


def number_of(machine: int, **more: int) -> dict[str, Setting]:
    return {key: Setting(value, "by hand", "hand", given=True) for key, value in {"node_rank": machine, **more}.items()}
