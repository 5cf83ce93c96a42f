"""The file that ``tunesmith template new`` writes."""

from __future__ import annotations

_WHOLE = """# A template. Slots are text with tags: {{content}} writes a value, {{if last}}…{{else}}…{{end}} asks a fact.
# A brace that begins no tag is just a brace. docs/reference/templates.md has every word.

[{name}]
summary = "{name}"
models = []                                     # patterns of model names, for suggestions

bos = ""                                        # what {{bos}} writes where the tokenizer has none of its own
prefix = "{{bos}}"                                # begins every text
system = "<|system|>\\n{{system}}\\n"               # where there is a system text
user = "<|user|>\\n{{content}}\\n"
prompt = "<|assistant|>\\n"                       # what an answer starts from: seen, not learned
reply = "{{content}}<|end|>"                      # what the model writes and learns, up to the token that ends it
after = "\\n"                                    # follows the answer: seen, not learned
stop = ["<|end|>"]

# later_system = "<|system|>\\n{{content}}\\n"        # a system turn in the middle; without it, refused
# default_system = "You are helpful."            # where a conversation brings none
# thinking = {{ open = "<think>\\n", close = "\\n</think>\\n\\n" }}   # then: reply = "{{thinking}}{{content}}…"
# tools = "NAME"                                 # a tool syntax; then {{tools}} in system and {{calls}} in reply
# tool = "{{each result in results}}<|tool|>\\n{{result.content}}\\n{{end}}"
"""

_CHILD = """# Everything that is not written here is as in {parent}.

[{name}]
extends = "{parent}"
summary = "{name}"
"""


def skeleton(name: str, extends: str | None) -> str:
    """A template file to begin with."""
    return _CHILD.format(name=name, parent=extends) if extends else _WHOLE.format(name=name)
