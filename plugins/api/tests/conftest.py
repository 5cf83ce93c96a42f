"""One model that has learned its answers, and one server with it for every test that leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import Running
from .taught import make_adapter, make_taught

KEY = "sk-a-key"


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder."""
    return make_taught(tmp_path_factory.mktemp("api") / "model")


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that requests may name files in, with a sibling and a link that lead out of it."""
    safe = tmp_path_factory.mktemp("media") / "safe"
    evil = safe.with_name("safe_evil")
    safe.mkdir()
    evil.mkdir()
    picture = b"\x89PNG\r\n\x1a\n" + bytes(100)
    for folder in (safe, evil):
        (folder / "a.png").write_bytes(picture)
    (safe / "text.png").write_text("no picture")
    (safe / "link.png").symlink_to(evil / "a.png")
    return safe


@pytest.fixture(scope="session")
def server(taught: Path, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a key and an adapter."""
    adapter = make_adapter(taught, tmp_path_factory.mktemp("adapter") / "loud")
    words = (f"model_name_or_path={taught}", "do_sample=false", "max_new_tokens=64", f"safe_media_path={media}")
    running = Running(*words, f"serve_adapters=loud={adapter}", "api_max_body=1", "max_concurrent=4", API_KEY=KEY)
    yield running
    running.close()
