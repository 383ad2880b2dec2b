"""The flow `check`, the rows that firings leave, and a night that is begun late, twice, or not at all."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import StateType
from sqlalchemy import delete, select

from flows import dispatch
from flows import nightly as nightly_module
from flows.check import check
from flows.nightly import nightly
from flows.reconcile import reconcile
from muster.ledger import Book
from muster.ledger.database import Row, Tx
from muster.ledger.domain import ANSWER
from muster.ledger.tables import ITEM, RUN
from muster.limits import Mode
from muster.settings import Settings
from tests.flows.seen import artifact, message
from tests.flows.simulated import Simulator, a_client, handles

pytestmark = pytest.mark.usefixtures("prefect_api")


async def firings(book: Book, trigger: str) -> list[Row]:
    of_trigger = select(RUN).where(RUN.c.trigger == trigger).order_by(RUN.c.id)
    return list(await book.database.read(lambda tx: tx.rows(of_trigger)))


async def a_night(book: Book) -> None:
    await a_client(book, "acme", handles(2), brand=["Acme"])
    await book.prompts.put([{"client_id": "acme", "key": f"p{n}", "text": f"question {n}"} for n in range(3)])
    await nightly()


async def test_a_whole_night_is_verified_and_its_certificate_shown(ledger: Book, sim: Simulator):
    await a_night(ledger)

    state = await check(return_state=True)

    assert state.is_completed()
    assert "16 of 16 items closed" in message(state)
    certificate = await artifact("muster-certificate")
    assert "Verified: every expected item is there" in str(certificate.data)
    assert "| acme | 16 |" in str(certificate.data)
    (firing,) = await firings(ledger, "check")
    assert (firing["state"], firing["error"], firing["result"]["coverage"]) == ("done", None, 1.0)


async def test_a_night_with_too_much_open_fails_with_what_is_missing(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("GEMINI_API_KEY")
    await a_client(ledger, "acme", [])
    await ledger.prompts.put([{"client_id": "acme", "key": "p", "text": "question"}])
    await nightly(return_state=True)

    strict = await check(return_state=True)
    lenient = await check(coverage=0.5, return_state=True)

    assert strict.is_failed()
    assert "3 of 4 items closed, 1 open" in message(strict)
    assert "GEMINI_API_KEY is not set" in message(strict)
    assert lenient.is_completed()
    failed, passed = await firings(ledger, "check")
    assert (failed["state"], passed["state"]) == ("failed", "done")
    assert "1 open" in failed["error"]


async def test_sums_that_do_not_match_fail_it_whatever_the_coverage(ledger: Book, sim: Simulator):
    await a_night(ledger)

    async def lose(tx: Tx) -> None:
        await tx.run(delete(ANSWER).where(ANSWER.c.provider == "openai"))

    await ledger.database.write(lose)
    state = await check(coverage=0, return_state=True)

    assert state.is_failed()
    assert "has no answer of item p0/openai, which succeeded" in message(state)


async def test_a_night_that_never_began_is_found_in_the_morning(ledger: Book, sim: Simulator):
    state = await check(return_state=True)

    assert state.is_failed()
    assert "No night's run was opened for more than a day" in message(state)


async def test_neither_a_testing_run_nor_one_of_single_clients_is_the_night(ledger: Book, sim: Simulator):
    await a_night(ledger)
    await nightly(mode=Mode.TESTING)
    await nightly(clients=["acme"], force=True)

    verified = await check(return_state=True)

    assert verified.is_completed()
    assert message(verified).startswith("Run nightly:")
    assert ":testing" not in message(verified)
    assert "#2" not in message(verified)


async def test_reconcile_leaves_a_row_of_what_it_found(ledger: Book, sim: Simulator):
    await reconcile()

    (firing,) = await firings(ledger, "reconcile")
    assert (firing["state"], firing["result"]) == ("done", {"caught_up": False})
    assert firing["started_at"] <= firing["finished_at"]


def scheduled(monkeypatch: pytest.MonkeyPatch, book: Book, moment: Any) -> None:
    monkeypatch.setattr(nightly_module, "flow_run", SimpleNamespace(scheduled_start_time=moment))


async def test_a_night_that_is_begun_late_is_its_own_days(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    yesterday = await ledger.readings.now() - timedelta(hours=23)
    scheduled(monkeypatch, ledger, yesterday)

    account = await nightly()

    assert account["run"] == f"nightly:{yesterday.date()}"


async def test_a_night_of_long_ago_is_passed_over_unless_somebody_asks_for_it(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch
):
    scheduled(monkeypatch, ledger, await ledger.readings.now() - timedelta(days=2))

    state = await nightly(return_state=True)
    assert state.is_completed()
    assert "Passed over" in message(state)
    assert await ledger.runs.newest() is None

    await nightly(force=True, started_by="ada")
    newest = await ledger.runs.newest()
    assert newest is not None
    assert newest["started_by"] == "ada"


@pytest.mark.parametrize(
    ("crashes", "waiting", "starts"), [(0, 0, False), (1, 0, True), (2, 0, True), (1, 1, False), (3, 0, False)]
)
async def test_a_night_whose_flow_crashed_before_it_opened_a_run_is_started_again(
    ledger: Book, sim: Simulator, monkeypatch: pytest.MonkeyPatch, crashes: int, waiting: int, starts: bool
):
    started = []

    async def flow_runs(_name: str, states: list[Any], **_span: Any) -> list[Any]:
        return [None] * (crashes if states == [StateType.CRASHED] else waiting)

    async def start(parameters: dict[str, Any]) -> None:
        started.append(parameters)

    monkeypatch.setattr(dispatch, "_flow_runs", flow_runs)
    monkeypatch.setattr(dispatch, "start_night", start)

    assert await dispatch.catch_up(ledger, Settings.read()) is starts
    assert len(started) == starts

    await nightly()
    assert not await dispatch.catch_up(ledger, Settings.read())  # the night is there


async def test_the_items_of_a_run_are_counted_for_the_certificate_once_it_is_closed(ledger: Book, sim: Simulator):
    await a_night(ledger)

    newest = await ledger.runs.newest("nightly")
    assert newest is not None
    items = await ledger.database.read(lambda tx: tx.rows(select(ITEM)))
    assert newest["certificate"]["expected"] == newest["result"]["expected"] == len(items) == 16
    assert newest["certificate"]["complete"] is True
