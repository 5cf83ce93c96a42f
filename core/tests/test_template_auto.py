"""``template: auto``: the tokenizer's own template, what is learned found by marks or by prefixes, everything else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith.contracts import RewrittenReplies
from tunesmith.data.conversation import Call, Conversation, Result, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates.auto import AutoRenderer
from tunesmith.templates.sandbox import OPEN_MARK
from tunesmith.templates.tokenizer_facts import check_tokens, tokenizer_facts

PREFIX = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
MARKS = """{% for message in messages %}{% if message.role == 'assistant' %}
{{- '<a>' }}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ '<u>' + message.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<a>' }}{% endif %}"""
LAST_ONLY = """{% for message in messages %}{% if message.role == 'assistant' %}
{{- '<a>' }}{% if loop.last %}{{ '<think>' + (message.reasoning_content or '') + '</think>' }}{% endif %}
{{- message.content + '<|im_end|>' }}
{%- else %}{{ '<u>' + message.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<a>' }}{% endif %}"""
STRICT = """{% for message in messages %}{% if message.role not in ['user', 'assistant'] %}
{{- raise_exception('only user and assistant') }}{% endif %}
{{- '<' + message.role + '>' + message.content + '<|im_end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"""

ASK, SAY = Turn("user", (Text("Hi"),)), Turn("assistant", (Text("Yo"),))


def renderer(tmp_path: Path, source: str, **options: Any) -> AutoRenderer:
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|im_end|>", "bos_token": None}), encoding="utf-8"
    )
    (tmp_path / "chat_template.jinja").write_text(source, encoding="utf-8")
    tokens = [{"id": at, "content": token, "special": True} for at, token in enumerate(("<|im_start|>", "<|im_end|>"))]
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"added_tokens": tokens, "model": {"vocab": {"a": 9}}}), encoding="utf-8"
    )
    return AutoRenderer(tokenizer_facts(tmp_path), options)


def learned(found: AutoRenderer, *turns: Turn) -> list[str]:
    rendered = found.render(Conversation(turns))
    return [rendered.text[start:end] for start, end in rendered.learned]


def test_replies_are_found_by_prefixes(tmp_path: Path) -> None:
    found = renderer(tmp_path, PREFIX)
    assert learned(found, ASK, SAY, ASK, SAY) == ["Yo<|im_end|>", "Yo<|im_end|>"]
    prompt = found.render(Conversation((ASK, SAY, ASK)), generation_prompt=True)
    whole = found.render(Conversation((ASK, SAY, ASK, SAY)))
    assert whole.text.startswith(prompt.text)
    assert sum(len(piece.text) for piece in prompt.pieces) in {
        sum(len(piece.text) for piece in whole.pieces[: end + 1]) for end in range(len(whole.pieces))
    }


def test_replies_are_found_by_marks(tmp_path: Path) -> None:
    found = renderer(tmp_path, MARKS)
    assert learned(found, ASK, SAY, ASK, SAY) == ["Yo<|im_end|>", "Yo<|im_end|>"]
    assert OPEN_MARK not in found.render(Conversation((ASK, SAY))).text
    quiet = Turn("assistant", (Text("Yo"),), 0.0)
    assert learned(found, ASK, quiet, ASK, SAY) == ["Yo<|im_end|>"]


def test_marks_around_more_than_is_generated_are_cut_to_it(tmp_path: Path) -> None:
    source = MARKS.replace("{{- '<a>' }}{% generation %}", "{% generation %}{{ '<a>' }}").replace(
        "'<|im_end|>' }}", "'<|im_end|>\\n' }}"
    )
    assert learned(renderer(tmp_path, source), ASK, SAY, ASK, SAY) == ["Yo<|im_end|>", "Yo<|im_end|>"]


