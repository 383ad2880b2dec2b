"""The tables of what clients have: niches, profiles, posts, prompts, answers; columns are fixed, for operators."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text, UniqueConstraint
from sqlmodel import Field

from muster.ledger.columns import Base, Id, Json, Utc, state_known, table_of
from muster.states import ProfileState, PromptState

DAILY_STORY_TARGET: Final = 10


class Niche(Base, table=True):
    """A named group of a client's profiles."""

    __table_args__ = (
        UniqueConstraint("client_id", "name"),
        CheckConstraint("daily_story_target >= 0", name="target_not_negative"),
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    client_id: str = Field(foreign_key="client.id")
    name: str
    daily_story_target: int = DAILY_STORY_TARGET  # profiles with a story, after which no more are checked on that day


class Profile(Base, table=True):
    """A profile of a client's, and what is known of it."""

    __table_args__ = (
        state_known(ProfileState),
        UniqueConstraint("client_id", "platform", "handle"),
        CheckConstraint("score BETWEEN 0 AND 100", name="score_in_range"),
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    client_id: str = Field(foreign_key="client.id")
    platform: str
    handle: str
    url: str | None = None
    data: dict[str, Any] = Field(default_factory=dict, sa_type=Json)  # name, headline, about, any further column
    state: ProfileState = Field(default=ProfileState.ACTIVE, sa_type=String)
    score: int | None = None
    score_reason: str | None = Field(default=None, sa_type=Text)
    scored_at: datetime | None = Field(default=None, sa_type=Utc)
    harvested_at: datetime | None = Field(default=None, sa_type=Utc)
    niche_id: int | None = Field(default=None, foreign_key="niche.id", sa_type=Id)
    active_story: bool | None = None  # at the last check that worked; None before the first
    last_story_detected: datetime | None = Field(default=None, sa_type=Utc)
    last_checked: datetime | None = Field(default=None, sa_type=Utc)
    total_checks: int = 0  # that worked
    total_detections: int = 0  # checks that found a story
    story_id: str | None = None  # its id at the site, which never changes


class Post(Base, table=True):
    """A post of a profile, kept once."""

    __table_args__ = (UniqueConstraint("profile_id", "external_id"),)
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    profile_id: int = Field(foreign_key="profile.id", sa_type=Id)
    external_id: str
    item_id: int | None = Field(default=None, sa_type=Id)  # the item that found it
    url: str | None = None
    text: str | None = Field(default=None, sa_type=Text)
    posted_at: datetime | None = Field(default=None, sa_type=Utc)
    data: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    found_at: datetime = Field(sa_type=Utc)


class Prompt(Base, table=True):
    """A question that is put to model providers for a client."""

    __table_args__ = (state_known(PromptState), UniqueConstraint("client_id", "key"))
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    client_id: str = Field(foreign_key="client.id")
    key: str
    text: str = Field(sa_type=Text)
    state: PromptState = Field(default=PromptState.ACTIVE, sa_type=String)


class Answer(Base, table=True):
    """What a provider answered to a prompt, kept once for each item."""

    __table_args__ = (UniqueConstraint("item_id"), Index(None, "prompt_id", "provider"), Index(None, "client_id", "at"))
    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    item_id: int = Field(foreign_key="item.id", sa_type=Id)
    prompt_id: int = Field(foreign_key="prompt.id", sa_type=Id)
    client_id: str = Field(foreign_key="client.id")
    provider: str
    model: str  # that answered, whatever was asked for
    text: str = Field(sa_type=Text)
    mark: str | None = None  # `refused` or `cut_off`
    grounded: bool  # it searched the web
    brand_mentioned: bool
    mentions: dict[str, list[int]] = Field(default_factory=dict, sa_type=Json)  # name → where in the text, in letters
    citations: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)  # of url, domain, title
    searches: int
    input_tokens: int
    output_tokens: int
    cost_micros: int | None = Field(default=None, sa_type=BigInteger)  # None: no price is set
    at: datetime = Field(sa_type=Utc)


NICHE: Final = table_of(Niche)
PROFILE: Final = table_of(Profile)
POST: Final = table_of(Post)
PROMPT: Final = table_of(Prompt)
ANSWER: Final = table_of(Answer)
