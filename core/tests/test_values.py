"""Typed values: our own JSON there and back, and what users mean by what they write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import pytest
from tunesmith.config import Setting
from tunesmith.errors import Problem
from tunesmith.kinds import choices, describe, read_kind, write_kind
from tunesmith.options import Range
from tunesmith.plan import Chosen, DatasetPlan, Estimate, ModelWish, Plan
from tunesmith.registry import Owner
from tunesmith.values import BadValueError, Word, convert, from_plain

Strategy = Literal["no", "steps", "epoch"]


@dataclass(frozen=True)
class Leaf:
    size: Annotated[int, "Help.", Range(least=1)]
    names: tuple[str, ...] = ()
    share: float | None = None


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    by_name: Mapping[str, Leaf] = field(default_factory=dict)
    pair: tuple[int, str] = (0, "")
    kind: Literal["a", "b"] | None = None
    rest: Any = None


# -- our own JSON --------------------------------------------------------------------------------------------------------


def test_nested_dataclasses_come_back_from_json() -> None:
    plain = {"leaves": [{"size": 1, "names": ["x"]}], "by_name": {"n": {"size": 2, "share": 1}}, "pair": [3, "c"], "kind": "b"}
    assert from_plain(Tree, plain) == Tree((Leaf(1, ("x",)),), {"n": Leaf(2, (), 1.0)}, (3, "c"), "b")


def test_what_has_no_type_stays_as_json_has_it() -> None:
    assert from_plain(Tree, {"leaves": [], "rest": [1, [2]]}).rest == [1, [2]]


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"leaves": [{"size": "1"}]}, "'1' is not a whole number"),
        ({"leaves": [{"size": True}]}, "True is not a whole number"),
        ({"leaves": [{}]}, "size"),
        ({"leaves": [], "twigs": 1}, "Tree has no twigs"),
        ({"leaves": [], "kind": "c"}, "'c' is not one of a, b or null"),
        ([], "is no Tree"),
    ],
)
def test_other_data_is_refused(plain: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_plain(Tree, plain)


def a_plan() -> Plan:
    return Plan(
        "train",
        {"learning_rate": Setting(1e-4, "run.yaml:3", "transformers", True), "dataset": Setting(["a"], "default", "host")},
        chosen=(Chosen("tuners", "thin", Owner("thin", "acme-thin", "1.0"), "run.yaml:1"),),
        models={"policy": ModelWish("policy", "models/a", ("x", "y"), 4)},
        datasets=(
            DatasetPlan("a", "train", "file_name", "rows", "conversation", {"columns": {"q": "a"}}, "data", ("a.json",), 7),
        ),
        unused={"x": Setting({"y": [1, None]}, "command line", "thin", True)},
        missing=(Problem("run.yaml:1", "no such device"),),
        estimate=Estimate(10, 2, {"weights": 3}, 0.2, "a guess"),
        only=("thin",),
    )


def test_a_plan_comes_back_from_its_json_as_it_was() -> None:
    plan = a_plan()
    assert Plan.from_json(plan.to_json()) == plan


def test_options_get_their_tuples_back_from_a_plan_that_was_json() -> None:
    plan = replace(
        a_plan(), settings={"size": Setting(3, "", ""), "names": Setting(("p", "q"), "", ""), "share": Setting(2.0, "", "")}
    )
    again = Plan.from_json(plan.to_json())
    assert again["names"] == ["p", "q"]
    assert again.options(Leaf) == plan.options(Leaf) == Leaf(3, ("p", "q"), 2.0)


# -- what users write ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        *((bool, Word(word), True) for word in ("true", "True", "yes", "on", "1", "y")),
        *((bool, Word(word), False) for word in ("false", "NO", "off", "0")),
        (bool, "true", True),
        (int, Word("1e3"), 1000),
        (int, Word("180000000"), 180000000),
        (int, 2.0, 2),
        (int, "8", 8),
        (float, Word("1e-4"), 0.0001),
        (float, Word("1.0e-4"), 0.0001),
        (float, Word("5"), 5.0),
        (float, 3, 3.0),
        (str, Word("no"), "no"),
        (str, Word("1e-4"), "1e-4"),
        (str, Word("4.10"), "4.10"),
        (str, 5, "5"),
        (Strategy, Word("no"), "no"),
        (Strategy, False, "no"),
        (Strategy, Word("Steps"), "steps"),
        (Literal[4, 8], Word("8"), 8),
        (Literal["none", "all"] | None, Word("none"), "none"),
        (tuple[str, ...], Word("q_proj, v_proj"), ("q_proj", "v_proj")),
        (tuple[str, ...], [Word("a,b"), Word("no")], ("a,b", "no")),
        (tuple[str, ...], Word('["a", "b"]'), ("a", "b")),
        (tuple[str, ...], Word("[a, b]"), ("a", "b")),
        (tuple[str, ...], Word(""), ()),
        (tuple[str, ...], Word("none"), ("none",)),
        (tuple[float, ...], Word("0.7,0.3"), (0.7, 0.3)),
        (tuple[int, ...], 4, (4,)),
        (dict[str, Any], Word('{"stage": 3, "on": "off"}'), {"stage": 3, "on": "off"}),
        (dict[str, Any], Word("{stage: 3, on: off, rate: 1e-4}"), {"stage": 3, "on": "off", "rate": 0.0001}),
        (dict[str, bool], {"rope": Word("no")}, {"rope": False}),
        (dict[str, Any] | str | None, Word("ds.json"), "ds.json"),
        *((int | None, Word(word), None) for word in ("null", "None", "~", "")),
        (str | None, "none", "none"),
        (bool | str | None, Word("true"), True),
        (bool | str | None, Word("runs/checkpoint-5"), "runs/checkpoint-5"),
        (bool | str | None, Word("1"), "1"),
        (int | float | str, Word("1.5"), 1.5),
    ],
)
def test_a_value_is_what_the_user_means(kind: Any, raw: Any, value: Any) -> None:
    converted = convert(kind, raw)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw", "expected", "instead"),
    [
        (int, Word("1.5"), "a whole number", "Write 1 or 2."),
        (int, True, "a whole number", ""),
        (int, Word("eight"), "a whole number", ""),
        (int, Word("1e400"), "a whole number", ""),
        (int, None, "a whole number", ""),
        (float, Word("1,5"), "a number", "Decimals take a point: 0.1"),
        (float, Word(".nan"), "a number", ""),
        (float, float("nan"), "a number", ""),
        (bool, Word("maybe"), "true or false", "Write true or false."),
        (bool, 2, "true or false", "Write true or false."),
        (str, True, "text", "Put it in quotes if it is meant as text."),
        (str, [Word("a")], "text", ""),
        (Literal["cosine", "linear"], Word("cosin"), "one of cosine, linear", "Did you mean 'cosine'?"),
        (tuple[int, ...], Word("1,x"), "a whole number", ""),
        (tuple[str, ...], {"a": 1}, "a list of texts", "Write a list: [a, b]"),
        (dict[str, Any], Word("x"), "a mapping", 'Write a mapping: {"name": value}'),
        (dict[str, Any], Word("{a: [}"), "a value in JSON or YAML", ""),
        (int | None, Word("x"), "a whole number", ""),
        (bool | dict[str, Any], Word("x"), "true or false or a mapping", 'Write a mapping: {"name": value}'),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_to_write(kind: Any, raw: Any, expected: str, instead: str) -> None:
    with pytest.raises(BadValueError) as caught:
        convert(kind, raw)
    assert (caught.value.expected, caught.value.instead) == (expected, instead)


def test_bounds_are_kept_and_said() -> None:
    kind = Annotated[float, "Help.", Range(above=0, most=1)]
    assert convert(kind, Word("1")) == 1.0
    with pytest.raises(BadValueError, match="a number, at most 1 and above 0"):
        convert(kind, Word("0"))
    with pytest.raises(BadValueError, match="at least 0"):
        convert(tuple[float, ...], Word("0.5,-1"), Range(least=0))
    assert convert(int | None, Word("null"), Range(least=1)) is None


def test_an_option_of_an_impossible_type_is_the_plugins_mistake() -> None:
    with pytest.raises(TypeError, match="an option cannot have the type"):
        convert(set[str], Word("a"))


@pytest.mark.parametrize(
    "text",
    [
        "bool",
        "int | None",
        "Literal['a', 'b'] | bool",
        "tuple[float, ...]",
        "dict",
        "dict[str, bool] | str | None",
        "Literal[False] | str",
    ],
)
def test_a_type_comes_back_from_its_text(text: str) -> None:
    assert write_kind(read_kind(text)) == text


@pytest.mark.parametrize("text", ["list[str]", "__import__('os')", "int or str", "set"])
def test_text_that_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no kind of option"):
        read_kind(text)


def test_types_in_words() -> None:
    assert describe(int, Range(least=1)) == "a whole number, at least 1"
    assert describe(tuple[int, ...] | None) == "a list (each a whole number) or null"
    assert choices(tuple[Literal["a"], ...] | Literal["b"] | None) == ("a", "b")
