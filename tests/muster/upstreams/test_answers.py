"""Status × body → outcome, over all upstreams."""

from typing import Any

import httpx
import orjson
import pytest

from muster.outcomes import ErrorKind, Failed, Retry, Skipped
from muster.upstreams.answers import Answer, Unanswered, check, wait_hint

K = ErrorKind


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    told = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return Answer(status=status, headers=told, body=raw, ms=1.0, upstream="acme")


def outcome(status: int, body: Any = None, *, gone: bool = False, **headers: str) -> Retry | Failed | Skipped:
    with pytest.raises(Unanswered) as unanswered:
        check(answer(status, body, **headers), gone=gone)
    return unanswered.value.outcome


def openai(code: str | None, kind: str = "invalid_request_error", message: str = "No.") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind: str, message: str = "No.", code: str | None = None) -> dict[str, Any]:
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}, "request_id": "req_1"}


def gemini(status: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": 429, "message": "No.", "status": status, "details": list(details)}}


def apify(kind: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "No."}}


QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerDayPerModel"}]}
MINUTE = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerMinute"}]}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}

TABLE = [
    (429, openai("rate_limit_exceeded", "requests"), K.THROTTLED),
    (429, openai("slow_down"), K.THROTTLED),
    (429, None, K.THROTTLED),
    (429, b"<html>Too many</html>", K.THROTTLED),
    (429, openai("credit_balance_exhausted", "insufficient_quota"), K.OUT_OF_MONEY),
    (429, openai("organization_spend_limit_exceeded"), K.OUT_OF_MONEY),
    (429, openai("project_spend_limit_exceeded"), K.OUT_OF_MONEY),
    (429, openai("organization_usage_limit_exceeded"), K.OUT_OF_MONEY),
    (429, openai(None, "insufficient_quota"), K.OUT_OF_MONEY),
    (429, openai("insufficient_quota"), K.OUT_OF_MONEY),
    (401, openai("invalid_api_key"), K.DENIED),
    (403, openai("unsupported_country_region_territory"), K.DENIED),
    (400, openai(None), K.REJECTED),
    (404, openai("model_not_found"), K.REJECTED),
    (500, openai(None, "server_error"), K.TRANSIENT),
    (503, openai(None, "server_error", "The engine is currently overloaded."), K.THROTTLED),
    (503, openai("slow_down", "server_error"), K.THROTTLED),
    (429, anthropic("rate_limit_error"), K.THROTTLED),
    (429, anthropic("rate_limit_error", code="enforced_spend_limit_reached"), K.OUT_OF_MONEY),
    (429, anthropic("rate_limit_error", code="contract_spend_limit_reached"), K.OUT_OF_MONEY),
    (402, anthropic("billing_error"), K.OUT_OF_MONEY),
    (400, anthropic("invalid_request_error", "You have reached your specified API usage limits."), K.OUT_OF_MONEY),
    (400, anthropic("invalid_request_error", "Your credit balance is too low to access it."), K.OUT_OF_MONEY),
    (400, anthropic("invalid_request_error", "max_tokens is required"), K.REJECTED),
    (409, anthropic("conflict_error"), K.TRANSIENT),
    (413, anthropic("request_too_large"), K.REJECTED),
    (504, anthropic("timeout_error"), K.TRANSIENT),
    (529, anthropic("overloaded_error"), K.THROTTLED),
    (429, gemini("RESOURCE_EXHAUSTED", MINUTE), K.THROTTLED),
    (429, gemini("RESOURCE_EXHAUSTED", QUOTA), K.OUT_OF_MONEY),
    (429, [gemini("RESOURCE_EXHAUSTED", QUOTA)], K.OUT_OF_MONEY),
    (400, gemini("INVALID_ARGUMENT", BAD_KEY), K.DENIED),
    (400, gemini("INVALID_ARGUMENT"), K.REJECTED),
    (402, gemini("FAILED_PRECONDITION"), K.OUT_OF_MONEY),
    (429, {"error": {"code": 429, "message": "Your prepayment credits are depleted."}}, K.OUT_OF_MONEY),
    (403, gemini("PERMISSION_DENIED"), K.DENIED),
    (503, gemini("UNAVAILABLE"), K.THROTTLED),
    (504, gemini("DEADLINE_EXCEEDED"), K.TRANSIENT),
    (432, {"detail": {"error": "This request exceeds your plan's set usage limit."}}, K.OUT_OF_MONEY),
    (433, {"detail": {"error": "Pay-as-you-go limit."}}, K.OUT_OF_MONEY),
    (401, {"detail": "Unauthorized"}, K.DENIED),
    (422, {"detail": [{"loc": ["body", "query"], "msg": "Field required", "type": "missing"}]}, K.REJECTED),
    (402, apify("actor-memory-limit-exceeded"), K.THROTTLED),
    (403, apify("concurrent-runs-limit-exceeded"), K.THROTTLED),
    (402, apify("not-enough-usage-to-run-paid-actor"), K.OUT_OF_MONEY),
    (403, {"error": {"type": "x", "message": "Monthly usage hard limit exceeded"}}, K.OUT_OF_MONEY),
    (429, apify("rate-limit-exceeded"), K.THROTTLED),
    (404, apify("record-not-found"), K.REJECTED),
    (408, apify("run-timeout-exceeded"), K.TRANSIENT),
    (503, apify("service-unavailable"), K.TRANSIENT),
    (429, {"error": "Your account has run out of searches."}, K.OUT_OF_MONEY),
    (422, {"error": "INVALID_FILTER"}, K.REJECTED),
    (302, None, K.DENIED),
    (410, None, K.GONE),
    (502, b"Bad gateway", K.TRANSIENT),
    (599, None, K.TRANSIENT),
]


