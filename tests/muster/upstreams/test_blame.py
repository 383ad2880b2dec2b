"""Who is to blame: the rules of the story check, one by one."""

import httpx
import pytest

from muster.upstreams.answers import Answer
from muster.upstreams.blame import Blame, judge, judge_failure

HTML = b"<!DOCTYPE html><html><body>Log in</body></html>"


def answer(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return Answer(status, httpx.Headers(headers), body, 1.0, "stories")


@pytest.mark.parametrize(
    ("got", "blame"),
    [
        (answer(200), Blame.NOBODY),
        (answer(200, b'{"data":{"user":{"biography":"login_required"}}}'), Blame.NOBODY),
        (answer(404, b'{"message":"Not found"}'), Blame.ITEM),
        (answer(400, b'{"message":"Invalid"}'), Blame.ITEM),
        (answer(429), Blame.PAIR),
        (answer(401, b'{"message":"Please wait a few minutes","require_login":true}'), Blame.PAIR),
        (answer(400, b'{"message":"please wait"}'), Blame.PAIR),
        (answer(401), Blame.SESSION),
        (answer(403), Blame.SESSION),
        (answer(403, HTML), Blame.SESSION),
        (answer(200, HTML), Blame.SESSION),
        (answer(200, b"x", **{"content-type": "text/html"}), Blame.SESSION),
        (answer(200, b'{"message":"login_required"}'), Blame.SESSION),
        (answer(400, b'{"message":"checkpoint_required"}'), Blame.SESSION),
        (answer(400, b'{"message":"no","error_type":"checkpoint_required"}'), Blame.SESSION),
        (answer(302, b"", location="https://x/accounts/login/?next=1"), Blame.SESSION),
        (answer(302, b"", location="/challenge/1"), Blame.SESSION),
        (answer(301, b"", location="/elsewhere"), Blame.SITE),
        (answer(502, HTML), Blame.SITE),
        (answer(503), Blame.SITE),
        (answer(407), Blame.PROXY),
    ],
)
def test_rate_limit_detection_and_who_else_an_answer_speaks_against(got: Answer, blame: Blame):
    assert judge(got).blame is blame


@pytest.mark.parametrize(
    ("error", "proven", "blame"),
    [
        (httpx.ConnectError("refused"), True, Blame.PROXY),
        (httpx.ConnectTimeout("late"), True, Blame.PROXY),
        (httpx.ProxyError("407"), True, Blame.PROXY),
        (httpx.ReadTimeout("late"), False, Blame.PROXY),
        (httpx.ReadTimeout("late"), True, Blame.SITE),
        (TimeoutError(), True, Blame.SITE),
        (httpx.RemoteProtocolError("cut"), True, Blame.SITE),
    ],
)
def test_no_answer_speaks_against_the_proxy_unless_it_has_just_answered(error: Exception, proven: bool, blame: Blame):
    assert judge_failure(error, "stories", proven=proven).blame is blame


def test_a_rate_limit_carries_the_sites_own_hint():
    assert judge(Answer(429, {"retry-after": "30"}, b"{}", 1.0, "stories")).wait == 30


def test_a_redirects_query_is_not_repeated():
    judged = judge(answer(302, b"", location="/accounts/login/?next=topsecret"))

    assert "/accounts/login/" in judged.error
    assert "topsecret" not in judged.error


def test_no_failure_repeats_the_exceptions_own_words():
    assert "topsecret" not in judge_failure(httpx.ConnectError("http://ann:topsecret@1.2.3.4"), "s", proven=True).error
