"""Fetching: only https, only public addresses, and the address that was looked at; a TLS server stands for the internet."""

from __future__ import annotations

import http.server
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import trustme
from tunesmith_api.errors import ApiError
from tunesmith_api.fetching import fetch, is_public
from tunesmith_api.media import MediaDesk
from tunesmith_api.options import ApiOptions

NAME = "pictures.example"
#: Addresses of networks at home and at work.
PRIVATE = [f"{begin}.0.3" for begin in ("10.1", "172.16", "192.168")]
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(1000)


class Pictures(http.server.BaseHTTPRequestHandler):
    """``/a.png`` is a picture, ``/to?URL`` leads to URL, ``/endless`` never ends, ``/slow…`` takes its time."""

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if self.path == "/slow-body" else b"X: "))
            for _ in range(100):
                self.wfile.write(b"a")
                time.sleep(0.1)
            return
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/a.png", "/endless") else 404)
        self.end_headers()
        while self.path == "/endless":
            self.wfile.write(PICTURE)
        self.wfile.write(PICTURE)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def internet() -> Iterator[tuple[int, ssl.SSLContext]]:
    """The port of a TLS server on this machine, and a context that trusts it."""
    authority = trustme.CA()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(served)
    server.socket = served.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    yield server.server_port, trusting
    server.shutdown()
    server.server_close()


def get(url: str, internet: tuple[int, ssl.SSLContext], *answers: list[str], most: int = 2**20) -> bytes:
    """Fetch with a name server that gives ``answers`` in turn; 127.0.0.1 counts as public, as the internet lies there."""
    port, context = internet
    given = iter(answers or [["127.0.0.1"]] * 9)
    return fetch(
        url.replace("PORT", str(port)),
        most,
        resolve=lambda host, port: next(given),
        public=lambda address: address == "127.0.0.1" or is_public(address),
        context=context,
    )


def test_what_lies_at_a_public_https_address_is_fetched(internet: tuple[int, ssl.SSLContext]) -> None:
    assert get(f"https://{NAME}:PORT/a.png", internet) == PICTURE
    assert get(f"https://{NAME}:PORT/to?/a.png", internet) == PICTURE


@pytest.mark.parametrize(
    "url",
    [
        f"http://{NAME}/a.png",
        f"ftp://{NAME}/a.png",
        f"https://me@{NAME}/a.png",
        "https:///a.png",
        f"https://{NAME}:0/a.png",
        f"https://{NAME}:PORT/to?http://{NAME}/a.png",  # a redirect away from https
        f"https://{NAME}:PORT/to?file:///etc/passwd",
    ],
)
def test_nothing_but_https_is_fetched(internet: tuple[int, ssl.SSLContext], url: str) -> None:
    with pytest.raises(ApiError, match="Only https") as caught:
        get(url, internet)
    assert caught.value.status == 403


def test_every_address_of_a_name_must_be_public(internet: tuple[int, ssl.SSLContext]) -> None:
    with pytest.raises(ApiError, match="Only public"):
        get(f"https://{NAME}:PORT/a.png", internet, ["127.0.0.1", PRIVATE[0]])


def test_a_redirect_is_looked_at_again(internet: tuple[int, ssl.SSLContext]) -> None:
    with pytest.raises(ApiError, match="Only public"):
        get(f"https://{NAME}:PORT/to?https://metadata.example/", internet, ["127.0.0.1"], ["169.254.169.254"])


def test_a_name_is_asked_for_once_and_that_address_is_connected_to(internet: tuple[int, ssl.SSLContext]) -> None:
    """A name that leads elsewhere when asked again (DNS rebinding) is never asked again."""
    assert get(f"https://{NAME}:PORT/a.png", internet, ["127.0.0.1"]) == PICTURE


def test_the_certificate_must_be_that_of_the_name(internet: tuple[int, ssl.SSLContext]) -> None:
    with pytest.raises(ApiError, match="could not be read: SSLCertVerificationError"):
        get("https://other.example:PORT/a.png", internet)


def test_size_redirects_and_mistakes_have_an_end(internet: tuple[int, ssl.SSLContext]) -> None:
    for url, says in (
        (f"https://{NAME}:PORT/endless", "larger"),
        (f"https://{NAME}:PORT/to?/to?/to?/to?/a.png", "more than 3 times"),
        (f"https://{NAME}:PORT/none", "status 404"),
        (f"https://{NAME}:PORT/ü", "could not be read"),
        (f"https://{NAME}:PORT/a b\x7f", "could not be read"),
    ):
        with pytest.raises(ApiError, match=says):
            get(url, internet, most=10_000)


@pytest.mark.parametrize("path", ["/slow-head", "/slow-body"])
def test_who_speaks_slowly_is_cut_off(internet: tuple[int, ssl.SSLContext], path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and all of them would take ten seconds."""
    monkeypatch.setattr("tunesmith_api.fetching.SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(ApiError, match=r"too long|could not be read"):
        get(f"https://{NAME}:PORT{path}", internet)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0"],
)
def test_no_spelling_of_this_machine_is_fetched_from(host: str) -> None:
    """The system's own resolver reads them, not a pattern of ours."""
    with pytest.raises(ApiError, match="Only public") as caught:
        fetch(f"https://{host}/a.png", 1000)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "address",
    [
        *PRIVATE,
        *("127.0.0.1", "0.0.0.0", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", f"::ffff:{PRIVATE[0]}", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::"),
        *("nonsense", ""),
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)
    ipaddress.ip_address(address)


def test_files_that_were_made_for_a_request_are_gone_after_it() -> None:
    options = ApiOptions(api_media_urls=True)
    with MediaDesk(options, get=lambda url, most: PICTURE) as desk:
        path = desk.file("https://pictures.example/a.png", "image", "messages[0].content[0]")
        assert path.read_bytes() == PICTURE
        with pytest.raises(ApiError, match="no video"):
            desk.file("https://pictures.example/a.png", "video", "messages[0].content[1]")
    assert not path.exists()


def test_a_request_may_have_only_so_many() -> None:
    with MediaDesk(ApiOptions(api_media_urls=True), get=lambda url, most: PICTURE) as desk:
        for _ in range(64):
            desk.file("https://pictures.example/a.png", "image", "messages[0].content[0]")
        with pytest.raises(ApiError, match="64"):
            desk.file("https://pictures.example/a.png", "image", "messages[0].content[0]")
