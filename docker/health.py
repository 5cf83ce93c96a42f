"""Whether the container is well: an ``api`` answers on /health, and of anything else it is enough that it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

DEFAULT_PORT = "8000"


def words_of_first_process(file: Path = Path("/proc/1/cmdline")) -> list[str]:
    """The command line that the container was started with."""
    return [word for word in file.read_text(encoding="utf-8").split("\0") if word]


def port_in(words: list[str]) -> str:
    """The port that ``api`` was told to listen on."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.removeprefix("--").partition("=")
        if name in ("port", "api_port"):
            return value if equals else following
    return DEFAULT_PORT


def check(words: list[str]) -> str:
    """What is wrong; empty when nothing is."""
    if "api" not in words:
        return ""
    try:
        with urlopen(f"http://127.0.0.1:{port_in(words)}/health", timeout=4) as answer:
            return "" if answer.status == 200 else f"/health answers {answer.status}"
    except (URLError, TimeoutError, ValueError) as error:
        return f"/health does not answer: {error}"


if __name__ == "__main__":
    sys.exit(check(words_of_first_process()) or 0)
