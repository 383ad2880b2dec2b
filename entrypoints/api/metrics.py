"""The ledger's counts as Prometheus reads them."""

from collections.abc import Iterable
from itertools import product
from typing import Any, Final

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from entrypoints.api.desk import OPERATORS, TOKEN, At, Row
from entrypoints.api.problems import refusals
from muster.ledger import Book
from muster.states import BatchState, BreakerState, ItemState, ProxyState, SessionState

TEXT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text."}
}

router: Final = APIRouter(tags=["server"], dependencies=[TOKEN, OPERATORS])


@router.get("/metrics", response_class=Response, responses=TEXT | refusals(404))
async def metrics(desk: At) -> Response:
    """Batches by state, items of open batches by state, the upstreams, the endpoint pairs, the drivers that live."""
    return Response(generate_latest(await _registry(desk.book)), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _registry(book: Book) -> CollectorRegistry:
    """All of it as it is now; made anew for each look, so that nothing old is left in it."""
    registry = CollectorRegistry()
    batches = Gauge("muster_batches", "Batches by state.", ["state"], registry=registry)
    for state, n in (dict.fromkeys(BatchState, 0) | await book.pages.batches_by_state()).items():
        batches.labels(str(state)).set(n)
    items = Gauge("muster_items", "Items of open batches by state.", ["state"], registry=registry)
    for state, n in (dict.fromkeys(ItemState, 0) | await book.pages.open_items_by_state()).items():
        items.labels(str(state)).set(n)
    _upstreams(registry, await book.upstreams.all())
    _pairs(registry, await book.pairs.all())
    Gauge("muster_drivers_alive", "Drivers that live.", registry=registry).set(len(await book.drivers.alive()))
    return registry


def _pairs(registry: CollectorRegistry, pairs: Iterable[Row]) -> None:
    """A session that is never given back, or proxies that die, show here first."""
    health = Gauge("muster_pairs", "Endpoint pairs by health.", ["proxy", "session"], registry=registry)
    leased = Gauge("muster_pairs_leased", "Endpoint pairs that somebody holds.", registry=registry)
    for proxy, session in product(ProxyState, SessionState):
        health.labels(str(proxy), str(session)).set(0)
    for row in pairs:
        health.labels(row["state"], row["session"]).inc()
        leased.inc(row["holder"] is not None)


def _upstreams(registry: CollectorRegistry, upstreams: Iterable[Row]) -> None:
    names = ["upstream"]
    calls = Gauge("muster_upstream_calls_in_flight", "Calls in flight.", names, registry=registry)
    waits = Gauge("muster_upstream_lanes_waiting", "Lanes that wait for a call.", names, registry=registry)
    breaker = Gauge("muster_upstream_breaker", "1 for the breaker's state.", [*names, "state"], registry=registry)
    for row in upstreams:
        calls.labels(row["name"]).set(row["in_flight"])
        waits.labels(row["name"]).set(row["in_line"])
        for state in BreakerState:
            breaker.labels(row["name"], str(state)).set(row["breaker"] == state)
