"""The endpoint of story checks: a profile's id, and its reels; each session has its own patience.

A session is the cookie `sessionid`; what stands in it says how it misbehaves, as `SESSIONS` lists.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from muster.simulator.behaviour import Fault, Twist, share
from muster.simulator.gate import Gate
from muster.simulator.rate import RateState
from muster.simulator.wire import Answer, Call, Endpoint, Headers, Refused, Subject, Upstream, Work, json_answer

NAME = "stories"
SESSIONS: Final[Mapping[str, str]] = {  # what a session's value may begin with
    "sim-denied": "403 login_required at every call",
    "sim-limit-N": "429 from the call after its Nth check on, without a hint",
    "sim-expire-N": "a redirect to the login page from the call after its Nth check on",
}
STORIES_SHARE: Final = 0.4  # of the profiles have a story

_PATIENCE = re.compile(r"sim-(limit|expire)-([0-9]{1,6})")
_ERRORS: Mapping[Fault, tuple[int, str]] = {  # status, message
    Fault.DENIED: (403, "login_required"),
    Fault.OUT_OF_MONEY: (403, "checkpoint_required"),
    Fault.THROTTLED: (429, "Please wait a few minutes before you try again."),
    Fault.REJECTED: (400, "Invalid request."),
    Fault.GONE: (404, "Not found."),
    Fault.BROKEN: (500, "Oops, an error occurred."),
    Fault.UNAVAILABLE: (503, "Service unavailable."),
    Fault.OVERLOADED: (503, "Service overloaded."),
}


def upstream(gate: Gate) -> Upstream:
    """The upstream as the gate knows it."""
    desk = _Desk(gate.options.seed)
    paths = {
        "/api/v1/users/web_profile_info/": (_by_name, desk.profile),
        "/api/v1/feed/reels_media/": (_by_id, desk.reels),
    }
    endpoints = tuple(
        Endpoint(method="GET", path=path, subject=subject, answer=answer, work=Work.HELD)
        for path, (subject, answer) in paths.items()
    )
    return Upstream(name=NAME, error=_error, headers=_headers, endpoints=endpoints)


def id_of(handle: str) -> str:
    """A profile's id: digits from which its handle can be read again."""
    return str(int.from_bytes(b"\x01" + handle.encode()))


def handle_of(story_id: str) -> str:
    """Whose id it is; empty if nobody's."""
    try:
        number = int(story_id)
        return number.to_bytes((number.bit_length() + 7) // 8)[1:].decode()
    except (ValueError, OverflowError):
        return ""


def has_story(seed: int, handle: str) -> bool:
    """Whether a profile has an active story: always the same for the same seed."""
    return share(seed, "story", handle) < STORIES_SHARE


class _Desk:
    """Answers the two calls, and counts what each session has checked."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._checks = Counter[str]()

    async def profile(self, call: Call) -> Answer:
        if (spent := self._spent(call)) is not None:
            return spent
        user = None if call.identity.startswith("nobody") else {"id": id_of(call.identity), "is_private": False}
        return json_answer({"data": {"user": user}, "status": "ok"})

    async def reels(self, call: Call) -> Answer:
        if (spent := self._spent(call)) is not None:
            return spent
        self._checks[call.key] += 1
        if not has_story(self._seed, call.identity) or Twist.EMPTY in call.twists:
            return json_answer({"reels": _none(self._seed, call), "status": "ok"})
        items = [{"pk": id_of(call.identity), "media_type": 1}]
        reel = {"id": id_of(call.identity), "items": items, "expiring_at": 1_800_000_000}
        return json_answer({"reels": {id_of(call.identity): reel}, "status": "ok"})

    def _spent(self, call: Call) -> Answer | None:
        """The answer to a session whose patience is over; it may also be refused."""
        found = _PATIENCE.match(call.key)
        if found is None or self._checks[call.key] < int(found[2]):
            return None
        if found[1] == "limit":
            raise Refused(Fault.THROTTLED)
        return Answer(302, b"", ((b"location", b"/accounts/login/?next=secret"),), b"text/html")


def _none(seed: int, call: Call) -> dict[str, object]:
    """The three ways in which the site says that there is no story."""
    reel = id_of(call.identity)
    ways: tuple[dict[str, object], ...] = ({}, {reel: {"id": reel}}, {reel: {"id": reel, "items": []}})
    return ways[int(3 * share(seed, "none", call.identity))]


def _by_name(call: Call) -> Subject:
    handle = call.query.get("username", "")
    if not handle:
        raise Refused(Fault.REJECTED)
    return Subject(handle, handle)


def _by_id(call: Call) -> Subject:
    handle = handle_of(call.query.get("reel_ids", ""))
    if not handle:
        raise Refused(Fault.REJECTED)
    return Subject(handle, handle)


def _error(refused: Refused) -> Answer:
    status, message = _ERRORS[refused.fault]
    return json_answer({"message": refused.message or message, "status": "fail"}, status)


def _headers(_rate: RateState | None) -> Headers:
    return ()
