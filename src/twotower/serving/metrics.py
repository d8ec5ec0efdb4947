"""What the service counts, in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from threading import Lock

__all__ = ["Metrics"]

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counts of requests by route and status, and how long they took; other figures are asked for when they are read.

    Example:
        >>> metrics = Metrics()
        >>> metrics.observe("/v1/recommend", 200, 0.002)
        >>> print(metrics.text({"twotower_items": ("gauge", "Items.", 3)}).splitlines()[-1])
        twotower_items 3
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: A path of the service, or "other": never what a client sent.
            status: HTTP status.
            seconds: From the first byte of the request to the last of the answer.
        """
        with self._lock:
            self._requests[route, status] += 1
            self._buckets[route][bisect_left(_BOUNDS, seconds)] += 1
            self._seconds[route] += seconds

    def text(self, figures: dict[str, tuple[str, str, int | float]]) -> str:
        """All counts, and other figures: by name a kind (gauge, counter), what it is, and its value."""
        with self._lock:
            requests, seconds = dict(self._requests), dict(self._seconds)
            buckets = {route: list(counts) for route, counts in self._buckets.items()}
        lines = [
            "# HELP twotower_requests_total Requests, by route and status.",
            "# TYPE twotower_requests_total counter",
            *(f'twotower_requests_total{{route="{r}",status="{s}"}} {n}' for (r, s), n in sorted(requests.items())),
            "# HELP twotower_request_seconds Seconds until the answer, by route.",
            "# TYPE twotower_request_seconds histogram",
        ]
        for route, counts in sorted(buckets.items()):
            total = 0
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'twotower_request_seconds_bucket{{route="{route}",le="{bound}"}} {total}')
            lines.append(f'twotower_request_seconds_sum{{route="{route}"}} {seconds[route]:.6f}')
            lines.append(f'twotower_request_seconds_count{{route="{route}"}} {total}')
        for name, (kind, meaning, value) in figures.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name} {value!r}"]
        return "\n".join(lines) + "\n"
