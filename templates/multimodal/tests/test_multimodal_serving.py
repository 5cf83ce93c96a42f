"""Pictures in requests: a real server with a model that has learned colours, asked over HTTP."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tunesmith.testing.small_pictures import ASKED

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def server(place: Path, trained: Path) -> Iterator[str]:
    """Its address; it may read the folder of pictures, and ``media_dir``, which is for rows, is another one."""
    words = [
        f"media_dir={trained}",
        f"model_name_or_path={trained}",
        "template=qwen2_vl",
        "do_sample=false",
        f"safe_media_path={place / 'pictures'}",
    ]
    line = [sys.executable, "-m", "tunesmith.cli.main", "api", "--port", "0", *words]
    process = subprocess.Popen(line, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    threading.Thread(target=process.stdout.read, daemon=True).start()
    try:
        assert " at http" in said
        yield said.partition(" at ")[2].split("/v1")[0]
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def ask(server: str) -> Ask:
    """Post a body and return the answer's; refusals too."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        head = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
        request = urllib.request.Request(
            server + path, json.dumps({"max_tokens": 8, "model": "gpt-3.5-turbo", **body}).encode(), head
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))

    return post


def rows(place: Path, count: int) -> list[tuple[Path, str]]:
    """Pictures that the model has not seen, and their colours."""
    held = json.loads((place / "held.json").read_text())[:count]
    return [(place / "pictures" / row["images"][0], row["messages"][1]["content"]) for row in held]


def chat(url: str) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": ASKED}]
    return {"messages": [{"role": "user", "content": content}]}


def test_data_urls_and_files_are_seen(place: Path, ask: Ask) -> None:
    right = 0
    for file, colour in rows(place, 8):
        data = f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"
        said = [ask("/v1/chat/completions", chat(url))["choices"][0]["message"]["content"] for url in (data, file.name)]
        assert said[0] == said[1]
        right += said[0] == colour
    assert right >= 6


def test_anthropics_form_is_seen_too(place: Path, ask: Ask) -> None:
    for file, _ in rows(place, 2):
        data = base64.b64encode(file.read_bytes()).decode()
        source = {"type": "base64", "media_type": "image/png", "data": data}
        content = [{"type": "image", "source": source}, {"type": "text", "text": ASKED}]
        said = ask("/v1/messages", {"messages": [{"role": "user", "content": content}]})
        wanted = ask("/v1/chat/completions", chat(f"data:image/png;base64,{data}"))
        assert said["content"][0]["text"] == wanted["choices"][0]["message"]["content"]
        assert said["usage"]["input_tokens"] == wanted["usage"]["prompt_tokens"]


def test_what_is_no_picture_is_refused(place: Path, ask: Ask) -> None:
    broken = base64.b64encode((place / "pictures" / "held0.png").read_bytes()[:40]).decode()
    for url, told in ((f"data:image/png;base64,{broken}", "is no image"), ("../held.json", "safe_media_path")):
        assert told in json.dumps(ask("/v1/chat/completions", chat(url)))
