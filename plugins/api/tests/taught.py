"""A small model that has learned a few answers by heart: words, a thought, calls. What it says is real, and known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from tunesmith import api
from tunesmith.data.conversation import Call, Conversation, Part, Text, Thought, Turn
from tunesmith.data.tokens import make_encoder
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny
from tunesmith.templates import make_renderer

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HELLO, HELLO_BACK = "Hello", "Hello to you! What can I do?"
RIDDLE, THOUGHT, SOLUTION = "What is 2 and 3?", "Two and three make five.", "It is 5."
ASK_ONE, ASK_TWO = "Weather in Oslo?", "Weather in Oslo and Rome?"
SAID_BEFORE = "I look it up."
#: Question, tools that it comes with, answer.
LESSONS: tuple[tuple[str, bool, tuple[Part, ...]], ...] = (
    (HELLO, False, (Text(HELLO_BACK),)),
    (RIDDLE, False, (Thought(THOUGHT), Text(SOLUTION))),
    (ASK_ONE, True, (Text(SAID_BEFORE), Call("weather", {"city": "Oslo"}))),
    (ASK_TWO, True, (Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"}))),
)


def make_taught(folder: Path) -> Path:
    """Write the model into ``folder``."""
    make_tiny("qwen3", folder)
    plan = api.plan({"model_name_or_path": str(folder), "infer_dtype": "float32"}, command="chat")
    renderer = make_renderer(plan, Plugins(), folder)
    encoder = make_encoder(plan, renderer)
    rows = [encoder.tokens(renderer.render(_conversation(*lesson))) for lesson in LESSONS]
    longest = max(len(row.ids) for row in rows)
    ids, labels = torch.zeros(len(rows), longest, dtype=torch.long), torch.full((len(rows), longest), -100)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        learned = torch.tensor(row.weights) > 0
        labels[at, : len(row.ids)][learned] = torch.tensor(row.ids, dtype=torch.long)[learned]
    _learn(folder, ids, labels)
    return folder


def make_adapter(folder: Path, out: Path) -> Path:
    """An adapter that makes the model in ``folder`` say something else."""
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model: Any = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(out)
    return out


def _learn(folder: Path, ids: torch.Tensor, labels: torch.Tensor) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(300):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.003:
            break
    assert loss < 0.05, f"it has not learned its lessons: {loss}"
    model.save_pretrained(folder)


def _conversation(question: str, tools: bool, answer: tuple[Part, ...]) -> Conversation:
    turns = (Turn("user", (Text(question),)), Turn("assistant", answer))
    return Conversation(turns, (WEATHER,) if tools else ())
