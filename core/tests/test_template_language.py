"""The template language: slots, conditions, inheritance, what is refused, and what a mistake in a table is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tunesmith.data.conversation import Call, Conversation, Media, Result, Text, Thought, Turn
from tunesmith.data.openai_messages import conversation_from_openai
from tunesmith.errors import ConfigError, TunesmithError
from tunesmith.templates import renderer_for, templates_in
from tunesmith.templates.auto import without_marks
from tunesmith.templates.conditions import predicate, to_jinja
from tunesmith.templates.lines import answer
from tunesmith.templates.sandbox import run
from tunesmith.testing.template_suite import jinja_text

DATA = Path(__file__).parent / "templates_data"

PLAIN = """
[plain]
system = "<s>{system}</s>"
user = "<u>{content}</u>"
prompt = "<a>"
reply = "{content}</a>"
after = "\\n"
stop = ["</a>"]
"""

ASK, SAY = Turn("user", (Text("Hi"),)), Turn("assistant", (Text("Yo"),))


def made(tmp_path: Path, text: str, name: str = "", **options: Any) -> Any:
    file = tmp_path / "t.toml"
    file.write_text(text, encoding="utf-8")
    return renderer_for(f"{file}:{name}" if name else str(file), **options)


def text_of(tmp_path: Path, more: str, *turns: Turn, tools: tuple[Any, ...] = (), **options: Any) -> str:
    prompt = options.pop("prompt", False)
    return str(made(tmp_path, PLAIN + more, **options).render(Conversation(turns, tools), generation_prompt=prompt).text)


SHOWN = PLAIN.replace('"{content}</a>"', '"{thinking}{content}</a>"') + 'thinking = { open = "<t>", close = "</t>" }\n'
THOUGHT = Turn("assistant", (Thought("hm"), Text("Yo")))


# ---- slots -----------------------------------------------------------------------------------------------------------


def test_the_plainest_template(tmp_path: Path) -> None:
    rendered = made(tmp_path, PLAIN).render(Conversation((ASK, SAY)))
    assert [(piece.text, piece.control, piece.weight) for piece in rendered.pieces] == [
        ("<u>", True, 0.0), ("Hi", False, 0.0), ("</u><a>", True, 0.0),
        ("Yo", False, 1.0), ("</a>", True, 1.0), ("\n", True, 0.0),
    ]  # fmt: skip


def test_braces_that_begin_no_tag_are_just_braces(tmp_path: Path) -> None:
    more = '[child]\nextends = "plain"\nuser = \'{"a": {1}} {{content}} {Content} {x-y} {lbrace}content}\'\n'
    assert (
        made(tmp_path, PLAIN + more, "child").render(Conversation((ASK,))).text == '{"a": {1}} {Hi} {Content} {x-y} {content}'
    )


def test_content_may_hold_whatever_tags_look_like(tmp_path: Path) -> None:
    words = "{content} {if last}x{end} {{ 7 }} {% raw %} <a>"
    assert text_of(tmp_path, "", Turn("user", (Text(words),))) == f"<u>{words}</u>"


@pytest.mark.parametrize(
    ("condition", "scope", "holds"),
    [
        ("a and not b", {"a": 1, "b": ""}, True),
        ("a or b and c", {"a": 0, "b": 1, "c": 0}, False),
        ("(a or b) and c", {"a": 1, "b": 0, "c": 1}, True),
        ("a.b == 'x'", {"a": {"b": "x"}}, True),
        ("a.b.c != 'x'", {"a": {}}, True),
        ("k in a.names", {"k": "x", "a": {"names": ["x"]}}, True),
        ("k not in a.names", {"k": "x", "a": {}}, True),
        ("k in ['x', 'y']", {"k": "y"}, True),
        ("v is text", {"v": "x"}, True),
        ("v is not text", {"v": 1}, True),
        ("v is number", {"v": True}, False),
        ("v is boolean", {"v": True}, True),
        ("v is object", {"v": {}}, True),
        ("v is list", {"v": [1]}, True),
        ("v is list", {"v": "x"}, False),
        ("v is missing", {"v": None}, True),
        ("v|trim", {"v": " \n "}, False),
        ("not v|trim and w", {"v": None, "w": 1}, True),
        ("v|trim|upper == 'A'", {"v": " a "}, True),
    ],
)
def test_conditions_mean_the_same_in_python_and_in_jinja(condition: str, scope: dict[str, Any], holds: bool) -> None:
    assert bool(predicate(condition)(scope)) is holds
    source = f"{{% if {to_jinja(condition)} %}}yes{{% endif %}}"
    assert (run(source, [], "2024-01-01", **scope) == "yes") is holds


def test_filters_mean_the_same_in_python_and_in_jinja() -> None:
    from tunesmith.templates.filters import FILTERS

    for name, one in FILTERS.items():
        for value in (" \n a \n", "", "é<", {"b": [1, None, True], "a": "é"}, [1, {"x": "y"}]):
            if not isinstance(value, str) and "json" not in name and name != "compact":
                continue
            written = run("{{ " + one.jinja.format("value") + " }}", [], "2024-01-01", value=value)
            assert written == one.apply(value), (name, value)


def test_what_a_placeholder_writes_is_content_and_the_rest_is_control(tmp_path: Path) -> None:
    rendered = made(tmp_path, PLAIN).render(Conversation((Turn("user", (Text("</u><a>"),)),)))
    assert [piece.text for piece in rendered.pieces if not piece.control] == ["</u><a>"]


def test_trim_reaches_over_pieces(tmp_path: Path) -> None:
    more = '[child]\nextends = "plain"\nuser = "[{trim}{if first and system}{system}\\n\\n{end}{content}{end}]"\nsystem = ""\n'
    renderer = made(tmp_path, PLAIN + more, "child")
    turns = (Turn("system", (Text(" be"),)), Turn("user", (Text("  "),)))
    assert renderer.render(Conversation(turns)).text == "[be]"


def test_a_loop_over_an_object_knows_its_place(tmp_path: Path) -> None:
    call = Turn("assistant", (Call("f", {"b": 1, "a": "x"}),))
    more = """
