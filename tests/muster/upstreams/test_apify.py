"""Apify's runs and datasets."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import respx

from muster.outcomes import ErrorKind, Retry
from muster.settings import Settings
from muster.upstreams.answers import Unanswered
from muster.upstreams.apify import ActorRun, Apify
from muster.upstreams.caller import Caller

K = ErrorKind
TOKEN = "apify_api_madeup123"
RUNNING = ActorRun(id="r1", status="RUNNING", dataset_id="d1")
DONE = ActorRun(id="r1", status="SUCCEEDED", dataset_id="d1")


def shown(status: str = "RUNNING", **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"data": {"id": "r1", "status": status, "defaultDatasetId": "d1", **more}})


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.MockRouter(assert_all_called=False, base_url="https://apify.test") as mocked:
        yield mocked


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def apify(router: respx.MockRouter, pauses: list[float]) -> Apify:
    settings = Settings.model_validate({"APIFY_TOKEN": TOKEN, "APIFY_BASE_URL": "https://apify.test/"})
    adapter = Apify.connect(settings, Caller(httpx.MockTransport(router.async_handler)))

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    return dataclasses.replace(adapter, pause=pause)


async def test_a_run_is_started_with_all_its_caps(apify: Apify, router: respx.MockRouter) -> None:
    route = router.post("/v2/actors/harvestapi~posts/runs").mock(
        httpx.Response(201, json={"data": {"id": "r1", "status": "READY", "defaultDatasetId": "d1"}})
    )
    run = await apify.start("harvestapi/posts", {"targetUrls": ["u"]}, max_items=5)
    request = route.calls.last.request

    assert run == ActorRun(id="r1", status="READY", dataset_id="d1")
    assert not run.is_over
    assert dict(request.url.params) == {"timeout": "300", "maxItems": "5", "maxTotalChargeUsd": "1.00"}
    assert orjson.loads(request.content) == {"targetUrls": ["u"]}
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(request.url)


async def test_the_cap_of_the_charge_grows_with_the_items(apify: Apify, router: respx.MockRouter) -> None:
    route = router.post("/v2/actors/a/runs").mock(shown())
    await apify.start("a", {}, max_items=1000, run_timeout_s=60)

    assert dict(route.calls.last.request.url.params) == {
        "timeout": "60", "maxItems": "1000", "maxTotalChargeUsd": "10.00",
    }  # fmt: skip


async def test_a_run_without_a_limit_is_never_started(apify: Apify, router: respx.MockRouter) -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        await apify.start("a", {}, max_items=0)
    assert not router.calls


async def test_a_start_is_not_repeated(apify: Apify, router: respx.MockRouter, pauses: list[float]) -> None:
    route = router.post("/v2/actors/a/runs").mock(httpx.Response(502))
    with pytest.raises(Unanswered):
        await apify.start("a", {}, max_items=1)

    assert (route.call_count, pauses) == (1, [])


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"status": "READY"}}, [], "x"])
async def test_a_start_without_a_run_is_a_parse_retry(apify: Apify, router: respx.MockRouter, body: Any) -> None:
    router.post("/v2/actors/a/runs").mock(httpx.Response(201, json=body))
    with pytest.raises(Unanswered, match=r"^apify answered 201 with no run\.$") as unanswered:
        await apify.start("a", {}, max_items=1)
    assert unanswered.value.outcome.kind is K.PARSE


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED-OUT", "ABORTED"])
async def test_a_run_is_waited_for_until_it_is_over(apify: Apify, router: respx.MockRouter, status: str) -> None:
    ended = shown(status, usageTotalUsd=0.0042, statusMessage="It\x00 is over")
    route = router.get("/v2/actor-runs/r1").mock(side_effect=[shown("READY"), shown("TIMING-OUT"), ended])
    run = await apify.wait(RUNNING, deadline_s=300)

    assert run == ActorRun(id="r1", status=status, dataset_id="d1", cost_micros=4200, message="It is over")
    assert run.is_over
    assert run.succeeded == (status == "SUCCEEDED")
    assert route.calls.last.request.url.params["waitForFinish"] == "60"


async def test_a_run_that_is_over_is_not_asked_for(apify: Apify, router: respx.MockRouter) -> None:
    assert await apify.wait(DONE, deadline_s=1) is DONE
    assert not router.calls


async def test_an_answer_that_is_not_held_is_not_asked_for_all_the_time(
    apify: Apify, router: respx.MockRouter, pauses: list[float]
) -> None:
    router.get("/v2/actor-runs/r1").mock(side_effect=[shown(), shown("SUCCEEDED")])
    await apify.wait(RUNNING, deadline_s=300)

    assert pauses == [1.0]


async def test_a_run_that_is_not_over_in_time_is_aborted(apify: Apify, router: respx.MockRouter) -> None:
    router.get("/v2/actor-runs/r1").mock(shown())
    abort = router.post("/v2/actor-runs/r1/abort").mock(shown("ABORTING", usageTotalUsd=0.01))
    with pytest.raises(Unanswered) as unanswered:
        await apify.wait(RUNNING, deadline_s=0.05)

    error = "apify: actor run r1 was not over after 0.05 s and was aborted."
    assert unanswered.value.outcome == Retry(kind=K.TRANSIENT, error=error, cost_micros=10_000)
    assert abort.calls.last.request.url.params["gracefully"] == "true"


async def test_an_abort_that_fails_changes_nothing(apify: Apify, router: respx.MockRouter) -> None:
    router.post("/v2/actor-runs/r1/abort").mock(httpx.Response(500))
    with pytest.raises(Unanswered) as unanswered:
        await apify.wait(RUNNING, deadline_s=0)
    assert unanswered.value.outcome.kind is K.TRANSIENT


async def test_a_look_that_fails_does_not_lose_a_paid_run(
    apify: Apify, router: respx.MockRouter, pauses: list[float]
) -> None:
    bad: list[httpx.Response | Exception] = [
        httpx.Response(502),
        httpx.Response(200, text="<html>"),
        httpx.ReadError("lost"),
    ]
    router.get("/v2/actor-runs/r1").mock(side_effect=[*bad, shown("SUCCEEDED")])

    assert (await apify.wait(RUNNING, deadline_s=300)).succeeded
    assert len(pauses) == 3
    assert all(0 <= it <= 10 for it in pauses)


async def test_looking_has_an_end(apify: Apify, router: respx.MockRouter) -> None:
    route = router.get("/v2/actor-runs/r1").mock(httpx.Response(502))
    with pytest.raises(Unanswered):
        await apify.wait(RUNNING, deadline_s=300)
    assert route.call_count == 5


@pytest.mark.parametrize(("status", "kind"), [(401, K.DENIED), (402, K.OUT_OF_MONEY), (429, K.THROTTLED)])
async def test_a_look_that_cannot_help_is_not_repeated(
    apify: Apify, router: respx.MockRouter, status: int, kind: ErrorKind
) -> None:
    route = router.get("/v2/actor-runs/r1").mock(httpx.Response(status))
    with pytest.raises(Unanswered) as unanswered:
        await apify.wait(RUNNING, deadline_s=300)
    assert unanswered.value.outcome.kind is kind
    assert route.call_count == 1


@pytest.mark.parametrize("price", [None, "free", -1, [], {}])
async def test_an_odd_price_is_zero(apify: Apify, router: respx.MockRouter, price: Any) -> None:
    router.get("/v2/actor-runs/r1").mock(shown("SUCCEEDED", usageTotalUsd=price))

    assert (await apify.wait(RUNNING, deadline_s=5)).cost_micros == 0


def dataset(router: respx.MockRouter, rows: list[Any], *, total: int | None = -1, at_most: int = 10**9) -> respx.Route:
    """A dataset that tells a total (its own by default), and gives at most so many rows a page."""

    def page(request: httpx.Request) -> httpx.Response:
        offset, limit = (int(request.url.params[name]) for name in ("offset", "limit"))
        told = len(rows) if total == -1 else total
        headers = {} if told is None else {"X-Apify-Pagination-Total": str(told)}
        return httpx.Response(200, json=rows[offset : offset + min(limit, at_most)], headers=headers)

    return router.get("/v2/datasets/d1/items").mock(side_effect=page)


def rows_of(n: int) -> list[dict[str, Any]]:
    return [{"type": "post", "id": str(it)} for it in range(n)]


@pytest.mark.parametrize(
    ("there", "limit", "calls"),
    [(0, 10, 1), (3, 10, 1), (10, 10, 1), (30, 10, 1), (2500, 5000, 3), (2000, 1500, 2), (11_000, 20_000, 10)],
)
async def test_rows_are_paged_and_no_more_than_wanted(
    apify: Apify, router: respx.MockRouter, there: int, limit: int, calls: int
) -> None:
    route = dataset(router, rows_of(there))
    rows = await apify.items(DONE, limit=limit)

    assert rows == rows_of(min(there, limit, 10_000))
    assert route.call_count == calls
    assert "clean" not in route.calls.last.request.url.params


async def test_a_short_page_is_not_the_end_when_the_total_says_so(apify: Apify, router: respx.MockRouter) -> None:
    dataset(router, rows_of(25), at_most=10)

    assert len(await apify.items(DONE, limit=100)) == 25


@pytest.mark.parametrize("total", [None, 0, 1])
async def test_a_total_that_lags_behind_does_not_cut(apify: Apify, router: respx.MockRouter, total: int | None) -> None:
    dataset(router, rows_of(1500), total=total)

    assert len(await apify.items(DONE, limit=5000)) == 1500


async def test_a_total_that_is_never_reached_ends(apify: Apify, router: respx.MockRouter) -> None:
    route = dataset(router, rows_of(5), total=50)

    assert len(await apify.items(DONE, limit=100)) == 5
    assert route.call_count == 2


async def test_what_is_no_row_is_left_out(apify: Apify, router: respx.MockRouter) -> None:
    dataset(router, [{"id": "1"}, None, 3, "x", {"id": "2"}])

    assert await apify.items(DONE, limit=10) == [{"id": "1"}, {"id": "2"}]


async def test_a_dataset_that_is_no_list_is_a_parse_retry(apify: Apify, router: respx.MockRouter) -> None:
    router.get("/v2/datasets/d1/items").mock(httpx.Response(200, json={"data": []}))
    with pytest.raises(Unanswered) as unanswered:
        await apify.items(DONE, limit=1)
    assert unanswered.value.outcome.kind is K.PARSE


async def test_without_a_token_no_call_is_made(router: respx.MockRouter) -> None:
    apify = Apify.connect(Settings.model_validate({}), Caller(httpx.MockTransport(router.async_handler)))
    with pytest.raises(Unanswered, match=r"^APIFY_TOKEN is not set") as unanswered:
        await apify.start("a", {}, max_items=1)
    assert unanswered.value.outcome.kind is K.DENIED
    assert not router.calls


async def test_the_token_shows_nowhere(apify: Apify, router: respx.MockRouter) -> None:
    error = {"error": {"type": "user-or-token-not-found", "message": f"{TOKEN} is not valid"}}
    router.post("/v2/actors/a/runs").mock(httpx.Response(401, json=error))
    with pytest.raises(Unanswered) as unanswered:
        await apify.start("a", {}, max_items=1)

    assert TOKEN not in str(unanswered.value) + repr(unanswered.value) + repr(apify)


def test_a_run_survives_being_kept_as_json() -> None:
    assert ActorRun(**orjson.loads(orjson.dumps(dataclasses.asdict(DONE)))) == DONE
