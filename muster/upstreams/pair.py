"""An endpoint pair as it is lent for one use, and what is said of it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from muster.upstreams.blame import Blame


@dataclass(frozen=True, slots=True)
class Pair:
    """A proxy with its session; only its number may be shown."""

    id: int
    scheme: str
    address: str = field(repr=False)
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    cookies: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    is_verified: bool  # it answered a moment ago

    @property
    def secrets(self) -> list[str]:
        """What nobody may be shown."""
        known = (self.password, self.username, self.address, *self.cookies.values(), *self.headers.values())
        return [it for it in known if it]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a use of a pair went; `ms` is of its last answered call."""

    blame: Blame
    error: str = ""
    wait: float | None = None
    requests: int = 0
    ms: float | None = None
    answered: bool = False  # the proxy did


UNUSED: Final = Verdict(Blame.SITE, "nobody knows how it went")
