"""How fast, how tight and how badly behaved the simulator is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from muster.errors import BadInput

_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The simulator's settings; the same seed gives the same answers and the same faults."""

    port: int = 8765  # 0 picks a free one
    latency_ms: float = 0  # of one answer or one run, on average
    latency_of: Mapping[str, float] = field(default_factory=dict)  # of some upstreams, instead
    latency_spread: float = 0.2  # the real one lies within this part of it
    rate_per_minute: int | None = None  # for each upstream; None: no limit
    error_rate: float = 0  # share of calls answered with a server error
    hang_rate: float = 0  # share of calls that are never answered
    seed: int = 0
    proxies: int = 0  # on ports of their own
    dead_proxies: int = 0  # of them, the last

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, all at once."""
        checks = {
            f"port must lie between 0 and {_LAST_PORT}": 0 <= self.port <= _LAST_PORT,
            "latency_ms must not be negative": min([self.latency_ms, *self.latency_of.values()]) >= 0,
            "latency_spread must lie between 0 and 1": 0 <= self.latency_spread <= 1,
            "rate_per_minute must be at least 1": self.rate_per_minute is None or self.rate_per_minute >= 1,
            "dead_proxies must lie between 0 and proxies": 0 <= self.dead_proxies <= self.proxies,
            "error_rate must lie between 0 and 1": 0 <= self.error_rate <= 1,
            "hang_rate must lie between 0 and 1": 0 <= self.hang_rate <= 1,
            "error_rate and hang_rate must not exceed 1 together": self.error_rate + self.hang_rate <= 1,
        }
        if wrong := [rule for rule, kept in checks.items() if not kept]:
            raise BadInput(f"The simulator cannot run like this: {'; '.join(wrong)}.", wrong)


def read_latency(told: str) -> tuple[str, float]:
    """One upstream's latency in milliseconds, as in `tavily=300`.

    Raises:
        BadInput: it does not look like that.
    """
    name, _, milliseconds = told.partition("=")
    if not name or not milliseconds.replace(".", "", 1).isdecimal():
        raise BadInput(f"A latency of one upstream looks like tavily=300, not like {told[:60]!r}.")
    return name, float(milliseconds)