[child]
extends = "plain"
reply = "{content}{calls}</a>"
[child.tools]
call = "{call.name}({each key, value in call.arguments}{loop_index}:{key}={value|text_or_json}{if not loop_last}, {end}{end})"
[ordered]
extends = "child"
[ordered.tools]
call = "{call.name}({each key, value in call.arguments|sorted}{key}{end})"
"""
    assert made(tmp_path, PLAIN + more, "child").render(Conversation((ASK, call))).text.endswith("<a>f(0:b=1, 1:a=x)</a>\n")
    assert made(tmp_path, PLAIN + more, "ordered").render(Conversation((ASK, call))).text.endswith("<a>f(ab)</a>\n")


def test_a_part_can_be_told_what_it_is_called(tmp_path: Path) -> None:
    more = """
[child]
extends = "plain"
user = "{content}{tools}"
[child.tools]
declare = "{each tool in tools}{part fields tool.function.parameters}{end}"
call = "x"
[child.tools.parts]
fields = "{each key, value in it.properties}{part field value as key}{end}"
field = "{name|title}:{it.type}{part fields it};"
"""
    inner = {"type": "object", "properties": {"b_c": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": inner}}}}
    renderer = made(tmp_path, PLAIN + more, "child")
    assert renderer.render(Conversation((ASK,), (tool,))).text == "HiA:objectB_c:string;;"
    golden = {"messages": [{"role": "user", "content": "Hi"}], "tools": [tool]}
    assert jinja_text(renderer.chat_template(), golden) == "HiA:objectB_c:string;;"


def test_rounds_are_counted_and_a_prompt_knows_itself(tmp_path: Path) -> None:
    more = """
