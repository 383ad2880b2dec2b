"""The story check: two GETs of an endpoint that the operator supplies, through an endpoint pair.

Whether such calls are allowed is for the operator to settle; nothing here hides or changes who calls.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote

import httpx

from muster.allotment import boot_time
from muster.outcomes import ErrorKind, Retry
from muster.settings import Settings, variable
from muster.upstreams.access import address
from muster.upstreams.answers import Answer, Unanswered
from muster.upstreams.blame import FINE, Blame, Judged, judge, judge_failure
from muster.upstreams.caller import MAX_BODY, Sender, bounded
from muster.upstreams.lenient import listed, mapping
from muster.upstreams.pair import Pair, Verdict
from muster.upstreams.words import HIDDEN

LONGEST_CALL_S: Final = 15.0
CALLS: Final = 3  # of one check, at most: to see that the proxy answers, to find the profile, to look for its stories
SHORTEST_SECRET: Final = 4
OPEN_CLIENTS: Final[set[httpx.AsyncClient]] = set()  # none is left behind when no check is under way


@dataclass(frozen=True, slots=True)
class Checked:
    """How a check went: whom it speaks for or against, and what it found where it worked."""

    judged: Judged
    verdict: Verdict
    found: bool = False
    story_id: str = ""


class _Ended(Exception):
    """The check has come to its end before its last call."""

    def __init__(self, judged: Judged) -> None:
        super().__init__(judged.error)
        self.judged = judged


@dataclass
class _Use:
    """One use of a pair: its client, and what there is to say of the proxy at the end."""

    client: httpx.AsyncClient
    pair: Pair
    call_s: float
    until: float
    requests: int = 0
    ms: float | None = None
    answered: bool = False

    async def get(self, url: str, *, bare: bool = False) -> Answer:
        """GET a page; a `bare` one without the session.

        Raises:
            _Ended: there was no answer, or one that is too long.
        """
        if boot_time() > self.until:  # this process was frozen, and the pair may be somebody else's by now
            raise _Ended(Judged(Blame.SITE, "The pair's lease ran out during the check."))
        self.requests += 1
        started = time.perf_counter()
        try:
            status, headers, body = await self._exchange(url, bare=bare)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # TimeoutError is an OSError
            proven = self.answered or self.pair.is_verified
            raise _Ended(judge_failure(error, Stories.NAME, proven=proven)) from None  # its text may hold an address
        self.ms = 1000 * (time.perf_counter() - started)
        if len(body) > MAX_BODY:
            said = f"{Stories.NAME} answered {status} with more than {MAX_BODY >> 20} MiB; the rest was not read."
            raise _Ended(Judged(Blame.ITEM, said, status_code=status))
        return Answer(status, headers, body, self.ms, Stories.NAME)

    async def _exchange(self, url: str, *, bare: bool) -> tuple[int, httpx.Headers, bytes]:
        request = self.client.build_request("GET", url)
        if bare:
            request.headers.pop("cookie", None)
        async with asyncio.timeout(self.call_s):
            response = await self.client.send(request, stream=True)
            try:
                return response.status_code, response.headers, await bounded(response.aiter_bytes())
            finally:
                await response.aclose()


@dataclass(frozen=True)
class Stories:
    """The adapter."""

    NAME: ClassVar[str] = "stories"

    seam: httpx.AsyncBaseTransport | None
    base_url: str
    call_s: float

    @classmethod
    def connect(cls, settings: Settings, caller: Sender) -> Self:
        """Build it; no call is made.

        Raises:
            Unanswered: `denied`, no base URL is set.
            ConfigurationError: the base URL is none.
        """
        named = variable("stories_base_url")
        if settings.stories_base_url is None:
            said = f"{named} is not set; set it and resume the batch."
            raise Unanswered(Retry(kind=ErrorKind.DENIED, error=said))
        base_url = address(settings.stories_base_url, named, "https://stories.example")
        # All calls of a check fit into its pair's lease, with room to give it back.
        call_s = min(LONGEST_CALL_S, settings.pair_lease_seconds / (CALLS + 1))
        return cls(caller.seam, base_url, call_s)

    async def check(self, pair: Pair, handle: str, story_id: str | None, *, until: float) -> Checked:
        """Look whether a profile has an active story; a `story_id` that is known saves a call.

        No call begins after `until`, on the machine's own clock. Nothing that goes wrong is raised: the verdict says
        who is to blame for it.
        """
        async with self._use(pair, until) as use:
            found = False
            try:
                await self._verify(use)
                story_id = story_id or await self._find(use, handle)
                found = await self._look(use, story_id)
                judged = FINE
            except _Ended as ended:
                judged = replace(ended.judged, error=_hidden(ended.judged.error, pair))
        return Checked(judged, _verdict(judged, use), found, story_id or "")

    async def verify(self, pair: Pair) -> Checked:
        """See whether a pair's proxy answers; the session is not used."""
        async with self._use(replace(pair, is_verified=False), float("inf")) as use:
            judged = FINE
            try:
                await self._verify(use)
            except _Ended as ended:
                judged = replace(ended.judged, error=_hidden(ended.judged.error, pair))
        return Checked(judged, _verdict(judged, use))

    async def _verify(self, use: _Use) -> None:
        """A cheap call without the session: any answer but a proxy's own refusal will do."""
        if use.pair.is_verified:
            return
        judged = judge(await use.get(f"{self.base_url}/", bare=True))
        if judged.blame is Blame.PROXY:
            raise _Ended(judged)
        use.answered = True

    async def _find(self, use: _Use, handle: str) -> str:
        """The profile's id at the site."""
        path = f"/api/v1/users/web_profile_info/?username={quote(handle, safe='')}"
        data = await self._read(use, path)
        if "user" not in mapping(data.get("data")):
            raise _Ended(_unreadable("no profile"))
        user = mapping(data["data"]).get("user")
        if user is None:
            raise _Ended(Judged(Blame.ITEM, f"{self.NAME}: there is no profile of that name.", status_code=200))
        found = mapping(user).get("id")
        if not isinstance(found, str | int) or not str(found).isalnum():
            raise _Ended(_unreadable("a profile without an id"))
        return str(found)

    async def _look(self, use: _Use, story_id: str) -> bool:
        """Whether there is a story; no entry, one without items, and an empty list all are a good answer: none."""
        data = await self._read(use, f"/api/v1/feed/reels_media/?reel_ids={quote(story_id, safe='')}")
        if not isinstance(data.get("reels"), Mapping):
            raise _Ended(_unreadable("no reels"))
        return bool(listed(mapping(data["reels"].get(story_id)).get("items")))

    async def _read(self, use: _Use, path: str) -> Mapping[str, Any]:
        answer = await use.get(f"{self.base_url}{path}")
        judged = judge(answer)
        if judged.blame is not Blame.NOBODY:
            raise _Ended(judged)
        try:
            return mapping(answer.json())
        except Unanswered:
            raise _Ended(_unreadable("a body that is not JSON")) from None

    @asynccontextmanager
    async def _use(self, pair: Pair, until: float) -> AsyncIterator[_Use]:
        """A client of its own for one use of a pair, closed whatever happens."""
        auth = (pair.username, pair.password or "") if pair.username else None
        proxy = None if self.seam else httpx.Proxy(f"{pair.scheme}://{pair.address}", auth=auth)
        client = httpx.AsyncClient(
            transport=self.seam, proxy=proxy, headers={"user-agent": "muster", **pair.headers},
            cookies=dict(pair.cookies), timeout=self.call_s, verify=_tls(), trust_env=False,
        )  # fmt: skip
        OPEN_CLIENTS.add(client)
        try:
            yield _Use(client, pair, self.call_s, until)
        finally:
            if self.seam is None:  # whoever made the seam closes it
                await client.aclose()
            OPEN_CLIENTS.discard(client)


def _verdict(judged: Judged, use: _Use) -> Verdict:
    return Verdict(judged.blame, judged.error, judged.wait, use.requests, use.ms, use.answered)


def _unreadable(what: str) -> Judged:
    return Judged(Blame.SITE, f"{Stories.NAME} answered with {what}.", status_code=200, unreadable=True)


def _hidden(text: str, pair: Pair) -> str:
    """The text without anything that only the pair knows, should the site repeat it."""
    for secret in pair.secrets:
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text


@cache
def _tls() -> ssl.SSLContext:
    """Made once: each takes tens of milliseconds."""
    return httpx.create_ssl_context()
