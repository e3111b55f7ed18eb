"""What the server counts, for Prometheus: `/metrics` of one process or, with several workers, of all together.

Latency is from the request's head to its answer, by join and status of HTTP; features are counted by their status; the
store's reads are timed by themselves. How old each upload is, is looked up when somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from zipline.clock import SECOND, monotonic, now
from zipline.fetch.results import STATUSES, Result
from zipline.stores.contract import Ask, Generation, Store, StoreError

disable_created_metrics()  # type: ignore[no-untyped-call]
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
Ages = Callable[[], Mapping[str, "int | None"]]
"""Group-by -> when its upload ended, in microseconds."""


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        labels = ("join",)
        self._requests = Counter("zipline_requests", "Requests answered.", ("join", "code"), registry=registry)
        self._seconds = Histogram(
            "zipline_request_seconds", "Time of a request.", labels, buckets=_FAST, registry=registry
        )
        self._features = Counter("zipline_features", "Features given.", ("join", "status"), registry=registry)
        self._rows = Counter("zipline_rows", "Rows answered.", labels, registry=registry)
        self._batches = Counter("zipline_fetches", "Fetches, each of all that waited.", labels, registry=registry)
        self._reads = Histogram(
            "zipline_store_read_seconds", "Time of a read of the store.", ("store",), buckets=_FAST, registry=registry
        )
        self._cached = Counter(
            "zipline_cache_lookups", "Keys looked for in caches.", ("group_by", "outcome"), registry=registry
        )
        self._failures = Counter("zipline_store_failures", "Reads that failed.", ("store",), registry=registry)
        self.reloads = Counter("zipline_reloads", "Changed definitions taken up.", ("outcome",), registry=registry)
        self.logged = Counter("zipline_log_rows", "Rows for the request log.", ("outcome",), registry=registry)
        self.waiting = Gauge(
            "zipline_waiting_rows", "Rows that wait.", labels, registry=registry, multiprocess_mode="livesum"
        )
        self._fetches: dict[str, Any] = {}
        self._children: dict[tuple[str, int], Any] = {}

    def answered(self, join: str, code: int, began: float) -> None:
        """One request; `join` is "" where it named none."""
        child = self._children.get((join, code))
        if child is None:
            child = self._requests.labels(join, str(code)), self._seconds.labels(join)
            self._children[join, code] = child
        child[0].inc()
        child[1].observe(monotonic() - began)

    def fetched(self, join: str, result: Result) -> None:
        """One fetch and what it gave."""
        children = self._fetches.get(join)
        if children is None:
            of_status = [self._features.labels(join, status) for status in STATUSES]
            children = self._fetches[join] = (self._batches.labels(join), self._rows.labels(join), of_status)
        batches, rows, of_status = children
        batches.inc()
        rows.inc(len(result))
        for child, count in zip(of_status, result.count_statuses(), strict=True):
            if count:
                child.inc(count)

    def looked(self, group_by: str, hits: int, misses: int) -> None:
        """Keys of a group-by that a cache had, and that it had not."""
        if hits:
            self._cached.labels(group_by, "hit").inc(hits)
        if misses:
            self._cached.labels(group_by, "miss").inc(misses)

    def measured(self, store: Store, kind: str) -> Store:
        """The store, its reads timed."""
        return _Measured(store, self._reads.labels(kind), self._failures.labels(kind))

    def page(self, ages: Ages) -> bytes:
        """The text that Prometheus reads."""
        registry = self._registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        seen = CollectorRegistry()
        seen.register(_Uploads(ages))
        return bytes(generate_latest(registry)) + bytes(generate_latest(seen))

    def ended(self) -> None:
        """The process ends: its gauges no longer count."""
        if FOLDER in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


class _Uploads:
    """How old uploads are, when asked."""

    def __init__(self, ages: Ages) -> None:
        self._ages = ages

    def collect(self) -> Iterable[Any]:
        family = GaugeMetricFamily(
            "zipline_upload_age_seconds",
            "Since the end of the day that an upload holds.",
            labels=["group_by"],
        )
        for name, end in self._ages().items():
            family.add_metric([name], float("nan") if end is None else (now() - end) / SECOND)
        yield family


class _Measured:
    """A store whose reads are timed, and whose failures are counted. Everything else is the store's own."""

    def __init__(self, store: Store, seconds: Any, failures: Any) -> None:
        self._store, self._seconds, self._failures = store, seconds, failures

    def current(self, space: str) -> Generation | None:
        try:
            return self._store.current(space)
        except StoreError:
            self._failures.inc()
            raise

    def generations(self, space: str) -> list[Generation]:
        try:
            return self._store.generations(space)
        except StoreError:
            self._failures.inc()
            raise

    def get(self, asks: Sequence[Ask]) -> list[list[Any]]:
        began = monotonic()
        try:
            return self._store.get(asks)
        except StoreError:
            self._failures.inc()
            raise
        finally:
            self._seconds.observe(monotonic() - began)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


__all__ = ["FOLDER", "Metrics"]