[child]
extends = "plain"
user = "{round}>{content}"
prompt = "{if awaited}?{else}!{end}"
"""
    renderer = made(tmp_path, PLAIN + more, "child")
    text = renderer.render(Conversation((ASK, SAY, ASK)), generation_prompt=True).text
    assert text == "1>Hi!Yo</a>\n2>Hi?"
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "Hi"}]
    assert jinja_text(renderer.chat_template(), {"messages": messages, "generation_prompt": True}) == text


def test_a_system_text_is_left_out_only_where_the_table_says_so(tmp_path: Path) -> None:
    system = Turn("system", (Text("Be brief."),))
    more = '[bare]\nuser = "{content}"\nreply = "{content}"\neos = "."\n[lossy]\nextends = "bare"\nleaves_out = ["system"]\n'
    with pytest.raises(TunesmithError, match="no place for a system text"):
        made(tmp_path, PLAIN + more, "bare").render(Conversation((system, ASK)))
    assert made(tmp_path, PLAIN + more, "lossy").render(Conversation((system, ASK))).text == "Hi"
    with pytest.raises(ConfigError, match="leaves_out names more"):
        made(tmp_path, PLAIN + more.replace('["system"]', '["tools"]'), "lossy")


def test_calls_without_marks_of_their_own_are_read_back(tmp_path: Path) -> None:
    more = """
[child]
extends = "plain"
reply = "{content}{calls}</a>"
[child.tools]
call = "{call.name}\\n{call.arguments|json}"
alone = true
[python]
extends = "child"
[python.tools]
open = "<calls>\\n"
call = "{call.name}({each key, value in call.arguments}{key}={value|json}{if not loop_last},{end}{end})\\n"
close = "</calls>"
alone = false
"""
    line = made(tmp_path, PLAIN + more, "child")
    found = [part for part in line.parse_reply('f\n{"a": 1}').parts if isinstance(part, Call)]
    assert found == [Call("f", {"a": 1})]
    assert line.parse_reply('f {"a": 1}').text == 'f {"a": 1}'
    assert line.parse_reply('f\n{"a": 1}\nthen').text == 'f\n{"a": 1}\nthen'
    python = made(tmp_path, PLAIN + more, "python")
    turn = python.parse_reply('See <calls>\nf(a="x, y=(1)\\n",b=[1])\ng()\n</calls>\nthen')
    assert [part for part in turn.parts if isinstance(part, Call)] == [Call("f", {"a": "x, y=(1)\n", "b": [1]}), Call("g", {})]
    assert turn.text == "See\nthen"


def test_words_that_a_reply_always_begins_with_are_no_content(tmp_path: Path) -> None:
    more = '[child]\nextends = "plain"\nreply = "{if last}Bot: {end}{content}</a>"\n'
    renderer = made(tmp_path, PLAIN + more, "child")
    assert renderer.parse_reply("Bot: Yes.</a>").text == "Yes."
    assert renderer.parse_reply("Yes.").text == "Yes."
    more = '[child]\nextends = "plain"\nreply = "{content}\\n</a>"\n'
    assert made(tmp_path, PLAIN + more, "child").parse_reply("Yes.\n\n</a>").text == "Yes.\n"


def test_a_template_that_shows_no_thought_cuts_words_to_the_character(tmp_path: Path) -> None:
    more = """
