"""When to come back."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.upstreams.hints import LONGEST_S, Bucket, Room, from_details, from_headers, room_of


def told(**headers: str) -> float | None:
    return from_headers(httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}))


def test_milliseconds_are_believed_before_seconds() -> None:
    assert told(retry_after_ms="1500.5", retry_after="9") == 1.5005
    assert told(retry_after_ms="soon", retry_after="9") == 9


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("0", 0), (" 2.5 ", 2.5), ("999999999", LONGEST_S)])
def test_seconds_may_have_fractions_and_end_after_a_day(text: str, seconds: float) -> None:
    assert told(retry_after=text) == seconds


@pytest.mark.parametrize(
    "text", ["-1", "nan", "inf", "1e3", "1_0", "", "7s", "٣", "Wed", "Wed, 99 Nov 2026 99:99:99 GMT"]
)
def test_a_hint_that_cannot_be_read_is_absent(text: str) -> None:
    assert from_headers(httpx.Headers([(b"retry-after", text.encode())])) is None
    assert from_headers(httpx.Headers([(b"retry-after-ms", text.encode())])) is None


def test_a_date_is_read_against_the_answers_own_clock() -> None:
    sent = datetime(2020, 1, 1, tzinfo=UTC)

    assert told(retry_after=format_datetime(sent + timedelta(seconds=30)), date=format_datetime(sent)) == 30


def test_a_date_without_a_clock_beside_it_is_read_against_ours() -> None:
    seconds = told(retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=60)))

    assert seconds is not None
    assert 50 < seconds <= 60


def test_a_date_in_the_past_is_absent() -> None:
    assert told(retry_after="Wed, 21 Oct 2015 07:28:00 GMT") is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("39s", 39), ("0.25s", 0.25), ("-3s", None), ("soon", None), (None, None)]
)
def test_gemini_says_it_in_the_details(text: str | None, seconds: float | None) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": text}

    assert from_details({"error": {"details": [{"@type": "other"}, 3, detail]}}) == seconds


def is_fine(seconds: float | None) -> bool:
    return seconds is None or (math.isfinite(seconds) and 0 <= seconds <= LONGEST_S)


texts = st.one_of(
    st.text(max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(format_datetime),
    st.from_regex(r"(Mon|Tue), \d{1,3} (Jan|Feb) \d{1,9} \d{2}:\d{2}:\d{2} (GMT|[+-]\d{1,9})"),
)


@given(text=texts, milliseconds=texts, date=texts)
def test_no_header_makes_a_hint_negative_endless_or_an_error(text: str, milliseconds: str, date: str) -> None:
    pairs = {b"retry-after": text, b"retry-after-ms": milliseconds, b"date": date}
    headers = httpx.Headers([(name, value.encode("utf-8", "surrogatepass")) for name, value in pairs.items()])

    assert is_fine(from_headers(headers))


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "details"]), inner, max_size=2)
    ),
)


@given(document=jsons, delay=jsons)
def test_no_body_makes_a_hint_negative_endless_or_an_error(document: Any, delay: Any) -> None:
    detail = {"@type": "google.rpc.RetryInfo", "retryDelay": delay}

    assert is_fine(from_details(document))
    assert is_fine(from_details({"error": {"details": [detail]}}))


def room(**headers: str) -> Room | None:
    return room_of(httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize(
    ("reset", "seconds"), [("12ms", 0.012), ("1s", 1.0), ("6m0s", 360.0), ("1h2m3.5s", 3723.5), ("30s", 30.0)]
)
def test_a_bucket_refills_in_the_time_that_openai_says_it_takes_to_be_full(reset: str, seconds: float) -> None:
    said = room(
        x_ratelimit_limit_requests="500", x_ratelimit_remaining_requests="100", x_ratelimit_reset_requests=reset
    )

    assert said is not None
    assert said.requests is not None
    assert said.requests.per_minute == pytest.approx(60 * 400 / seconds)
    assert (said.requests.left, said.for_s) == (0.2, min(seconds, 60.0))
    assert said.pace(1000) is None  # there is plenty


def test_anthropics_reset_is_a_moment_by_its_own_clock() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    said = room(
        anthropic_ratelimit_tokens_limit="40000",
        anthropic_ratelimit_tokens_remaining="2000",
        anthropic_ratelimit_tokens_reset=(now + timedelta(seconds=57)).isoformat(),
        date=format_datetime(now, usegmt=True),
    )

    assert said is not None
    assert said.tokens == Bucket(40_000.0, 0.05)
    assert said.pace(1000) == 20.0  # half of what it refills, since half of what counts as low is left


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_ratelimit_limit_requests": "500"},
        {"x_ratelimit_limit_requests": "0", "x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1s"},
        {"x_ratelimit_limit_requests": "5", "x_ratelimit_remaining_requests": "-1", "x_ratelimit_reset_requests": "1s"},
        {"x_ratelimit_limit_requests": "5", "x_ratelimit_remaining_requests": "5", "x_ratelimit_reset_requests": "0s"},
        {"x_ratelimit_limit_requests": "5", "x_ratelimit_remaining_requests": "1", "x_ratelimit_reset_requests": "so"},
        {"x_ratelimit_limit_requests": "5", "x_ratelimit_remaining_requests": "1", "x_ratelimit_reset_requests": ""},
        {"anthropic_ratelimit_requests_limit": "5", "anthropic_ratelimit_requests_remaining": "1",
         "anthropic_ratelimit_requests_reset": "2026-11-23"},
    ],
)  # fmt: skip
def test_what_is_absent_or_nonsense_says_nothing(headers: dict[str, str]) -> None:
    assert room(**headers) is None


@given(st.text(max_size=30))
def test_any_text_may_stand_in_a_reset(reset: str) -> None:
    told = {"x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "1"}
    said = room_of({**told, "x-ratelimit-reset-requests": reset})

    assert said is None or 0 < said.for_s <= 60
