"""How fast a model is served, beside the peer (llamafactory) in an environment of its own.

Both servers load the same random model of about 27 million parameters and answer the same requests: sixteen clients at once,
each asking for 64 greedy tokens; and one client alone, for the time to its first token. They take turns, round by round, so
that whatever else the machine does hits both alike; the one that does not answer sits idle. The peer runs at its default (one
answer at a time) and, with ``--peer-concurrent``, at better settings. Printed are tokens per second, latencies, the time to the
first token of a lone request and the time from start to the first answer of ``/v1/models`` (the median of ``--starts`` taken in
turn), each beside the peer's.

    python benchmarks/serve.py --peer-python PEER_ENVIRONMENT/bin/python

Run it with the Python of an ordinary installation (``tunesmith[api]``), as the peer's is: transformers imports some
quantisation libraries at every start wherever it finds them, needed or not. It says so at the end where that has happened.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SIZES = {"hidden": 512, "layers": 8, "heads": 8, "kv-heads": 4, "intermediate": 1536, "vocab": 2048, "context": 1024}
CLIENTS, TOKENS = 16, 64
MODEL = "gpt-3.5-turbo"
#: What transformers imports at every start where it is installed.
SLOW = ("hqq", "torchao")


@dataclass
class Server:
    """One server under test and what was measured of it. ``latencies`` and ``first`` are in seconds."""

    name: str
    line: Sequence[str]
    port: int
    environ: dict[str, str]
    starts: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self, log: Path) -> None:
        """Start it and note how long it takes until it answers."""
        began = time.perf_counter()
        with log.open("wb") as out:
            self.process = subprocess.Popen(self.line, env={**os.environ, **self.environ}, stdout=out, stderr=out)
        while not self.answers():
            if self.process.poll() is not None or time.perf_counter() - began > 300:
                raise SystemExit(f"{self.name} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        self.starts.append(time.perf_counter() - began)

    @property
    def ready(self) -> float:
        """How long a start takes."""
        return statistics.median(self.starts)

    def answers(self) -> bool:
        """Whether it is there."""
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/v1/models")
            return connection.getresponse().status == 200
        return False

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def body(number: int, tokens: int, stream: bool) -> bytes:
    """A request that both understand in the same way."""
    asked = [{"role": "user", "content": f"Tell me the story of number {number}, please."}]
    return json.dumps({"model": MODEL, "messages": asked, "do_sample": False, "max_tokens": tokens, "stream": stream}).encode()


def post(server: Server, sent: bytes) -> http.client.HTTPResponse:
    """Send a request; the answer has begun when this returns."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("POST", "/v1/chat/completions", sent, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{server.name} answered {answer.status}: {answer.read()[:300]!r}")
    return answer


def crowd(server: Server) -> None:
    """Sixteen clients at once: tokens per second of all together, and each one's latency."""
    counts: list[int] = []

    def client(number: int) -> None:
        began = time.perf_counter()
        usage = json.loads(post(server, body(number, TOKENS, False)).read())["usage"]
        server.latencies.append(time.perf_counter() - began)
        counts.append(usage["completion_tokens"])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == CLIENTS, f"{server.name} lost requests"
    server.rates.append(sum(counts) / (time.perf_counter() - began))


def alone(server: Server) -> None:
    """One client: how long its first token takes."""
    began = time.perf_counter()
    answer = post(server, body(99, 8, True))
    for line in answer:
        if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            server.first.append(time.perf_counter() - began)
            break
    answer.read()


# -- the two -----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def servers(model: Path, peer: str | None, settings: Sequence[int], threads: int) -> Iterator[Server]:
    """Ours, and the peer once for each number of concurrent answers."""
    environ = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    port = free_port()
    words = (
        f"model_name_or_path={model}",
        "template=qwen3",
        "enable_thinking=false",
        "infer_dtype=float32",
        "api_verbose=false",
    )
    ours = (sys.executable, "-m", "tunesmith.cli.main", "api", *words, "api_verbose=false", "--port", str(port))
    yield Server("tunesmith", ours, port, environ)
    for concurrent in settings if peer else ():
        port = free_port()
        keys = (
            "--model_name_or_path",
            str(model),
            "--template",
            "qwen3",
            "--enable_thinking",
            "false",
            "--infer_dtype",
            "float32",
        )
        line = (str(peer), "-m", "llamafactory.cli", "api", *keys, "--infer_dtype", "float32")
        theirs = {"API_PORT": str(port), "MAX_CONCURRENT": str(concurrent), "DISABLE_VERSION_CHECK": "1", "API_VERBOSE": "0"}
        yield Server(f"peer, {concurrent} at a time", line, port, {**environ, **theirs})


def make_model(folder: Path) -> Path:
    """The model that both serve; it never ends an answer by itself, so that all are equally long."""
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    line = [sys.executable, "-m", "tunesmith.cli.main", "tiny", "qwen3", "--out", str(folder), *sizes]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder


def measure(found: Sequence[Server], rounds: int, starts: int, folder: Path) -> None:
    """Start all several times, warm them up, then let them answer in turn."""
    for server in [server for _ in range(starts - 1) for server in found]:
        server.start(folder / "start.log")
        server.stop()
    for number, server in enumerate(found):
        server.start(folder / f"{number}.log")
    for server in found:
        post(server, body(0, 8, False)).read()
    for _ in range(rounds):
        for server in found:
            crowd(server)
        for _ in range(3):
            for server in found:
                alone(server)


def table(found: Sequence[Server]) -> Iterator[str]:
    """What was measured, ours first, with ratios to each of the others."""
    yield f"{'':<22} tokens/s   p50     p95    first token   ready"
    for server in found:
        p50, p95 = statistics.median(server.latencies), statistics.quantiles(server.latencies, n=20)[-1]
        first = statistics.median(server.first)
        rate = statistics.median(server.rates)
        yield f"{server.name:<22} {rate:8.1f} {p50:6.2f}s {p95:6.2f}s {first:10.3f}s {server.ready:8.1f}s"
    ours = found[0]
    for peer in found[1:]:
        rate = statistics.median(ours.rates) / statistics.median(peer.rates)
        first = statistics.median(ours.first) / statistics.median(peer.first)
        p95 = statistics.quantiles(ours.latencies, n=20)[-1] / statistics.median(peer.latencies)
        yield f"beside {peer.name}: {rate:.2f} times its tokens/s, our p95 {p95:.2f} of its p50, first token {first:.2f}, " \
            f"ready {ours.ready / peer.ready:.2f}"  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="the interpreter of an environment that has llamafactory")
    parser.add_argument("--peer-concurrent", type=int, nargs="*", default=[1, 16], help="the peer's MAX_CONCURRENT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = list(servers(make_model(folder / "model"), options.peer_python, options.peer_concurrent, options.threads))
        try:
            measure(found, options.rounds, options.starts, folder)
        finally:
            for server in found:
                server.stop()
    print("\n".join(table(found)))
    if slow := [name for name in SLOW if importlib.util.find_spec(name)]:
        print(f"not an ordinary installation: transformers imported {' and '.join(slow)} at every start of ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