[child]
extends = "plain"
thinking = { open = "<think>\\n", close = "\\n</think>\\n\\n", history = "never" }
"""
    renderer = made(tmp_path, PLAIN + more, "child")
    cases: list[tuple[dict[str, str], str]] = [
        ({"content": "<think>a</think> b"}, " b"),
        ({"content": "a</think>b</think>\nc"}, "\nc"),
        ({"content": "b", "reasoning_content": "a"}, "\n\nb"),
        ({"content": "b"}, "b"),
    ]
    for said, written in cases:
        golden = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", **said}]}
        text = f"<u>Hi<a>{written}</a>\n".replace("Hi<a>", "Hi</u><a>")
        assert renderer.render(conversation_from_openai(golden["messages"])).text == text
        assert jinja_text(renderer.chat_template(), golden) == text


def test_answers_that_stand_otherwise_than_they_were_written_are_told(tmp_path: Path) -> None:
    talk = Conversation((Turn("system", (Text("s"),)), ASK, THOUGHT, ASK, THOUGHT, ASK, SAY))
    found = made(tmp_path, SHOWN)
    assert found.render(talk).rewritten == {2, 4}
    assert found.render(Conversation((ASK, THOUGHT))).rewritten == frozenset()
    assert found.with_options(preserve_thinking=True).render(talk).rewritten == frozenset()
    never = made(tmp_path, SHOWN.replace('</t>" }', '</t>", history = "never" }'))
    assert never.render(Conversation((ASK, THOUGHT))).rewritten == {1}
    kept = never.with_options(preserve_thinking=True)
    assert (kept.render(Conversation((ASK, THOUGHT))).text, kept.chat_template() == never.chat_template()) == (
        "<u>Hi</u><a><t>hm</t>Yo</a>\n",
        False,
    )
    golden = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<t>hm</t>Yo"}]}
    assert jinja_text(kept.chat_template(), golden) == "<u>Hi</u><a><t>hm</t>Yo</a>\n"
    assert (
        jinja_text(never.chat_template(), golden) == "<u>Hi</u><a>Yo</a>\n" == never.render(Conversation((ASK, THOUGHT))).text
    )


def test_system_turns_can_be_gathered(tmp_path: Path) -> None:
    found = made(tmp_path, PLAIN + 'gather = " + "\ndefault_system = "d"\n')
    late = Turn("system", (Text("b"),))
    talk = Conversation((Turn("system", (Text("a"),)), ASK, SAY, late, ASK, SAY))
    rendered = found.render(talk)
    assert rendered.text == "<s>a + b</s><u>Hi</u><a>Yo</a>\n<u>Hi</u><a>Yo</a>\n"
    assert rendered.rewritten == {2}
    assert found.render(Conversation((ASK, late))).text == "<s>b</s><u>Hi</u>"
    assert found.render(Conversation((ASK,))).text == "<s>d</s><u>Hi</u>"
    messages = [{"role": turn.role, "content": turn.text} for turn in talk.turns]
    assert jinja_text(found.chat_template(), {"messages": messages}) == rendered.text


def test_a_last_answer_without_a_stop_is_told_its_end(tmp_path: Path) -> None:
    bare = PLAIN.replace('"{content}</a>"', '"{content}"')
    assert made(tmp_path, bare).render(Conversation((ASK, SAY))).end == "</a>"
    assert made(tmp_path, bare + 'end = "{if calls}<c>{else}<e>{end}"\n').render(Conversation((ASK, SAY))).end == "<e>"
    assert made(tmp_path, PLAIN).render(Conversation((ASK, SAY))).end == ""
    for turns in ((ASK, SAY, ASK), (ASK, Turn("assistant", (Text("Yo"),), 0.0)), (ASK, Turn("assistant", (Text(""),)))):
        assert made(tmp_path, bare).render(Conversation(turns)).end == ""


def test_thoughts_in_words_can_be_left_there(tmp_path: Path) -> None:
    more = """
