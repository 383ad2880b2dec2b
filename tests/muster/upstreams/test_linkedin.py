"""What the LinkedIn actor takes and gives."""

from datetime import UTC, datetime
from typing import Any

import pytest

from muster.upstreams.linkedin import FoundPost, posts_input, posts_of

URL = "https://www.linkedin.com/in/ada-lovelace/"


def post(post_id: Any = "71", **fields: Any) -> dict[str, Any]:
    return {"type": "post", "id": post_id, "author": {"publicIdentifier": "ada-lovelace"}, **fields}


def ids(*rows: dict[str, Any], url: str = URL, alone: bool = False) -> list[str]:
    return [it.external_id for it in posts_of(rows, url, alone=alone)]


def test_the_input_asks_for_one_profile_and_no_paid_extras() -> None:
    asked = posts_input(URL, limit=2, window="month")

    assert asked["targetUrls"] == [URL]
    assert (asked["maxPosts"], asked["postedLimit"]) == (2, "month")
    assert not asked["scrapeReactions"]
    assert not asked["scrapeComments"]


def test_a_limit_of_none_is_never_asked_for() -> None:
    with pytest.raises(ValueError, match="at least 1 post"):
        posts_input(URL, limit=0, window="any")


def test_a_post_is_read_whole() -> None:
    row = post(
        linkedinUrl="https://www.linkedin.com/posts/x-71",
        content="Notes",
        postedAt={"timestamp": 1_767_225_600_000, "date": "2026-01-01T00:00:00.000Z"},
        engagement={"likes": 3, "comments": 0, "shares": None, "reactions": [{"type": "LIKE", "count": 3}, 7]},
    )

    assert posts_of([row], URL) == [
        FoundPost(
            external_id="71",
            url="https://www.linkedin.com/posts/x-71",
            text="Notes",
            posted_at=datetime(2026, 1, 1, tzinfo=UTC),
            author="ada-lovelace",
            engagement={"likes": 3, "comments": 0, "reactions": {"LIKE": 3}},
        )
    ]


def test_only_the_id_has_to_be_there() -> None:
    assert posts_of([{"type": "post", "id": 71}], URL) == [FoundPost(external_id="71")]


@pytest.mark.parametrize("missing", [None, "", "  ", True, {}, []])
def test_a_post_without_an_id_is_left_out(missing: Any) -> None:
    assert ids(post(missing)) == []


def test_comments_and_reactions_are_no_posts() -> None:
    assert ids(post("1"), {**post("2"), "type": "comment"}, {**post("3"), "type": "reaction"}, {"id": "4"}) == ["1"]


def test_a_post_counts_once_and_the_order_stays() -> None:
    assert ids(post("2"), post("1"), post("2")) == ["2", "1"]


@pytest.mark.parametrize(
    ("url", "handle"),
    [
        ("https://www.linkedin.com/in/J%C3%BCrgen-M", "jürgen-m"),
        ("https://www.linkedin.com/in/jürgen-m?trk=x#y", "J%C3%BCrgen-M"),
        ("linkedin.com/in/ada/recent-activity/all", "ADA"),
        ("https://www.linkedin.com/company/acme/posts/", "acme"),
        ("ada", "Ada"),
    ],
)
def test_a_profile_is_known_by_its_handle_however_it_is_written(url: str, handle: str) -> None:
    assert ids(post(author={"publicIdentifier": handle}), url=url) == ["71"]


def test_the_target_of_the_row_tells_whose_it_is_when_the_author_does_not() -> None:
    mine, other = {"targetUrl": URL.rstrip("/")}, {"targetUrl": "https://www.linkedin.com/in/other"}

    assert ids(post("1", author=None, query=mine), post("2", author=None, query=other), alone=True) == ["1"]


def test_a_repost_counts_when_the_run_had_no_other_target() -> None:
    repost = post("9", author={"publicIdentifier": "someone-else"})

    assert ids(repost, alone=True) == ["9"]
    assert ids(repost, alone=False) == []


def test_an_author_without_an_identifier_is_known_by_the_address() -> None:
    author = {"linkedinUrl": "https://www.linkedin.com/in/Ada-Lovelace?miniProfileUrn=urn%3Ali"}

    assert ids(post(author=author)) == ["71"]


@pytest.mark.parametrize(
    ("told", "when"),
    [
        ({"date": "2026-01-01T02:00:00+02:00"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"date": "2026-01-01T00:00:00.000Z"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"date": "2026-01-01"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"timestamp": 1e300, "date": "2026-01-01"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"timestamp": float("nan")}, None),
        ({"date": "yesterday"}, None),
        ({"date": "0001-01-01T00:00:00+14:00"}, None),
        ({}, None),
        (None, None),
        ("5d", None),
    ],
)
def test_a_date_is_utc_or_none(told: Any, when: datetime | None) -> None:
    assert posts_of([post(postedAt=told)], URL)[0].posted_at == when


def test_zero_bytes_do_not_reach_the_database() -> None:
    assert posts_of([post(content="a\x00b")], URL)[0].text == "ab"


@pytest.mark.parametrize("url", ["", "/", "http://[", "https://www.linkedin.com"])
def test_an_odd_address_matches_no_author(url: str) -> None:
    assert ids(post(), url=url) == []
