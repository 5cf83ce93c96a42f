"""How many conversations each template renders exactly as its makers' published template does.

    python benchmarks/templates.py ORACLE_FOLDER [NAME …]

The folder holds `cases.json` (conversations by name) and one file per model generation, `NAME.json` or `NAME__VARIANT.json`,
with the published text of each case, what of it the model itself says, and the peer's text where that differs. A case counts as
equal when text and learned stretches are, white space after a stop token aside. Cases in which the published template drops or
refuses part of the conversation are counted apart: there a refusal is right.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.openai_messages import conversation_from_openai
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.templates.finding import declared

#: Files of a generation whose template has a name of its own, and files that only set an option.
GENERATIONS = {
    "baichuan2__vllm": "baichuan2_vllm",
    "cohere__aya-expanse": "aya_expanse",
    "cohere__command-r-tool_use": "command_r_tool_use",
    "deepseek3__V2.5": "deepseek2_5",
    "deepseek3__V3-0324": "deepseek3_0324",
    "deepseekr1__R1-0528": "deepseekr1_0528",
    "deepseekr1__R1-0528-Qwen3-8B": "deepseekr1_0528_qwen3",
    "deepseekr1__R1-671B": "deepseekr1_671b",
    "falcon__falcon-11B": "falcon_11b",
    "gemma4__31b-ollama-testdata": "gemma4_2026_07",
    "glm4__GLM-4-0414": "glm4_0414",
    "glm4__glm-4-9b-chat-1m-hf": "glm4_1m",
    "glm4_moe__GLM-4.6": "glm4_6",
    "granite3__3.1": "granite3_1",
    "granite3__3.3": "granite3_3",
    "granite4__4.1": "granite4_1",
    "hy3__effort_high": "hy3_high",
    "lfm2__LFM2": "lfm2_0",
    "lfm2__LFM2.5-8B": "lfm2_5_8b",
    "llama3__Llama-3": "llama3_0",
    "llama3__Llama-3.2": "llama3_2",
    "minimax1__M1": "minimax1_m1",
    "mistral__v0.1": "mistral_v0_1",
    "mistral__v0.2": "mistral_v0_2",
    "mistral_small__2501-gguf": "mistral_small_2501",
    "mistral_small__3.2-2506": "mistral_small_3_2",
    "orion__ov": "orion_ov",
    "phi4__gguf": "phi4_gguf",
    "phi__Phi-3-medium": "phi3_medium",
    "phi__Phi-3.5-mini": "phi3_5_mini",
    "qwen3__QwQ-32B": "qwq",
    "qwen3__Qwen3-Thinking-2507": "qwen3_thinking",
    "qwen__Qwen2": "qwen2",
    "qwen__Qwen2.5-Coder": "qwen2_5_coder",
    "yi__Yi-Coder": "yi_coder",
    "yi__Yi-chat": "yi_chat",
}
OPTIONS = {"enable_thinking": {"enable_thinking": True}, "enable_thinking_false": {"enable_thinking": False}}


@dataclass
class Count:
    """Cases of one file: compared, equal to the published text, equal in the peer's rendering; and those apart, refused."""

    cases: int = 0
    equal: int = 0
    peer: int = 0
    apart: int = 0
    refused: int = 0


def main() -> None:
    """Print a line per file, and sums per grade of evidence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    conversations = json.loads((options.folder / "cases.json").read_text(encoding="utf-8"))
    plugins, sums = Plugins(), defaultdict(Count)
    print(f"{'file':32} {'template':24} evidence    equal     peer refused")
    for file in sorted(options.folder.glob("*.json")):
        if file.stem in ("cases", "README") or (options.names and file.stem not in options.names):
            continue
        plain = json.loads(file.read_text(encoding="utf-8"))
        if "meta" not in plain:
            continue
        name, grade = template_of(file.stem), plain["meta"]["evidence"]
        count = compare(plugins, name, file.stem, plain["cases"], conversations)
        print(f"{file.stem:32} {name:24} {grade:8} {figures(count)}")
        for field in vars(count):
            setattr(sums[grade], field, getattr(sums[grade], field) + getattr(count, field))
    for grade, count in sorted(sums.items()):
        print(f"{'evidence ' + grade:66} {figures(count)}")


def figures(count: Count) -> str:
    """Equal cases, the peer's, and refusals of those apart, each of how many."""
    return f"{count.equal:4}/{count.cases:<4} {count.peer:4}/{count.cases:<4} {count.refused:3}/{count.apart}"


def template_of(stem: str) -> str:
    """The template that a file is about."""
    bare, _, variant = stem.partition("__")
    return bare if variant in OPTIONS else GENERATIONS.get(stem, stem)


def compare(plugins: Plugins, name: str, stem: str, cases: Mapping[str, Any], conversations: Mapping[str, Any]) -> Count:
    """Render every case of one file."""
    count = Count()
    options = OPTIONS.get(stem.partition("__")[2], {})
    renderer = declared(plugins.templates.get(name).spec, plugins, options=options) if name in plugins.templates else None
    for case, expected in cases.items():
        conversation = conversations[case]
        text, learned = rendered(renderer, conversation)
        if expected.get("official_drops") or expected.get("official_refuses"):
            count.apart += 1
            count.refused += text is None
            continue
        count.cases += 1
        prompt = bool(conversation.get("prompt"))
        count.equal += text == expected["text"] and (prompt or learned == joined(expected.get("learned") or ()))
        count.peer += "peer_text" not in expected
    return count


def rendered(renderer: Any, conversation: Mapping[str, Any]) -> tuple[str | None, str]:
    """Text and learned text of a conversation, ``None`` where it is refused or there is no such template."""
    if renderer is None:
        return None, ""
    try:
        turns = conversation_from_openai(conversation["messages_openai"], conversation.get("tools"))
        made = renderer.render(turns, generation_prompt=bool(conversation.get("prompt")))
    except (TunesmithError, ValueError):
        return None, ""
    return made.text, joined([made.text[start:end] for start, end in made.learned])


def joined(stretches: Any) -> str:
    """Learned stretches without the white space that may follow a stop token."""
    return "\0".join(stretch.rstrip() for stretch in stretches if stretch.strip())


if __name__ == "__main__":
    main()