[child]
extends = "plain"
reply = "{thinking}{content}</a>"
thinking = { open = "<think>", close = "</think>", history = "keep", inline = false }
"""
    renderer = made(tmp_path, PLAIN + more, "child")
    golden = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>\na</think> b"}]}
    text = renderer.render(conversation_from_openai(golden["messages"])).text
    assert text == jinja_text(renderer.chat_template(), golden) == "<u>Hi</u><a><think>\na</think> b</a>\n"
    assert renderer.parse_reply("<think>a</think>b</a>").parts == (Thought("a"), Text("b"))
    with pytest.raises(ConfigError, match="neither true nor false"):
        made(tmp_path, PLAIN + more.replace("false", "1"), "child")


@pytest.mark.parametrize("name", ["channels", "nested"])
def test_hard_published_forms_can_be_said(name: str) -> None:
    renderer = renderer_for(f"{DATA}/hard.toml:{name}")
    source = renderer.chat_template()
    for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        golden = json.loads(line)
        expected = golden.pop("expected")
        found = answer(renderer, json.dumps(golden))
        assert (found["text"], found["learned"]) == (expected["text"], expected["learned"])
        assert jinja_text(source, golden) == expected["text"]


# ---- inheritance -----------------------------------------------------------------------------------------------------


def test_a_table_says_only_what_differs_from_the_one_it_extends(tmp_path: Path) -> None:
    more = '[child]\nextends = "plain"\nuser = "<q>{content}</q>"\n'
    assert made(tmp_path, PLAIN + more, "child").render(Conversation((ASK, SAY))).text == "<q>Hi</q><a>Yo</a>\n"


def test_a_table_can_extend_one_of_another_file_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(PLAIN, encoding="utf-8")
    assert (
        made(tmp_path, '[child]\nextends = "plain"\nafter = ""\n').render(Conversation((ASK, SAY))).text == "<u>Hi</u><a>Yo</a>"
    )


def test_false_takes_away_what_a_parent_says(tmp_path: Path) -> None:
    more = '[child]\nextends = "plain"\nsystem = false\n'
    with pytest.raises(TunesmithError, match="no place for a system text"):
        made(tmp_path, PLAIN + more, "child").render(Conversation((Turn("system", (Text("x"),)), ASK)))


# ---- mistakes in a table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ('usr = "x"', "has the key 'usr'", "Did you mean 'user'?"),
        ('user = "{contnt}"', "user: {contnt} names 'contnt'", "Did you mean 'content'?"),
        ('user = "{content|trimm}"', "the filter 'trimm'", "Did you mean 'trim'?"),
        ('user = "{if lst}x{end}"', "asks for 'lst'", "Did you mean 'last'?"),
        ('user = "{if last}x"', "{if …} has no {end}", "{end}"),
        ('user = "x{end}"', "{end} closes nothing", ""),
        ('user = "{else}"', "does not belong to an {if …}", ""),
        ('user = "{if f(x)}y{end}"', "neither a name nor a path", "Conditions know"),
        ('user = "{if x is funny}y{end}"', "'is' asks for a kind", ""),
        ('user = "{part a content}"', "the part 'a', which there is not", ""),
        ("user = 3", "user is int, not text", ""),
        ('stop = "x"', "stop is no list of texts", "Write stop"),
        ('order = "odd"', "order is 'odd'", "alternate"),
        ('thinking = { open = "<t>" }', "thinking lacks close", ""),
        ('thinking = { open = "<t>", close = "</t>", histroy = "keep" }', "'histroy'", "Did you mean 'history'?"),
        ('date = { format = "%Q", default = "2024-01-01" }', "date", ""),
        ('date = { format = "%Y", default = "yesterday" }', "date", ""),
        ('refuse = [{ when = "nothing", because = "x" }]', "asks for 'nothing'", ""),
        ('extends = "plian"', "extends 'plian', which there is not", "Did you mean 'plain'?"),
        ("tools = 3", "tools is neither", ""),
        ('thinking = { open = "<t>", close = "</t>" }', "its reply loses every thought", "Write {thinking}"),
        ('tools = { cal = "x" }', "has the key 'cal'", "Did you mean 'call'?"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_what_to_write(tmp_path: Path, line: str, said: str, hint: str) -> None:
    parent = "" if "extends" in line else 'extends = "plain"\n'
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, f'{PLAIN}\n[child]\n{parent}summary = "x"\n{line}\n', "child")
    problem = caught.value.problems[0]
    wanted = (PLAIN.count("\n") + 1) + 1 + parent.count("\n") + 2
    assert problem.where == f"{tmp_path / 't.toml'}:{wanted}"
    assert problem.what.startswith("[child]")
    assert said in problem.what
    assert hint in problem.instead


def test_a_key_of_a_table_inside_is_found_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, PLAIN + '[plain.tools]\ndeclare = "x"\ncall = "{cal.name}"\n')
    assert caught.value.problems[0].where.endswith(f":{PLAIN.count(chr(10)) + 3}")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, '[t]\nusr = "a"\nreply = "{contet}"\n')
    assert len(caught.value.problems) == 4


def test_a_file_that_is_no_toml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"t\.toml:3: this is not TOML"):
        made(tmp_path, "[a]\nx = 1\ny = = 2\n")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        renderer_for(str(tmp_path / "none.toml"))


def test_a_file_of_several_templates_wants_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds 2 templates: plain, other"):
        made(tmp_path, PLAIN + '[other]\nextends = "plain"\n')


def test_a_loop_of_parents_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="extends itself: a → b → a"):
        made(tmp_path, '[a]\nextends = "b"\n[b]\nextends = "a"\n', "a")


# ---- listing ---------------------------------------------------------------------------------------------------------


def test_listing_reads_headings_only_and_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "acme_templates"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    tables = "".join(
        f'[t{number}]\nsummary = "Number {number}"\nmodels = ["a/b-*"]\nuser = """\n[no table]\n[nor.this]\n{{content}}"""\n'
        for number in range(200)
    )
    (package / "many.toml").write_text(tables + "[_base]\n[t0.tools]\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    began = time.perf_counter()
    specs = templates_in("acme_templates")
    assert time.perf_counter() - began < 0.5
    assert [spec.name for spec in specs] == [f"t{number}" for number in range(200)]
    assert (specs[7].summary, specs[7].models) == ("Number 7", ("a/b-*",))


# ---- what is refused -------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("turns", "tools", "said"),
    [
        ((), (), "The conversation is empty"),
        ((ASK,), (TOOL,), "cannot declare any"),
        ((ASK, Turn("assistant", (Call("f", {}),))), (), r"Turn 2 \(assistant\) calls a tool"),
        ((ASK, Turn("tool", (Result("x"),))), (), r"Turn 2 \(tool\) is a result"),
        ((ASK, SAY, Turn("system", (Text("x"),))), (), r"Turn 3 \(system\) comes late"),
        ((ASK, Turn("assistant", (Thought("hm"), Text("x")))), (), r"Turn 2 \(assistant\) has reasoning to learn"),
        (
            (Turn("user", (Media("image", "a.png"),)),),
            (),
            r"Turn 1 \(user\) holds media .image., and the template 'plain' has no place for images",
        ),
        ((Turn("user", (Call("f", {}),)),), (), r"Turn 1 \(user\) holds a call"),
        ((ASK, Turn("assistant", (Text("x"), Thought("hm")))), (), r"Turn 2 \(assistant\) thinks after it spoke"),
    ],
)
def test_what_has_no_place_is_refused_by_turn(tmp_path: Path, turns: Any, tools: Any, said: str) -> None:
    with pytest.raises(TunesmithError, match=said):
        text_of(tmp_path, "", *turns, tools=tools)


def test_turns_must_alternate_where_the_template_says_so(tmp_path: Path) -> None:
    renderer = made(tmp_path, PLAIN + '[strict]\nextends = "plain"\norder = "alternate"\n', "strict")
    with pytest.raises(TunesmithError, match=r"Turn 2 \(user\) comes where the template 'strict' wants the assistant"):
        renderer.render(Conversation((ASK, ASK)))
    with pytest.raises(TunesmithError, match="already ends with an answer"):
        renderer.render(Conversation((ASK, SAY)), generation_prompt=True)


def test_a_table_can_refuse_kinds_of_turns(tmp_path: Path) -> None:
    more = (
        '[child]\nextends = "plain"\nrefuse = [{ when = "not content", because = "wants words", instead = "Say something." }]\n'
    )
    with pytest.raises(TunesmithError, match=r"Turn 1 \(user\): the template 'child' wants words") as caught:
        made(tmp_path, PLAIN + more, "child").render(Conversation((Turn("user", (Text(""),)),)))
    assert caught.value.hint == "Say something."


# ---- options ---------------------------------------------------------------------------------------------------------


def test_a_default_system_text_is_used_only_where_none_is_given(tmp_path: Path) -> None:
    more = '[child]\nextends = "plain"\ndefault_system = "D"\n'
    renderer = made(tmp_path, PLAIN + more, "child")
    assert renderer.render(Conversation((ASK,))).text == "<s>D</s><u>Hi</u>"
    assert renderer.render(Conversation((Turn("system", (Text("G"),)), ASK))).text == "<s>G</s><u>Hi</u>"
    assert renderer.with_options(default_system="R").render(Conversation((ASK,))).text == "<s>R</s><u>Hi</u>"


def test_the_date_is_the_tables_or_the_runs_and_never_todays(tmp_path: Path) -> None:
    more = '[dated]\nextends = "plain"\nprefix = "{date}|"\ndate = { format = "%A %-d %b %Y", default = "2024-07-26" }\n'
    renderer = made(tmp_path, PLAIN + more, "dated")
    assert renderer.render(Conversation((ASK,))).text.startswith("Friday 26 Jul 2024|")
    other = renderer.with_options(date="2025-01-02")
    assert other.render(Conversation((ASK,))).text.startswith("Thursday 2 Jan 2025|")
    assert other.fingerprint != renderer.fingerprint


def test_the_ends_are_the_tokenizers_where_it_has_them(tmp_path: Path) -> None:
    more = '[child]\nextends = "plain"\nbos = "<b>"\neos = "<e>"\nprefix = "{bos}"\nreply = "{content}{eos}"\nstop = false\n'
    conversation = Conversation((ASK, SAY))
    assert made(tmp_path, PLAIN + more, "child").render(conversation).text == "<b><u>Hi</u><a>Yo<e>\n"
    given = made(tmp_path, PLAIN + more, "child", bos="", eos="<E>")
    assert given.render(conversation).text == "<u>Hi</u><a>Yo<E>\n"
    assert given.stop == ("<E>",)


# ---- thinking --------------------------------------------------------------------------------------------------------

THINKING = """
[thinks]
extends = "plain"
reply = "{thinking}{content}</a>"
start = "{if thinking_off}<t></t>{end}"
thinking = { open = "<t>", close = "</t>" }
"""


def test_a_thought_may_stand_inline_or_in_a_part_of_its_own(tmp_path: Path) -> None:
    renderer = made(tmp_path, PLAIN + THINKING, "thinks")
    apart = Turn("assistant", (Thought("hm"), Text("Yo")))
    inline = Turn("assistant", (Text("<t>\nhm\n</t>\n\nYo"),))
    assert renderer.render(Conversation((ASK, apart))).text == renderer.render(Conversation((ASK, inline))).text
    assert renderer.render(Conversation((ASK, apart))).text == "<u>Hi</u><a><t>hm</t>Yo</a>\n"


def test_what_generation_starts_from_is_not_learned(tmp_path: Path) -> None:
    forced = PLAIN + '[forced]\nextends = "plain"\nreply = "<t>{thought}</t>{content}</a>"\nstart = "<t>"\n'
    forced += 'thinking = { open = "<t>", close = "</t>" }\n'
    rendered = made(tmp_path, forced, "forced").render(Conversation((ASK, Turn("assistant", (Thought("hm"), Text("Yo"))))))
    assert [rendered.text[start:end] for start, end in rendered.learned] == ["hm</t>Yo</a>"]
    other = forced.replace('start = "<t>"', 'start = "<think>"')
    rendered = made(tmp_path, other, "forced").render(Conversation((ASK, SAY)))
    assert [rendered.text[start:end] for start, end in rendered.learned] == ["<t></t>Yo</a>"], "half a tag is no common start"


# ---- tools -----------------------------------------------------------------------------------------------------------


def test_a_template_without_tools_takes_a_syntax_that_the_user_picks(tmp_path: Path) -> None:
    syntax = '[syntax.angle]\ndeclare = "TOOLS {each tool in tools}{tool.function.name};{end}"\n'
    syntax += 'call = "<c {call.name}>{call.arguments|json}</c>"\n'
    (tmp_path / "s.toml").write_text(syntax, encoding="utf-8")
    from tunesmith.templates.parse import read_tool_table

    file = tmp_path / "t.toml"
    file.write_text(PLAIN, encoding="utf-8")
    renderer = renderer_for(str(file), tools=read_tool_table(tmp_path / "s.toml", "angle"))
    turns = (ASK, Turn("assistant", (Text("Hm."), Call("f", {"a": 1}))), Turn("tool", (Result("R"),)), SAY)
    conversation = Conversation(turns, (TOOL,))
    wanted = '<s>TOOLS f;</s><u>Hi</u><a>Hm.\n<c f>{"a": 1}</c></a>\n<u>R</u><a>Yo</a>\n'
    assert renderer.render(conversation).text == wanted
    turn = renderer.parse_reply('Hm.\n<c f>{"a": 1}</c></a>')
    assert turn.parts == (Text("Hm."), Call("f", {"a": 1}))
    messages = [{"role": "user", "content": "Hi"}]
    marked = run(renderer.chat_template(), messages, "2024-01-01", tools=[TOOL], add_generation_prompt=True)
    assert without_marks(marked)[0] == renderer.render(Conversation((ASK,), (TOOL,)), generation_prompt=True).text


def test_results_know_the_tool_they_came_from(tmp_path: Path) -> None:
    more = """
