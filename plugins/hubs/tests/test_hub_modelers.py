"""Modelers by its real library, over TLS from a server on this machine that answers to the hub's own host name."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from tunesmith.errors import TunesmithError
from tunesmith_hubs.modelers import Modelers
from tunesmith_hubs.repository import Name, Repository

pytest.importorskip("openmind_hub", reason="openmind_hub is not installed: its pins clash, see the README of this package")

A, HOST = "a" * 40, "modelers.cn"
FILES = {"train.jsonl": b'{"text": "one"}\n', "README.md": b"# Rows\n"}


class Handler(BaseHTTPRequestHandler):
    """The calls that openmind_hub makes for a listing and a file."""

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if "acme/rows" not in parts.path:
            self.reply(404, json.dumps({"code": "not_found", "msg": "not found"}).encode())
        elif "/media/" in parts.path:
            self.reply(200, FILES[parts.path.rpartition("/")[2]])
        elif parts.path.endswith("/info"):
            data = FILES[query["path"]]
            etag = hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
            url = f"https://{HOST}:{self.server.server_port}/api/v1/file/acme/rows/{A}/media/{query['path']}"  # type: ignore
            self.json({"branch_last_commit": A, "etag": etag, "size": len(data), "url": url})
        elif "/file/" in parts.path:
            tree = [
                {"type": "file", "path": path, "name": path, "size": len(data), "is_lfs": False} for path, data in FILES.items()
            ]
            self.json(
                {"tree": tree, "last_commit": {"commit": {"commit_sha": A, "created": "2026-01-01T00:00:00Z", "message": "m"}}}
            )
        else:
            self.json({"id": "1", "name": "rows", "owner": "acme"})

    def json(self, plain: object) -> None:
        self.reply(200, json.dumps({"data": plain}).encode())

    def reply(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A running server and who vouches for it; one for all tests, because the library keeps its connections."""
    authority, trusted = trustme.CA(), tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://{HOST}:{server.server_port}", trusted
    server.shutdown()
    server.server_close()


@pytest.fixture
def modelers(address: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Modelers:
    from openmind_hub.plugins.openmind import file_download, om_api

    url, cert = address
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1" if host == HOST else host, *rest, **more)
    )
    for module in (file_download, om_api):
        monkeypatch.setattr(module, "ENDPOINT", url)
    monkeypatch.setattr(om_api.repo_info.__self__, "endpoint", url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return Modelers(tmp_path / "hub", None)


def test_a_repository_is_listed_and_its_files_come_at_its_commit(modelers: Modelers, tmp_path: Path) -> None:
    repository = Repository(modelers, Name("acme/rows", "dataset", "main", "om_hub_token"), tmp_path / "memory")
    assert repository.version == A
    assert set(repository.listing.files) == set(FILES)
    assert repository.file("train.jsonl").read_bytes() == FILES["train.jsonl"]


def test_a_name_that_is_not_there_is_said(modelers: Modelers, tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="Modelers has no acme/none at main, or it is private"):
        _ = Repository(modelers, Name("acme/none", "dataset", "main", "om_hub_token"), tmp_path / "memory").version
