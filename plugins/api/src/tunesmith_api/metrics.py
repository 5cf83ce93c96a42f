"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """One server's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("tunesmith_requests", "Requests by path and status.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "tunesmith_request_seconds", "How long requests took.", ["path"], registry=registry, buckets=SECONDS
        )
        self.first = Histogram(
            "tunesmith_first_token_seconds", "Time to the first token of an answer.", registry=registry, buckets=SECONDS
        )
        self.tokens = Counter("tunesmith_tokens", "Tokens read (prompt) and written (answer).", ["kind"], registry=registry)
        self.gone = Counter("tunesmith_clients_gone", "Requests whose client left before the answer.", registry=registry)

    def watch(self, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Show how many answers are being generated and how many requests wait."""
        Gauge("tunesmith_answers_running", "Answers being generated.", registry=self.registry).set_function(running)
        Gauge("tunesmith_requests_waiting", "Requests waiting for their turn.", registry=self.registry).set_function(waiting)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
