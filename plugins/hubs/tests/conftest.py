"""Real servers on this machine that speak what the hubs' libraries ask for: Hugging Face, ModelScope, S3."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest


@dataclass
class Repo:
    """A repository: its commits in order, each the files at that time; ``token`` is what a private or gated one asks for."""

    commits: dict[str, dict[str, bytes]]
    token: str = ""
    gated: bool = False

    def commit(self, revision: str) -> str | None:
        head = list(self.commits)[-1]
        return head if revision in ("main", "master") else revision if revision in self.commits else None


@dataclass
class World:
    """What the server knows and what it was asked. ``cut``: file → bytes after which its download breaks off, once."""

    repos: dict[str, Repo] = field(default_factory=dict)
    buckets: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def add(self, name: str, files: dict[str, bytes | str], commit: str = "a" * 40, **more: Any) -> None:
        plain = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        repo = self.repos.setdefault(name, Repo({}, **more))
        repo.commits[commit] = plain


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.world.asked.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        path = unquote(parts.path).strip("/").split("/")
        if path[0] == "bucket":
            self.s3("/".join(path[1:]), query)
        elif path[:2] == ["api", "v1"]:
            self.modelscope(path[2:], query)
        elif path[0] == "cdn":
            self.content(self.world.repos["/".join(path[1:4])].commits[path[4]]["/".join(path[5:])], "/".join(path[5:]))
        else:
            self.hugging_face(path)

    # ---- Hugging Face ----

    def hugging_face(self, path: list[str]) -> None:
        if path[0] == "api":
            kind, name, rest = path[1], "/".join(path[2:4]), path[4:]
        else:
            kind = "datasets" if path[0] == "datasets" else "models"
            path = path[1:] if kind == "datasets" else path
            name, rest = "/".join(path[:2]), path[2:]
        repo = self.world.repos.get(f"{kind}/{name}")
        if repo is None:
            self.refuse(401, "RepoNotFound")
        elif repo.token and self.headers.get("Authorization") != f"Bearer {repo.token}":
            self.refuse(403, "GatedRepo") if repo.gated else self.refuse(401, "RepoNotFound")
        elif (commit := repo.commit(rest[1] if len(rest) > 1 else "main")) is None:
            self.refuse(404, "RevisionNotFound")
        elif rest[0] == "resolve":
            self.resolve(repo, f"{kind}/{name}", commit, "/".join(rest[2:]))
        elif rest[0] == "tree":
            entries = [{"type": "file", "path": p, "size": len(b), "oid": oid(b)} for p, b in repo.commits[commit].items()]
            self.json(entries)
        else:
            siblings = [{"rfilename": p} for p in repo.commits[commit]]
            self.json(
                {"id": name, "sha": commit, "siblings": siblings, "private": False, "tags": [], "downloads": 0, "likes": 0}
            )

    def resolve(self, repo: Repo, name: str, commit: str, file: str) -> None:
        data = repo.commits[commit].get(file)
        if data is None:
            self.refuse(404, "EntryNotFound")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{oid(data)}"'}
        if len(data) > 1000:  # as files of LFS: to another place
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
            cdn = self.world.url.replace("127.0.0.1", "localhost")
            self.reply(302, b"", {**headers, "Location": f"{cdn}/cdn/{name}/{commit}/{file}"})
        else:
            self.content(data, file, headers)

    # ---- ModelScope ----

    def modelscope(self, path: list[str], query: dict[str, str]) -> None:
        name = "/".join(path[:3])
        repo = self.world.repos.get(name)
        allowed = repo and (
            not repo.token or repo.token in str(self.headers.get("Authorization")) + str(self.headers.get("Cookie"))
        )
        commit = repo.commit(query.get("Revision", "master")) if repo else None
        if repo is None or commit is None:
            self.json({"Code": 10010205001, "Message": "record not found", "Success": False}, 404)
        elif not allowed:
            self.json({"Code": 10010200403, "Message": "forbidden", "Success": False}, 403)
        elif path[3:] in (["repo", "tree"], ["repo", "files"]):
            files = [
                {"Path": p, "Name": p, "Type": "blob", "Size": len(b), "Sha256": hashlib.sha256(b).hexdigest()}
                for p, b in repo.commits[commit].items()
            ]
            self.json({"Code": 200, "Data": {"Files": files, "TotalCount": len(files)}, "Success": True})
        else:
            self.content(repo.commits[commit][query["FilePath"]], query["FilePath"])

    # ---- S3 ----

    def s3(self, key: str, query: dict[str, str]) -> None:
        if "list-type" in query:
            prefix = query.get("prefix", "")
            found = {k: v for k, v in self.world.buckets.items() if k.startswith(prefix)}
            rows = "".join(
                f"<Contents><Key>{escape(k)}</Key><Size>{len(v)}</Size><ETag>&quot;{oid(v)}&quot;</ETag>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                for k, v in found.items()
            )
            head = "<Name>bucket</Name><IsTruncated>false</IsTruncated>"
            self.reply(200, f"<ListBucketResult>{head}{rows}</ListBucketResult>".encode(), {"Content-Type": "application/xml"})
        elif key in self.world.buckets:
            self.content(self.world.buckets[key], key, {"ETag": f'"{oid(self.world.buckets[key])}"'})
        else:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})

    # ---- HTTP ----

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def json(self, plain: object, status: int = 200) -> None:
        self.reply(status, json.dumps(plain).encode(), {"Content-Type": "application/json"})

    def content(self, data: bytes, file: str, headers: dict[str, str] | None = None) -> None:
        status, headers = 200, {**(headers or {}), "Accept-Ranges": "bytes"}
        if wanted := self.headers.get("Range"):
            self.world.ranges.append(wanted)
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            last = min(int(end), len(data) - 1) if end else len(data) - 1
            headers |= {"Content-Range": f"bytes {start}-{last}/{len(data)}"}
            status, data = 206, data[int(start) : last + 1]
        self.reply(status, data, headers, self.world.cut.pop(file, None) if self.command == "GET" else None)

    def reply(self, status: int, data: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True


def oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A running server that all hubs' libraries are pointed at, with caches of their own and hubs switched on."""
    from huggingface_hub import constants

    known = World()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"world": known}))
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", known.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", known.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", known.url)
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "modelscope"))
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    yield known
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Switches hubs off, when called."""
    from huggingface_hub import constants

    def switch_off() -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    return switch_off