[child]
extends = "plain"
reply = "{content}{calls}</a>"
tool = "{each result in results}[{result.name}:{result.content}]{end}"
[child.tools]
call = "{call.name};"
"""
    calls = Turn("assistant", (Call("f", {}, "1"), Call("g", {}, "2")))
    turns = (ASK, calls, Turn("tool", (Result("B", id="2"),)), Turn("tool", (Result("A", id="1"),)))
    assert made(tmp_path, PLAIN + more, "child").render(Conversation(turns)).text.endswith("[g:B][f:A]")


def test_a_tool_syntax_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="writes tools as 'nowhere', a tool syntax that is not installed"):
        made(tmp_path, PLAIN + '[child]\nextends = "plain"\ntools = "nowhere"\n', "child")


# ---- one renderer ----------------------------------------------------------------------------------------------------


def test_rendering_a_turn_takes_microseconds(tmp_path: Path) -> None:
    renderer = made(tmp_path, PLAIN + THINKING, "thinks")
    conversation = Conversation((ASK, SAY) * 20)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        renderer.render(conversation)
        times.append((time.perf_counter() - began) / 40)
    assert min(times) < 40e-6


def test_weights_of_other_roles_count(tmp_path: Path) -> None:
    turns = (Turn("user", (Text("Hi"),), 0.5), SAY)
    rendered = made(tmp_path, PLAIN).render(Conversation(turns))
    assert [(piece.text, piece.weight) for piece in rendered.pieces][:3] == [("<u>", 0.5), ("Hi", 0.5), ("</u>", 0.5)]


def test_openai_messages_and_lines_agree(tmp_path: Path) -> None:
    renderer = made(tmp_path, PLAIN)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    found = answer(renderer, json.dumps({"messages": messages}))
    rendered = renderer.render(conversation_from_openai(messages))
    assert found == {"text": rendered.text, "learned": [[12, 18]], "stop": ["</a>"]}
