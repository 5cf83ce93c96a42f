"""What this package offers."""

from __future__ import annotations

from tunesmith import FormatSpec, hookimpl

TUNESMITH_API = (1, 0)

COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": None,
    "system": None,
    "tools": None,
    "images": None,
    "videos": None,
    "audios": None,
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": None,
}


@hookimpl
def tunesmith_formats() -> list[FormatSpec]:
    """One format."""
    return [
        FormatSpec(
            "alpaca",
            "tunesmith_alpaca.format:AlpacaFormat",
            "One exchange to a row: instruction, input, output; earlier turns in history.",
            yields=("conversation", "preference", "feedback", "document", "prompt"),
            columns=COLUMNS,
            required={
                "conversation": ("prompt", "response"),
                "preference": ("prompt", "chosen", "rejected"),
                "feedback": ("prompt", "response", "kto_tag"),
                "document": ("prompt",),
                "prompt": ("prompt",),
            },
            default=True,
        )
    ]