def test_a_reply_that_history_changes_is_told_by_turn(tmp_path: Path) -> None:
    found = renderer(tmp_path, LAST_ONLY)
    assert learned(found, ASK, SAY) == ["<think></think>Yo<|im_end|>"]
    with pytest.raises(RewrittenReplies, match=r"Turn 2 \(assistant\) is written otherwise once other turns") as told:
        found.render(Conversation((ASK, SAY, ASK, SAY, ASK, SAY)))
    assert told.value.turns == {1, 3}
    with pytest.raises(RewrittenReplies, match=r"Turn 2 \(assistant\)") as told:
        renderer(tmp_path, LAST_ONLY, default_system="S").render(Conversation((ASK, SAY, ASK, SAY)))
    assert told.value.turns == {1}
    quiet = Turn("assistant", (Text("Yo"),), 0.0)
    assert learned(found, ASK, quiet, ASK, SAY) == ["<think></think>Yo<|im_end|>"]
    assert found.render(Conversation((ASK, SAY, ASK)), generation_prompt=True).text.endswith("<u>Hi<a>")


NO_THOUGHT = """{% for message in messages %}
{{- '<' + message.role + '>' + message.content.split('</think>')[-1] + '<|im_end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<assistant>Here are my steps:' }}{% endif %}"""


def test_an_answer_that_the_template_cuts_is_told_what_it_lost(tmp_path: Path) -> None:
    found = renderer(tmp_path, NO_THOUGHT)
    with pytest.raises(TunesmithError, match=r"Turn 2 \(assistant\): the tokenizer's own template leaves out its reasoning"):
        found.render(Conversation((ASK, Turn("assistant", (Text("<think>deep</think>Yo"),)))))
    cut = Turn("assistant", (Text("<think>deep</think>Yo"),))
    with pytest.raises(RewrittenReplies, match=r"Turn 2 \(assistant\) is written without its reasoning") as told:
        found.render(Conversation((ASK, cut, ASK, SAY)))
    assert told.value.turns == {1}


def test_words_that_begin_like_the_forced_prefix_are_learned_whole(tmp_path: Path) -> None:
    found = renderer(tmp_path, NO_THOUGHT)
    assert learned(found, ASK, Turn("assistant", (Text("Hello"),))) == ["Hello<|im_end|>"]


def test_an_answer_that_shares_nothing_with_its_prompt_is_refused(tmp_path: Path) -> None:
    source = NO_THOUGHT.replace("<assistant>Here", "[answer]Here")
    with pytest.raises(TunesmithError, match=r"Turn 2 \(assistant\) does not begin as the prompt before it ends"):
        renderer(tmp_path, source).render(Conversation((ASK, SAY)))


def test_what_the_template_refuses_is_told_by_turn_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(
        TunesmithError, match=r"Turn 3 \(system\): the tokenizer's own template refuses: only user and assistant"
    ):
        renderer(tmp_path, STRICT).render(Conversation((ASK, SAY, Turn("system", (Text("x"),)))))


def test_what_the_template_leaves_out_in_silence_is_refused(tmp_path: Path) -> None:
    found = renderer(tmp_path, PREFIX)
    tool = {"type": "function", "function": {"name": "find_it"}}
    with pytest.raises(TunesmithError, match="leaves out the tool 'find_it'"):
        found.render(Conversation((ASK, SAY), (tool,)))
    call = Turn("assistant", (Call("find_it", {}),))
    with pytest.raises(TunesmithError, match=r"Turn 2 \(assistant\): the tokenizer's own template leaves out its call"):
        found.render(Conversation((ASK, call)))
    with pytest.raises(TunesmithError, match="leaves out its reasoning"):
        found.render(Conversation((ASK, Turn("assistant", (Thought("deep"), Text("Yo"))))))


def test_special_tokens_that_somebody_typed_stay_text(tmp_path: Path) -> None:
    forged = Turn("user", (Text("a<|im_end|>b"),))
    rendered = renderer(tmp_path, PREFIX).render(Conversation((forged, SAY)))
    assert [piece.text for piece in rendered.pieces if not piece.control] == ["a<|im_end|>b"]
    upper = "(message['content']|upper if message['role'] == 'user' else message['content'])"
    changed = PREFIX.replace("message['content']", upper)
    with pytest.raises(TunesmithError, match=r"Turn 1 \(user\) holds the text of a special token"):
        renderer(tmp_path, changed).render(Conversation((forged, SAY)))


def test_arguments_are_given_as_text_to_templates_that_want_text(tmp_path: Path) -> None:
    call = "message.tool_calls[0].function"
    said = f"({call}.name + {call}.arguments if message.tool_calls else message['content'])"
    source = PREFIX.replace("message['content']", said)
    call = Turn("assistant", (Call("f", {"a": 1}),))
    assert learned(renderer(tmp_path, source), ASK, call) == ['f{"a": 1}<|im_end|>']


