"""Settings as the flags of a server's command line: an argument list, which no shell reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def as_flags(settings: Mapping[str, Any], *, negated: str = "") -> tuple[str, ...]:
    """``{"max_model_len": 4096, "enforce_eager": True}`` → ``("--max-model-len", "4096", "--enforce-eager")``.

    A list becomes several values, a mapping JSON; ``None`` is left out.

    :param negated: what is put before a switch that is ``False``; it is left out where that is empty.
    """
    return tuple(word for key, value in settings.items() for word in _words(key.replace("_", "-"), value, negated))


def _words(flag: str, value: Any, negated: str) -> Iterator[str]:
    match value:
        case None:
            return
        case True:
            yield f"--{flag}"
        case False:
            if negated:
                yield f"--{negated}{flag}"
        case list() | tuple():
            yield f"--{flag}"
            yield from map(str, value)
        case Mapping():
            yield from (f"--{flag}", json.dumps(value))
        case _:
            yield from (f"--{flag}", str(value))
