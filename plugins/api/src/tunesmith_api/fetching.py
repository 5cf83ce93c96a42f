"""Fetching what a stranger names, without becoming the stranger's hand inside this network.

Https only. Every address that the name has must be public, and the connection is made to the very address that was looked at,
so that a name cannot lead elsewhere a moment later. The same for each redirect. Size and time are bounded.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from tunesmith_api.errors import ApiError, bad

REDIRECTS = 3
SECONDS = 20.0
_MOVED = (301, 302, 303, 307, 308)

Resolve = Callable[[str, int], list[str]]


def addresses(host: str, port: int) -> list[str]:
    """Every address of a name."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, also what a translated one really leads to."""
    try:
        ip: Any = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def fetch(
    url: str, most: int, *, resolve: Resolve = addresses, public: Callable[[str], bool] = is_public,
    context: ssl.SSLContext | None = None,
) -> bytes:  # fmt: skip
    """What lies at ``url``, at most ``most`` bytes of it.

    :raises ApiError: the URL may not be fetched (403), or cannot be.
    """
    end = time.monotonic() + SECONDS
    for _ in range(REDIRECTS + 1):
        split = _checked(url)
        host, port = str(split.hostname), split.port or 443
        connection = _Pinned(host, port, _public_address(host, port, resolve, public), context, end)
        try:
            moved, data = _get(connection, split, most, end)
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise bad(f"{host} could not be read: {type(error).__name__}.") from error
        finally:
            connection.finish()
        if moved is None:
            return data
        url = urljoin(url, moved)
    raise bad(f"The URL leads on more than {REDIRECTS} times.")


def _checked(url: str) -> SplitResult:
    try:
        split = urlsplit(url)
        wrong = split.port == 0 or not split.hostname or split.username is not None
    except ValueError as error:
        raise bad(f"This is no URL: {error}.") from error
    if split.scheme != "https" or wrong:
        raise ApiError(403, "Only https URLs are fetched, and none with a user in them.")
    return split


def _public_address(host: str, port: int, resolve: Resolve, public: Callable[[str], bool]) -> str:
    try:
        found = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise bad(f"The name {host!r} has no address.") from error
    if not found or not all(map(public, found)):
        raise ApiError(403, "Only public addresses are fetched from.")
    return found[0]


class _Pinned(http.client.HTTPSConnection):
    """A connection to one address, whose certificate must be that of the name.

    It is cut at ``end``, as of :func:`time.monotonic`, however slowly the other side speaks.
    """

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext | None, end: float) -> None:
        self._tls = context or ssl.create_default_context()
        super().__init__(host, port, timeout=5, context=self._tls)
        self._address = address
        self._end = threading.Timer(end - time.monotonic(), self._cut)
        self._end.daemon = True

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._held = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self._end.start()
        self.sock.do_handshake()

    def finish(self) -> None:
        """Let go of it; ``close`` is called earlier, when the other side has said that it will."""
        self._end.cancel()
        self.close()

    def _cut(self) -> None:
        with suppress(OSError):  # it was closed a moment ago
            socket.socket.shutdown(self._held, socket.SHUT_RDWR)  # that of TLS would spoil the object for who reads


def _get(connection: _Pinned, split: SplitResult, most: int, end: float) -> tuple[str | None, bytes]:
    """Where it leads on to, or what is there."""
    path = (split.path or "/") + (f"?{split.query}" if split.query else "")
    connection.request("GET", path, headers={"User-Agent": "tunesmith", "Accept-Encoding": "identity"})
    answer = connection.getresponse()
    if answer.status in _MOVED and (moved := answer.getheader("Location")):
        return moved, b""
    if answer.status != 200:
        raise bad(f"{split.hostname} answered with status {answer.status}.")
    data = bytearray()
    while chunk := answer.read1(65536):
        data += chunk
        if len(data) > most:
            raise bad("What lies there is larger than a request may be (api_max_body).")
    if time.monotonic() > end:
        raise bad("It took too long to read.")
    return None, bytes(data)
