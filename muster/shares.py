"""Who may use how much of an upstream at this moment: weighted max-min shares; pure, the same whoever computes them.

The rules, and the simulations that simpler ones failed, are told in `docs/shares.md`. Times are seconds on any one
clock.
"""

import heapq
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

QUANTUM_S: Final = 15.0  # whoever got a slot keeps it for so long while others wait in turn
HORIZON_S: Final = 2.5  # send slots are handed out so far ahead
BEAT_S: Final = 1.5  # every lane comes by so often
WINDOW_S: Final = 60.0
LATE_S: Final = 0.5  # a send slot that was missed by so much is lost
LEAST_SERVED: Final = 20  # items before a client counts as one that was served much
SPREAD_S: Final = LATE_S + 0.1  # by which two calls may come closer together than their slots: late, and on the way

Rank = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Claimant:
    """A lane that beats, as it said it stands with one upstream."""

    lane: str
    client: str
    weight: float = 1.0
    held: int = 0  # calls in flight
    allotted: int = 0
    wanted: int = 0  # most calls it would have in flight
    waiting_since: float | None = None  # since when it wants some and holds none
    held_since: float | None = None  # since when it holds some
    served: int = 0  # items of its batch that are closed

    @property
    def charge(self) -> int:
        """What it may have in flight before it is heard of again."""
        return max(self.held, self.allotted)

    def rank(self, now: float) -> Rank:
        """Who comes first where not everybody can: recent holders, then by waiting time, then the longest holders."""
        if self.held_since is None:
            return 1, now if self.waiting_since is None else self.waiting_since
        return (0, self.held_since) if now - self.held_since < QUANTUM_S else (2, -self.held_since)


def fair_shares(slots: int, claimants: Sequence[Claimant], now: float, *, in_line: int = 0) -> dict[str, int]:
    """Split slots over clients by weighted max-min, then over each client's lanes; nobody gets more than he wants.

    Slots are given one by one to the client that has least for its weight, there to the lane that has least; ranks
    decide between equals, so nobody below his share gets less than one slot less than it. `in_line` clients wait for a
    driver: a client that was served far more than the others gets no more than if these were here already, unless
    nobody else wants it.
    """
    if sum(it.wanted for it in claimants) <= slots:
        return {it.lane: it.wanted for it in claimants}
    shares = dict.fromkeys((it.lane for it in claimants), 0)
    greedy = _served_most(claimants) if in_line and slots >= len(claimants) else frozenset[str]()
    total = sum({it.client: it.weight for it in claimants}.values()) + in_line
    for client in greedy:
        own = [it for it in claimants if it.client == client]
        _fill(max(1, math.floor(slots * own[0].weight / total)), own, shares, now)
    _fill(slots - sum(shares.values()), [it for it in claimants if it.client not in greedy], shares, now)
    _fill(slots - sum(shares.values()), claimants, shares, now)
    return shares


def _served_most(claimants: Sequence[Claimant]) -> frozenset[str]:
    """Clients that were served far more for their weight than most of those that are served now."""
    served: dict[str, float] = {}
    for it in claimants:
        served[it.client] = max(served.get(it.client, 0.0), it.served / it.weight)
    usual = max(LEAST_SERVED, 2 * statistics.median(served.values()))
    return frozenset(client for client, items in served.items() if items > usual)


def _fill(slots: int, claimants: Sequence[Claimant], shares: dict[str, int], now: float) -> None:
    """Give so many slots more, one by one."""
    queue = _by_client([it for it in claimants if it.wanted > shares[it.lane]], shares, now)
    for _ in range(max(0, slots)):
        if not queue:
            break
        _, first, client, given = heapq.heappop(queue)
        share, order, lane = heapq.heappop(client.lanes)
        shares[lane.lane] = share + 1
        if share + 1 < lane.wanted:
            heapq.heappush(client.lanes, (share + 1, order, lane))
        if client.lanes:
            heapq.heappush(queue, ((given + 1) / client.weight, first, client, given + 1))


def allotment(
    limit: int, silent: int, claimants: Sequence[Claimant], me: str, now: float, *, most: int = 0, in_line: int = 0
) -> int:
    """How many calls the lane `me`, one of the claimants, may have in flight from now on.

    `silent` is what lanes that are not heard of may still have in flight. Never more than the limit leaves, and free
    slots that are owed to somebody who waits longer are left for him. Of what nobody wants it gets a part, up to `most`
    in all, so that an item that turns up before the next beat need not wait for it.
    """
    mine = next(it for it in claimants if it.lane == me)
    others = [it for it in claimants if it.lane != me]
    shares = fair_shares(limit - silent, claimants, now, in_line=in_line)
    free = max(0, limit - silent - sum(it.charge for it in others))
    rank = mine.rank(now)
    is_recent = rank[0] == 0
    owed = 0 if is_recent else sum(_owed(it, shares[it.lane], rank, now) for it in others)
    keeps = min(mine.allotted if is_recent else mine.held, shares[me])
    gets = max(keeps if keeps <= free else 0, min(shares[me], max(0, free - owed)))
    unmet = sum(max(0, it.wanted - it.charge) for it in others)
    spare = max(0, free - gets - unmet) // len(claimants)
    return max(gets, min(most, gets + spare))


def slots_to_draw(
    free: int, claimants: Sequence[Claimant], me: str, now: float, *, soon: bool, in_line: int = 0
) -> int:
    """How many of the `free` send slots before the horizon the lane `me` draws now.

    A claimant holds the send slots that it has drawn and not used; `soon` says that the next free one is due before
    everybody else has come by again, so that it is better used than kept for one who waits longer.
    """
    mine = next(it for it in claimants if it.lane == me)
    shares = fair_shares(free + sum(it.held for it in claimants), claimants, now, in_line=in_line)
    fair = shares[me] - mine.held
    if soon and mine.wanted > mine.held:
        fair = max(fair, 1)
    return max(0, min(fair, free))


def period(per_minute: float) -> float:
    """Seconds between two send slots, so far apart that no window of a minute ever sees more calls than are allowed."""
    return (WINDOW_S + SPREAD_S) / per_minute


def free_slots(next_at: float, now: float, every_s: float) -> int:
    """How many send slots are free from now to the horizon; the next is at `next_at`, or now if that has passed."""
    ahead = now + HORIZON_S - max(next_at, now)
    return 0 if ahead < 0 else math.floor(ahead / every_s) + 1


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything (Jain et al., DEC-TR-301)."""
    squares = sum(it * it for it in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


@dataclass(slots=True)
class _Client:
    weight: float
    lanes: list[tuple[int, int, Claimant]]  # given so far, place in the order, lane


def _by_client(
    claimants: Sequence[Claimant], shares: Mapping[str, int], now: float
) -> list[tuple[float, int, _Client, int]]:
    clients: dict[str, tuple[int, _Client]] = {}
    for order, it in enumerate(sorted(claimants, key=lambda it: (it.rank(now), it.lane))):
        _, client = clients.setdefault(it.client, (order, _Client(it.weight, [])))
        client.weight = max(client.weight, it.weight)
        heapq.heappush(client.lanes, (shares[it.lane], order, it))
    has = {name: sum(share for share, _, _ in client.lanes) for name, (_, client) in clients.items()}
    queue = [(has[name] / client.weight, first, client, has[name]) for name, (first, client) in clients.items()]
    heapq.heapify(queue)
    return queue


def _owed(it: Claimant, share: int, mine: Rank, now: float) -> int:
    """Slots that one who waits longer is still to get."""
    rank = it.rank(now)
    return max(0, share - it.charge) if rank[0] == 1 and rank < mine else 0