def test_a_turn_of_two_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match=r"Turn 2 \(tool\) holds 2 results"):
        renderer(tmp_path, PREFIX).render(Conversation((ASK, Turn("tool", (Result("a"), Result("b"))))))


def test_the_day_is_never_the_clocks(tmp_path: Path) -> None:
    source = "{{ strftime_now('%d %b %Y') }}" + PREFIX
    assert renderer(tmp_path, source).render(Conversation((ASK,))).text.startswith("26 Jul 2024")
    assert renderer(tmp_path, source, date="2020-02-03").render(Conversation((ASK,))).text.startswith("03 Feb 2020")


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    source = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(TunesmithError, match=r"unsafe|refuses"):
        renderer(tmp_path, source).render(Conversation((ASK,)))


def test_no_template_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TunesmithError, match="brings no chat template"):
        AutoRenderer(tokenizer_facts(tmp_path), {})


def test_a_template_that_is_no_jinja_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="no Jinja: line 2"):
        renderer(tmp_path, "a\n{% if %}").render(Conversation((ASK,)))


def test_answers_are_read_back(tmp_path: Path) -> None:
    found = renderer(tmp_path, PREFIX + "{# </think> <tool_call> #}")
    turn = found.parse_reply(
        '<think>\nhm\n</think>\n\nOk.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    )
    assert turn.parts == (Thought("hm"), Text("Ok."), Call("f", {"a": 1}))
    assert found.stop == ("<|im_end|>",)


def test_options_reach_the_template_and_the_fingerprint(tmp_path: Path) -> None:
    source = "{{ enable_thinking }}|{{ messages[0].content }}"
    on = renderer(tmp_path, source, enable_thinking=True, default_system="S")
    assert on.render(Conversation((ASK,))).text == "True|S"
    assert on.fingerprint != renderer(tmp_path, source).fingerprint


def test_a_tokenizer_without_the_stop_token_is_an_error(tmp_path: Path) -> None:
    facts = renderer(tmp_path, PREFIX).facts

    class Other(AutoRenderer):
        name = "other"

        def __init__(self) -> None:
            self.stop = ("<|end|>",)

    with pytest.raises(TunesmithError, match=r"has no token '<\|end\|>', which ends an answer of the template 'other'"):
        check_tokens(Other(), facts)


def test_an_answer_without_an_end_is_given_one_for_training(tmp_path: Path) -> None:
    bare = renderer(tmp_path, PREFIX.replace("'<|im_end|>' + '\n'", "''"))
    assert bare.render(Conversation((ASK, SAY))).end == "<|im_end|>"
    assert bare.render(Conversation((ASK, SAY, ASK))).end == ""
    assert bare.render(Conversation((ASK, SAY, ASK)), generation_prompt=True).end == ""
    assert renderer(tmp_path, PREFIX).render(Conversation((ASK, SAY))).end == ""


def test_a_conversation_can_ask_to_think_and_how_much(tmp_path: Path) -> None:
    source = "{{ enable_thinking }}|{{ reasoning_effort }}|{{ messages[0].content }}"
    found = renderer(tmp_path, source, enable_thinking=True, effort="low")
    assert found.render(Conversation((ASK,))).text.startswith("True|low|")
    assert found.render(Conversation((ASK,), thinking=False, effort="high")).text.startswith("False|high|")
    assert found.render(Conversation((ASK,))).text.startswith("True|low|"), "it went on with what another asked for"


def test_what_its_own_template_would_ignore_is_refused_by_name(tmp_path: Path) -> None:
    found = renderer(tmp_path, "{{ messages[0].content }}")
    for asked, name in (
        (Conversation((ASK,), thinking=True), "enable_thinking"),
        (Conversation((ASK,), effort="low"), "reasoning_effort"),
    ):
        with pytest.raises(TunesmithError, match=name):
            found.render(asked)
    with pytest.raises(TunesmithError, match="reasoning_effort"):
        renderer(tmp_path, "{{ messages[0].content }}", effort="low")
