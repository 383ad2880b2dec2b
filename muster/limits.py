"""What a batch may do: settings × client × mode → limits. The only place that knows of testing mode."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from pydantic import BaseModel, ConfigDict, Field

from muster.errors import ConfigurationError
from muster.settings import ALL_WORKLOADS, Settings
from muster.states import ClientState

DEADLINE_S: Final = 12 * 3600.0


class Mode(StrEnum):
    """How much of the real work is done: all of it, or a small live sample."""

    NORMAL = "normal"
    TESTING = "testing"

    @property
    def suffix(self) -> str:
        """What a run's key ends with, so that a sample never stands where the real night belongs."""
        return "" if self is Mode.NORMAL else f":{self}"


class Limits(BaseModel):
    """What one batch may do; frozen into it when it is opened."""

    model_config = ConfigDict(frozen=True)

    mode: Mode
    profiles: int = Field(ge=0, description="profiles scored")
    batch_size: int = Field(ge=1, description="leads per claim")
    max_batches: int = Field(ge=0, description="claims' worth of leads; with batch_size the cap of leads")
    prompts: int | None = Field(None, ge=0, description="prompts that are asked; none set means all")
    posts_target: int | None = Field(ge=0, description="posts gained; none set means that nothing is harvested")
    posts_per_profile: int = Field(ge=0, description="posts asked of one profile")
    stories_target: int | None = Field(None, ge=0, description="stories found; none set means that all are looked for")
    keywords: int | None = Field(None, ge=0, description="keywords that are written about; none set means all")
    at_once: int | None = Field(None, ge=1, description="items begun and not ended, over all lanes; none set: any")
    fail_fast: bool = Field(False, description="after the first item that fails nothing new is begun")
    dry_run: bool = Field(False, description="articles: the research alone")
    pairs: int | None = Field(None, ge=0, description="endpoint pairs that there were when the batch was opened")
    tries: int = Field(ge=1, description="tries of an item before it fails")
    lanes: int = Field(ge=1)
    in_flight: int = Field(ge=1, description="calls of one lane at once")
    deadline_s: float = Field(DEADLINE_S, gt=0, description="seconds after it was opened by which a batch must be over")
    duration_s: float | None = Field(None, gt=0, description="seconds that a batch may take from its first driver on")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the engine needs of a batch's limits, whatever the workload."""

    items: int | None = None  # most items that are planned
    claim: int | None = None  # most items a lane takes at one time
    target: int | None = None  # the allowance that all items share
    per_item: int = 0  # most of the allowance that one item may use
    at_once: int | None = None  # most items that are begun and not ended, over all lanes
    beside: tuple[str, ...] = ()  # upstreams that attempts call beside their item's own


@dataclass(frozen=True, slots=True)
class Selection:
    """Which clients a run may take."""

    states: frozenset[ClientState]
    clients: int | None  # at most, in the order of their ids
    min_level: Mapping[str, int]  # by workload
    label: str  # what a person is told of the mode


class ClientLimits(Protocol):
    """The columns of a client that limit its work."""

    batch_size: int
    max_batches: int
    posts_target: int | None
    max_posts_per_profile: int
    profiles_limit: int


TESTING_CLIENTS: Final = 5
TESTING_CAPS: Final[Mapping[str, int]] = {
    "profiles": 5,
    "batch_size": 5,
    "max_batches": 1,
    "prompts": 5,
    "keywords": 5,
    "posts_target": 5,
    "posts_per_profile": 2,
}


def mode_for(settings: Settings, wanted: Mode | None = None) -> Mode:
    """The mode of a run: what was asked for, else what the environment says.

    Raises:
        ConfigurationError: testing where `MUSTER_ENV=production` and nobody allowed it.
    """
    mode = wanted or (Mode.TESTING if settings.testing_flag == "true" else Mode.NORMAL)
    if mode is Mode.TESTING and settings.env == "production" and not settings.allow_testing:
        raise ConfigurationError(
            "Testing mode is refused where MUSTER_ENV=production; set MUSTER_ALLOW_TESTING=true to run it all the same."
        )
    return mode


def limits_for(settings: Settings, client: ClientLimits, mode: Mode, workload: str) -> Limits:
    """The limits of a client's batches of one workload; testing can only lower a limit, or set one where none was."""
    normal = Limits(
        mode=mode,
        profiles=client.profiles_limit,
        batch_size=client.batch_size,
        max_batches=client.max_batches,
        posts_target=client.posts_target,
        posts_per_profile=client.max_posts_per_profile,
        tries=settings.tries,
        lanes=settings.lanes,
        in_flight=settings.in_flight,
        deadline_s=_seconds(settings.deadline_hours, workload) or DEADLINE_S,
        duration_s=_seconds(settings.duration_hours, workload),
    )
    if mode is Mode.NORMAL:
        return normal
    return normal.model_copy(update={name: _lower(getattr(normal, name), cap) for name, cap in TESTING_CAPS.items()})


def selection_for(settings: Settings, mode: Mode) -> Selection:
    """Which clients a run of this mode may take."""
    if mode is Mode.TESTING:
        return Selection(frozenset(ClientState), TESTING_CLIENTS, {}, "testing mode")
    return Selection(frozenset({ClientState.ACTIVE}), None, settings.min_service_level, "normal mode")


def _seconds(hours: Mapping[str, float], workload: str) -> float | None:
    """A workload's own hours, else those of all, in seconds."""
    found = hours.get(workload, hours.get(ALL_WORKLOADS))
    return None if found is None else found * 3600


def _lower(limit: int | None, cap: int) -> int:
    return cap if limit is None else min(limit, cap)
