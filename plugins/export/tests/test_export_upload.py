"""Uploads to a hub: a real server on this machine, the hub's own library, and what is said when it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tunesmith.cli.main import main

TOKEN = "hf_token_of_the_tests"


@dataclass
class Hub:
    """What it holds: files by repository and path. ``full``: it takes no more large files."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    branches: list[str] = field(default_factory=list)
    full: bool = False
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].strip("/").split("/")
        if path[0] == "blob":
            self.blob(path[1], body)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.say(401, {"error": "Invalid credentials"})
        elif path == ["api", "repos", "create"]:
            self.create(json.loads(body))
        elif path[-3:] == ["info", "lfs", "objects"] or path[-1] == "batch":
            self.batch(json.loads(body))
        elif "preupload" in path:
            files = json.loads(body)["files"]
            kinds = [{"path": f["path"], "uploadMode": "lfs" if f["size"] > 10_000 else "regular"} for f in files]
            self.say(200, {"files": [{**kind, "shouldIgnore": False} for kind in kinds]})
        elif "branch" in path:
            self.hub.branches.append(path[-1])
            self.say(200, {})
        elif "commit" in path:
            self.hub.branches.append(f"commit to {path[-1]}")
            self.commit("/".join(path[2:4]), body)
        else:
            name = "/".join(path[2:4])
            self.say(200, {"id": name, "modelId": name, "sha": "b" * 40, "siblings": [], "private": False, "tags": []})

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
        self.hub.files.setdefault(name, {})
        self.hub.private[name] = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.say(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def batch(self, wanted: dict[str, Any]) -> None:
        if self.hub.full:
            self.say(507, {"error": "no room"})
            return
        where = f"{self.hub.url}/blob"
        objects = [{**one, "actions": {"upload": {"href": f"{where}/{one['oid']}"}}} for one in wanted["objects"]]
        self.say(200, {"transfer": "basic", "objects": objects})

    def blob(self, oid: str, body: bytes) -> None:
        good = hashlib.sha256(body).hexdigest() == oid
        self.hub.blobs[oid] = body
        self.say(200 if good else 400, {})

    def commit(self, name: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.hub.files[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[name][value["path"]] = self.hub.blobs[value["oid"]]
        self.say(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{'c' * 40}", "commitOid": "c" * 40, "hookOutput": ""})

    def say(self, status: int, plain: Any) -> None:
        data = json.dumps(plain).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The server, and a library that knows it as the hub."""
    held = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": held}))
    held.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", held.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", held.url)
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


def words(base: Path, folder: Path, *more: str) -> list[str]:
    keys = [f"model_name_or_path={base}", f"export_dir={folder / 'out'}", "export_hub_model_id=acme/learned", *more]
    return ["export", *keys, "--no-verify"]


def test_an_export_is_uploaded_whole(hub: Hub, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The repository is made, and what is in it then is what is in the folder."""
    assert main(words(base, tmp_path, f"hf_hub_token={TOKEN}", "export_hub_private=true")) == 0
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    here = {str(file.relative_to(tmp_path / "out")): file.read_bytes() for file in files}
    assert hub.files["acme/learned"] == here
    assert hub.private == {"acme/learned": True}
    assert f"uploaded to {hub.url}/acme/learned at {'c' * 12}" in capsys.readouterr().out


def test_an_export_goes_to_the_branch_that_is_named(hub: Hub, base: Path, tmp_path: Path) -> None:
    """It is made first; the token is told to nobody else."""
    assert main(words(base, tmp_path, f"hf_hub_token={TOKEN}", "export_hub_revision=v1")) == 0
    assert hub.branches == ["v1", "commit to v1"]
    assert "model.safetensors" in hub.files["acme/learned"]
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


def test_what_the_hub_refuses_is_still_there(hub: Hub, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The export stays, and the message says how to send it later."""
    assert main(words(base, tmp_path, "hf_hub_token=hf_wrong")) == 2
    said = capsys.readouterr().err
    assert "The export was not uploaded" in said
    assert "hf upload acme/learned" in said
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not hub.files


def test_an_upload_that_breaks_off_says_so(hub: Hub, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.full = True
    assert main(words(base, tmp_path, f"hf_hub_token={TOKEN}")) == 2
    assert "The export was not uploaded" in capsys.readouterr().err
    assert (tmp_path / "out" / "model.safetensors").is_file()