@pytest.mark.parametrize(("status", "body", "kind"), TABLE)
def test_status_and_body_together_decide(status: int, body: Any, kind: ErrorKind) -> None:
    ended = outcome(status, body)

    assert ended.kind is kind
    assert ended.status_code == status
    assert isinstance(ended, {K.REJECTED: Failed, K.GONE: Skipped}.get(kind, Retry))


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_good_answer_comes_back_as_it_is(status: int) -> None:
    good = answer(status, {"error": "not looked at"})

    assert check(good) is good


def test_a_thing_that_the_url_names_is_gone_with_a_404() -> None:
    ended = outcome(404, {"error": {"message": "No such profile"}}, gone=True)

    assert ended == Skipped(reason="acme answered 404: No such profile.", kind=K.GONE, status_code=404)
    assert outcome(500, gone=True).kind is K.TRANSIENT


def test_an_upstream_that_says_whether_to_retry_is_obeyed() -> None:
    assert outcome(400, x_should_retry="true").kind is K.TRANSIENT
    assert outcome(503, x_should_retry="false").kind is K.REJECTED
    assert outcome(429, x_should_retry="false").kind is K.REJECTED
    assert isinstance(outcome(500, x_should_retry="False"), Failed)


@pytest.mark.parametrize("asked", ["true", "false"])
def test_an_empty_account_and_a_bad_key_stay_so_whatever_is_asked(asked: str) -> None:
    assert outcome(402, x_should_retry=asked).kind is K.OUT_OF_MONEY
    assert outcome(401, x_should_retry=asked).kind is K.DENIED


def test_a_throttled_answer_carries_the_hint_of_its_header() -> None:
    ended = outcome(429, retry_after="7")

    assert isinstance(ended, Retry)
    assert ended.wait == 7


def test_without_a_header_the_hint_is_taken_from_the_body() -> None:
    body = gemini("RESOURCE_EXHAUSTED", {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39.5s"})

    assert wait_hint(answer(429, body)) == 39.5
    assert wait_hint(answer(429, body, retry_after="3")) == 3
    assert wait_hint(answer(429, b"{")) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (openai(None, message="Bad\x00 \x1b[31mmodel\r\nname"), "Bad [31mmodel name."),
        ({"detail": {"error": "Too long."}}, "Too long."),
        ({"detail": [{"msg": "Field required"}]}, "Field required."),
        ({"error": "NOT_FOUND"}, "NOT_FOUND."),
        (b"plain words", "plain words."),
    ],
)
def test_the_vendors_words_become_one_sentence(body: Any, said: str) -> None:
    assert str(Unanswered(outcome(400, body))) == f"acme answered 400: {said}"


@pytest.mark.parametrize("body", [None, b"", b"<html>x</html>", {}, [], {"error": None}, {"error": {"message": 3}}])
def test_without_words_the_sentence_is_short(body: Any) -> None:
    assert str(Unanswered(outcome(400, body))) == "acme answered 400."


def test_a_long_message_is_cut() -> None:
    error = str(Unanswered(outcome(400, openai(None, message="x" * 5000))))

    assert len(error) == len("acme answered 400: ") + 300
    assert error.endswith("…")


SECRETS = [
    "sk-proj-abcDEF123_456-xyz",
    "sk-abc1***********wxyz",
    "apify_api_AbCdEf123456",
    "tvly-dev-0123456789",
    "AIzaSyD-0123456789abcdef",
    "pplx-0123456789abcdef",
    "Bearer abcdef.ghijkl",
    "https://user:hunter2@proxy.example/x",
    "https://example.com/?a=1&api_key=hunter2hunter2&b=2",
    "https://example.com/?token=hunter2hunter2",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_that_looks_like_a_key_is_repeated(secret: str) -> None:
    bare = secret.removeprefix("Bearer ")
    error = str(Unanswered(outcome(401, openai(None, message=f"Incorrect API key provided: {secret}. Look it up."))))

    assert bare not in error
    assert "hunter2" not in error
    assert "[redacted]" in error
    assert "Look it up." in error or "://" in secret


def test_a_body_that_is_no_json_is_a_parse_error() -> None:
    with pytest.raises(Unanswered, match=r"^acme answered 200 with a body that is not JSON\.$") as unanswered:
        answer(200, b"<html>").json()
    assert unanswered.value.outcome.kind is K.PARSE


def test_half_letters_in_json_are_mended() -> None:
    assert answer(200, rb'["a\ud83d", "\ude00b", "\ud83d\ude00"]').json() == ["a\ufffd", "\ufffdb", "😀"]


def test_bottomless_bodies_are_survived() -> None:
    body = b'{"error":' * 900 + b"1" + b"}" * 900

    assert outcome(500, body).kind is K.TRANSIENT


def test_an_answer_shows_neither_body_nor_headers() -> None:
    shown = repr(answer(200, b"secret", set_cookie="secret"))

    assert "secret" not in shown
