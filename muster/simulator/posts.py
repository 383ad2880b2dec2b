"""Made-up LinkedIn posts in the mixed rows of `harvestapi/linkedin-profile-posts`."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

from muster.simulator.behaviour import Twist, number, twists_in
from muster.simulator.texts import paragraph

Row = Mapping[str, Any]
_HOW_MANY = (0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6)  # one profile in ten has none
_MORE_THAN_ASKED = 3
_REACTIONS = ("LIKE", "PRAISE", "EMPATHY", "INTEREST")


def rows_of(seed: int, url: str, most_posts: int | None, room: int | None) -> list[Row]:
    """The rows of one profile: at most so many posts, and as many rows as there is room for."""
    twists = twists_in(url)
    posts = [_post(seed, url, place) for place in range(_number_of_posts(seed, url, most_posts, twists))]
    if Twist.MANY in twists:
        return posts
    posts = posts[:room]
    beside = [row for place, post in enumerate(posts) for row in _beside(seed, url, place, post)]
    return [*posts, *beside[: None if room is None else room - len(posts)]]


def first_post(seed: int, url: str) -> Row:
    """The newest post, also of a profile that has none otherwise."""
    return _post(seed, url, 0)


def _number_of_posts(seed: int, url: str, most: int | None, twists: frozenset[Twist]) -> int:
    if Twist.EMPTY in twists:
        return 0
    if Twist.FEW in twists:
        return 1
    there = _HOW_MANY[number(seed, "posts", url) % len(_HOW_MANY)]
    if Twist.MANY in twists:
        return (there if most is None else most) + _MORE_THAN_ASKED
    return there if most is None else min(there, most)


def _post(seed: int, url: str, place: int) -> Row:
    rng = Random(number(seed, "post", url, place))
    post_id = f"7{rng.randrange(10**18):018d}"
    slug = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    pictures = [_picture(rng) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    wordless = bool(pictures) and rng.randrange(8) == 0  # a picture alone has no content
    return {
        "type": "post",
        "id": post_id,
        "linkedinUrl": f"https://www.linkedin.com/posts/{slug}_activity-{post_id}",
        "content": None if wordless else "\n\n".join(paragraph(rng) for _ in range(rng.randint(1, 3))),
        "author": _author(url, slug),
        "postedAt": _posted_at(rng, place),
        "postImages": pictures,
        "engagement": _engagement(rng),
    }


def _author(url: str, slug: str) -> Row:
    name = unquote(slug).replace("-", " ").title()
    kind = "company" if "/company/" in url else "profile"
    link = f"{url.partition('?')[0]}?miniProfileUrn=urn%3Ali%3Afsd_profile%3A{number('urn', url):x}"
    return {"publicIdentifier": slug, "name": name, "type": kind, "linkedinUrl": link, "info": "Made up"}


def _posted_at(rng: Random, place: int) -> Row:
    """A time before today, older with each place; it moves with the calendar so that a demo stays fresh."""
    days = place * 4 + rng.randint(1, 4)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    when = today - timedelta(days=days) + timedelta(seconds=rng.randrange(86_400))
    return {
        "timestamp": int(when.timestamp() * 1000),
        "date": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "postedAgoText": f"{days}d",
    }


def _picture(rng: Random) -> Row:
    return {"url": f"https://media.example.com/{rng.getrandbits(48):012x}.jpg", "width": 800, "height": 600}


def _engagement(rng: Random) -> Row:
    likes = rng.randrange(200)
    return {
        "likes": likes,
        "comments": rng.randrange(40),
        "shares": rng.randrange(12),
        "reactions": [{"type": kind, "count": likes // (place + 2)} for place, kind in enumerate(_REACTIONS)],
    }


def _beside(seed: int, url: str, place: int, post: Row) -> list[Row]:
    """Now and then a comment or a reaction, which is no post."""
    rng = Random(number(seed, "beside", url, place))
    kind = rng.choice(("comment", "reaction", None, None, None, None))
    if kind is None:
        return []
    actor = {"name": "Sam Sample", "linkedinUrl": "https://www.linkedin.com/in/sam-sample"}
    row = {"type": kind, "id": f"{rng.randrange(10**18)}", "postId": post["id"], "actor": actor}
    extra = {"commentary": paragraph(rng)} if kind == "comment" else {"reactionType": rng.choice(_REACTIONS)}
    return [{**row, **extra}]
