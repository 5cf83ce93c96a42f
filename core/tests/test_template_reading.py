"""Calls, thoughts and words read back from generated text: syntaxes with values inside values, and replies in channels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tunesmith.data.conversation import Call, Text, Thought
from tunesmith.errors import ConfigError
from tunesmith.templates import renderer_for
from tunesmith.templates.filters import FILTERS
from tunesmith.templates.literals import literal, literal_end
from tunesmith.templates.matching import match_call
from tunesmith.templates.sandbox import run
from tunesmith.templates.slots import parse_slot

PYTHON = parse_slot(
    "{call.name}({each key, value in call.arguments}{key}={value|python}{if not loop_last}, {end}{end})", ("call",)
)
RAW = parse_slot(
    "{call.name}({each key, value in call.arguments}{key}={part shown value}{if not loop_last}, {end}{end})", ("call",)
)
NESTED = parse_slot(
    "call:{call.name}{{each key, value in call.arguments}{key}:{part shown value}{if not loop_last},{end}{end}}", ("call",)
)
RAW_PARTS = {"shown": parse_slot("{if it is text}'{it}'{elif it is object}{it|json}{else}{it}{end}")}
NESTED_PARTS = {
    "shown": parse_slot(
        "{if it is text}<q>{it}<q>{elif it is object}{lbrace}{each key, inner in it}{key}:{part shown inner}"
        "{if not loop_last},{end}{end}}{elif it is list}[{each inner in it}{part shown inner}{if not loop_last},{end}{end}]"
        "{else}{it|json}{end}"
    )
}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("f()", {}),
        ("f(a='x', b=\"y\")", {"a": "x", "b": "y"}),
        ("f(a='x\ny', b=1)", {"a": "x\ny", "b": 1}),
        (r"f(a='it\'s\nso, b=1)', b=True, c=None)", {"a": "it's\nso, b=1)", "b": True, "c": None}),
        ('f(a=[1, {"b": null}], c=-2.5)', {"a": [1, {"b": None}], "c": -2.5}),
        ("f(a=[1, 'x', {'b': True}])", {"a": [1, "x", {"b": True}]}),
    ],
)
def test_calls_in_python_are_read_with_either_quote(text: str, arguments: dict[str, Any]) -> None:
    assert match_call(PYTHON, f"{text}]", 0) == (len(text), Call("f", arguments))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("f(a='it's', b='\"q\"')", {"a": "it's", "b": '"q"'}),
        ("f(a='one', two', b=3)", {"a": "one', two", "b": 3}),
        ("f(a='x\ny', b=False)", {"a": "x\ny", "b": False}),
    ],
)
def test_a_value_may_hold_what_ends_a_value(text: str, arguments: dict[str, Any]) -> None:
    assert match_call(RAW, text, 0, RAW_PARTS) == (len(text), Call("f", arguments))


def test_what_follows_a_call_decides_where_it_ends() -> None:
    text = "f(a='g('x')'), g()"
    assert match_call(RAW, text, 0, RAW_PARTS, (",", "]")) == (13, Call("f", {"a": "g('x')"}))
    assert match_call(RAW, "f(a='x') and so on", 0, RAW_PARTS, (",", "]")) == (8, Call("f", {"a": "x"}))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"a": "x", "b": 3},
        {"a": {"b": ["x", 1, None, {"c": []}], "d": {}}, "e": True},
        {"a": "{}[],:", "b": [[1], [2, 3]]},
        {"a": [*range(500)]},
    ],
)
def test_values_inside_values_come_back(arguments: dict[str, Any]) -> None:
    def shown(value: Any) -> str:
        if isinstance(value, str):
            return f"<q>{value}<q>"
        if isinstance(value, dict):
            return "{" + ",".join(f"{key}:{shown(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(shown, value)) + "]"
        return {True: "true", None: "null"}.get(value, str(value)) if value in (True, None) and value != 1 else str(value)

    text = "call:f" + shown(arguments).replace("True", "true")
    assert match_call(NESTED, text, 0, NESTED_PARTS) == (len(text), Call("f", arguments))


@pytest.mark.parametrize("text", ["call:f{a:<q>x", "call:f{a:[1,2", "call:f", "call:f{a:}"])
def test_what_is_no_complete_call_is_none(text: str) -> None:
    assert match_call(NESTED, text, 0, NESTED_PARTS) is None


def test_a_call_without_arguments_takes_none_from_the_next() -> None:
    assert match_call(PYTHON, "f(), g(a='x')", 0) == (3, Call("f", {}))
    assert match_call(NESTED, "call:f{}; call:g{a:<q>x<q>}", 0, NESTED_PARTS) == (8, Call("f", {}))


def test_text_that_fits_in_very_many_ways_and_not_at_all_is_given_up() -> None:
    began = time.perf_counter()
    assert match_call(RAW, "f(a='" + "', b='" * 60, 0, RAW_PARTS) is None
    assert time.perf_counter() - began < 5


def test_literals_end_where_they_end() -> None:
    texts = ("'a, b', c", '"a\\"b")', "12)", "[1, ']', 2], x", "{'a': (1)}", ")", "'open")
    assert [literal_end(text, 0) for text in texts] == [6, 6, 2, 11, 10, None, None]


def test_literals_are_read_and_never_run() -> None:
    assert [literal(text) for text in ("True", "true", "-1", "None", "1.5")] == [True, True, -1, None, 1.5]
    for text in ("x y", "f(1)", "__import__('os')", "[x]", "007"):
        assert literal(text) == text


@pytest.mark.parametrize("name", ["printed", "python"])
def test_filters_for_arguments_mean_the_same_in_jinja(name: str) -> None:
    one = FILTERS[name]
    for value in ("a", "it's\n\\so\r", "", True, None, 3, -2.5, [1, "x"], {"a": None}):
        assert run("{{ " + one.jinja.format("value") + " }}", [], "2024-01-01", value=value) == one.apply(value)


CHANNELS = """
[spoken]
user = "<u>{content}</u>"
prompt = "<begin>me"
reply = "{if thought}<in>think<say>{thought}<over><begin>me{end}{if calls}{calls}{else}<in>speak<say>{content}<over>{end}"
stop = ["<over>", "<do>"]
thinking = { open = "<in>think<say>", close = "<over>" }
channels = { mark = "<in>", body = "<say>", ends = ["<over>", "<do>"], recipient = "to=tools.", thoughts = ["think"] }
[spoken.tools]
declare = "{each tool in tools}{tool|json}{end}"
call = " to=tools.{call.name}<in>do<say>{call.arguments|json}<do>"
"""


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<in>speak<say>Cold.<over>", [Text("Cold.")]),
        ("<in>speak<say>Co", [Text("Co")]),
        ("<in>think<say>Hm.<over><begin>me<in>speak<say>Cold.", [Thought("Hm."), Text("Cold.")]),
        ("<in>think<say>Hm.", [Thought("Hm.")]),
        (
            '<in>think<say>Hm.<over><begin>me to=tools.f<in>do<say>{"a": "<in>"}<do>',
            [Thought("Hm."), Call("f", {"a": "<in>"})],
        ),
        ('<in>do to=tools.f <kind>json<say>{"a": 1}<do>', [Call("f", {"a": 1})]),
        ("<in>speak<say>Wait.<over><begin>me to=tools.f<in>do<say>{}<do>", [Text("Wait."), Call("f", {})]),
        (" to=tools.f<in>do<say>{broken", [Text("{broken")]),
        ("no message at all", [Text("no message at all")]),
    ],
)
def test_replies_in_channels_are_read(tmp_path: Path, text: str, parts: list[Any]) -> None:
    file = tmp_path / "t.toml"
    file.write_text(CHANNELS, encoding="utf-8")
    assert list(renderer_for(file).parse_reply(text).parts) == parts


def test_channels_without_all_their_marks_are_named(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(CHANNELS.replace('recipient = "to=tools.", ', ""), encoding="utf-8")
    with pytest.raises(ConfigError, match="channels lacks recipient"):
        renderer_for(file)
    file.write_text(CHANNELS.replace('thoughts = ["think"]', 'thoughts = "think"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="no list of texts"):
        renderer_for(file)
