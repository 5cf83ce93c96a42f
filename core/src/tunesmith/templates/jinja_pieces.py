"""What every exported chat template is put together from: macros, facts about a turn's place, and what of it is learned."""

from __future__ import annotations

import json

from tunesmith.templates.atoms import BORDER

TEXT_MACRO = """
{%- macro words(message) -%}
  {%- if message.content is string -%}{{- message.content -}}
  {%- elif message.content -%}
    {%- for part in message.content -%}{%- if part.type == 'text' -%}{{- part.text -}}{%- endif -%}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}"""

CALLS = """
    {%- set found = namespace(calls=[]) -%}
    {%- for item in message.tool_calls or [] -%}
      {%- set function = item.function or item -%}
      {%- set found.calls = found.calls + [{'name': function.name, 'arguments': function.arguments, 'id': item.id}] -%}
    {%- endfor -%}
    {%- set calls = found.calls -%}"""

RESULTS = """
    {%- set group = namespace(results=[], open=true) -%}
    {%- for other in rest[loop.index0:] -%}
      {%- if group.open and other.role == 'tool' -%}
        {%- set group.results = group.results + [{'content': words(other), 'name': other.name, 'id': other.tool_call_id}] -%}
      {%- else -%}{%- set group.open = false -%}{%- endif -%}
    {%- endfor -%}
    {%- set results = group.results -%}
    {%- set ahead = loop.index0 + results|length -%}"""

#: What generation starts from, as far as the reply begins with it; the rest of the reply is what the model says.
LEAD = f"""
    {{%- set lead = namespace(text='', open=true) -%}}
    {{%- for atom in start.split({json.dumps(BORDER, ensure_ascii=False)}) -%}}
      {{%- set lead.open = lead.open and reply.startswith(lead.text + atom) -%}}
      {{%- if lead.open -%}}{{%- set lead.text = lead.text + atom -%}}{{%- endif -%}}
    {{%- endfor -%}}
    {{{{- lead.text -}}}}{{%- generation -%}}{{{{- reply[lead.text|length:] -}}}}{{%- endgeneration -%}}"""

INSIDE = "content.split({1})[0].rstrip('\\n').split({0})[-1].lstrip('\\n')"

#: Facts about a turn's place, over ``here`` (its index) and ``ahead`` (the index of the turn after it).
PLACE = {
    "first": "not (rest[:here]|selectattr('role', 'equalto', role)|list)",
    "opening": "here == 0",
    "last": "ahead == rest|length",
    "last_user": "here == ends.last_user",
    "after_last_user": "here > ends.last_user",
    "last_answer": "not (rest[ahead:]|selectattr('role', 'equalto', 'assistant')|list)",
    "answered": "(rest[ahead:]|selectattr('role', 'equalto', 'assistant')|rejectattr('tool_calls')|list|length > 0)",
    "after_user": "(here > 0 and rest[here - 1].role == 'user')",
    "after_assistant": "(here > 0 and rest[here - 1].role == 'assistant')",
    "after_tool": "(here > 0 and rest[here - 1].role == 'tool')",
    "before_user": "(ahead < rest|length and rest[ahead].role == 'user')",
    "before_assistant": "(ahead < rest|length and rest[ahead].role == 'assistant')",
    "before_tool": "(ahead < rest|length and rest[ahead].role == 'tool')",
    "awaited": "here == rest|length",
    "round": "rest[:ahead]|selectattr('role', 'equalto', 'user')|list|length",
}
OF_CALLS = {
    "many_calls": "calls|length > 1",
    "calls_without_ids": "(calls|rejectattr('id')|list|length > 0)",
    "results_without_ids": "(results|rejectattr('id')|list|length > 0)",
}
