"""Every row of the limits table, in both modes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.errors import ConfigurationError
from muster.ledger.tables import Client
from muster.limits import TESTING_CAPS, Mode, limits_for, mode_for, selection_for
from muster.selection import decide
from muster.settings import Settings
from muster.states import ClientState

FLAG = "FIRE_AND_FORGET_BATCH_PROCESS_TESTING"


def a_client(client_id: str = "acme", **said: Any) -> Client:
    return Client(id=client_id, name=client_id, **said)


def test_only_the_exact_word_true_turns_testing_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(FLAG, "true")

    assert mode_for(Settings.read()) is Mode.TESTING


@pytest.mark.parametrize("value", ["TRUE", "True", "1", "yes", "on", " true", "true ", "false", "", "t"])
def test_anything_else_is_normal_mode_without_an_error(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv(FLAG, value)

    assert mode_for(Settings.read()) is Mode.NORMAL


def test_unset_is_normal_mode():
    assert mode_for(Settings.read()) is Mode.NORMAL


def test_a_run_may_ask_for_the_other_mode(monkeypatch: pytest.MonkeyPatch):
    assert mode_for(Settings.read(), Mode.TESTING) is Mode.TESTING

    monkeypatch.setenv(FLAG, "true")

    assert mode_for(Settings.read(), Mode.NORMAL) is Mode.NORMAL


def test_production_refuses_testing_unless_it_is_allowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSTER_ENV", "production")

    with pytest.raises(ConfigurationError, match="MUSTER_ALLOW_TESTING"):
        mode_for(Settings.read(), Mode.TESTING)

    monkeypatch.setenv("MUSTER_ALLOW_TESTING", "true")

    assert mode_for(Settings.read(), Mode.TESTING) is Mode.TESTING


@pytest.mark.parametrize(
    ("limit", "column", "theirs", "normal", "testing"),
    [
        ("profiles", "profiles_limit", 100, 100, 5),
        ("profiles", "profiles_limit", 3, 3, 3),
        ("batch_size", "batch_size", 20, 20, 5),
        ("batch_size", "batch_size", 2, 2, 2),
        ("max_batches", "max_batches", 10, 10, 1),
        ("max_batches", "max_batches", 0, 0, 0),
        ("posts_target", "posts_target", 50, 50, 5),
        ("posts_target", "posts_target", 3, 3, 3),
        ("posts_target", "posts_target", None, None, 5),
        ("posts_per_profile", "max_posts_per_profile", 7, 7, 2),
        ("posts_per_profile", "max_posts_per_profile", 1, 1, 1),
    ],
)
def test_each_row_of_the_table(limit: str, column: str, theirs: int | None, normal: int | None, testing: int):
    said: dict[str, Any] = {column: theirs}
    client, settings = a_client(**said), Settings.read()

    assert getattr(limits_for(settings, client, Mode.NORMAL, "posts"), limit) == normal
    assert getattr(limits_for(settings, client, Mode.TESTING, "posts"), limit) == testing


@given(
    profiles_limit=st.integers(0, 10_000),
    batch_size=st.integers(1, 10_000),
    max_batches=st.integers(0, 10_000),
    posts_target=st.none() | st.integers(0, 10_000),
    max_posts_per_profile=st.integers(0, 10_000),
)
def test_testing_only_lowers(**theirs: Any):
    client, settings = a_client(**theirs), Settings.read()
    normal, testing = (limits_for(settings, client, mode, "posts").model_dump() for mode in (Mode.NORMAL, Mode.TESTING))

    for name, cap in TESTING_CAPS.items():
        assert testing[name] <= cap
        assert normal[name] is None or testing[name] <= normal[name]
    for name in set(normal) - set(TESTING_CAPS) - {"mode"}:
        assert testing[name] == normal[name]


def test_normal_mode_takes_active_clients_only_and_all_of_them():
    clients = [a_client(f"c{n:02}", service_level=2) for n in range(12)]
    clients[3].state, clients[7].state = ClientState.INACTIVE, ClientState.PAUSED

    decisions = decide(clients, ("profiles",), selection_for(Settings.read(), Mode.NORMAL), {})

    assert [it.client_id for it in decisions if not it.included] == ["c03", "c07"]
    assert {it.reason for it in decisions if not it.included} == {"client is inactive", "client is paused"}


def test_normal_mode_asks_for_service_level_two_where_posts_are_harvested():
    decisions = decide(
        [a_client("low", service_level=1), a_client("two", service_level=2)],
        ("profiles", "posts"),
        selection_for(Settings.read(), Mode.NORMAL),
        {},
    )

    assert [(it.client_id, it.workloads, it.reason) for it in decisions] == [
        ("low", ("profiles",), "posts: service level 1 is below 2"),
        ("two", ("profiles", "posts"), None),
    ]


def test_the_service_level_is_a_setting_per_workload(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSTER_MIN_SERVICE_LEVEL", "posts=1,profiles=3")

    (only,) = decide(
        [a_client(service_level=2)], ("profiles", "posts"), selection_for(Settings.read(), Mode.NORMAL), {}
    )

    assert only.workloads == ("posts",)


@given(st.lists(st.tuples(st.sampled_from(ClientState), st.integers(0, 9)), max_size=20))
def test_testing_mode_takes_any_state_and_level_but_at_most_five_in_a_stable_order(
    kinds: list[tuple[ClientState, int]],
):
    clients = [a_client(f"c{n:02}", state=state, service_level=level) for n, (state, level) in enumerate(kinds)]
    selection = selection_for(Settings.read(), Mode.TESTING)

    decisions = decide(clients[::-1], ("profiles", "posts"), selection, {})

    assert [it.client_id for it in decisions if it.included] == [it.id for it in clients[:5]]
    assert all(it.reason == "testing mode takes 5 clients" for it in decisions if not it.included)


def test_a_client_with_nothing_to_do_takes_no_place_in_testing_mode():
    clients = [a_client(f"c{n}") for n in range(6)]

    decisions = decide(
        clients, ("posts",), selection_for(Settings.read(), Mode.TESTING), {("c0", "posts"): "posts target is 0"}
    )

    assert [it.included for it in decisions] == [False, True, True, True, True, True]
    assert decisions[0].reason == "posts: posts target is 0"
