"""The environment, read once, here and nowhere else."""

import os
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from muster.addresses import sqlalchemy_url
from muster.errors import ConfigurationError
from muster.pricing import MOST_MICROS, PROMPT_MODELS, Price, ProviderName, by_provider, read_prices

T = TypeVar("T")

ALL_WORKLOADS: Final = ""  # the key of a number that stands alone
WORKLOADS: Final = ("profiles", "posts", "prompts", "stories", "articles")
MIN_SERVICE_LEVEL: Final = {"posts": 2, "prompts": 2}
MOST_HOURS: Final = 24 * 366


def _named(variable: str) -> AliasChoices:
    """An upstream's customary variable, without our prefix."""
    return AliasChoices(variable)


def _of_workloads(told: dict[str, T]) -> dict[str, T]:
    """The same, if it names workloads and nothing else."""
    if strange := [name for name in told if name not in (*WORKLOADS, ALL_WORKLOADS)]:
        raise ValueError(f"there is no workload {strange[0]!r}; there are {', '.join(WORKLOADS)}")
    return told


class Settings(BaseSettings):
    """What an operator can set; every field says its variable, unit and default.

    Fields are read as `MUSTER_<FIELD>` unless they name another variable. Keys are secrets: they show in no `repr`.
    """

    model_config = SettingsConfigDict(
        env_prefix="MUSTER_", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    # Where things are kept
    home: Path = Field(Path("~/.muster"), description="folder of the embedded ledger and of Prefect's state")
    database_url: SecretStr | None = Field(None, description="the ledger; default: SQLite in the home folder")
    env: Literal["development", "production"] = "development"
    timezone: str = Field("UTC", description="IANA name; the local day of scheduled runs")

    # Mode (seed 000): exactly the string `true` turns testing on
    testing_flag: str = Field("", validation_alias=_named("FIRE_AND_FORGET_BATCH_PROCESS_TESTING"))
    allow_testing: bool = Field(False, description="let testing mode run where MUSTER_ENV=production")

    # Who takes part
    min_service_level: Annotated[dict[str, int], NoDecode] = Field(
        MIN_SERVICE_LEVEL, description="lowest service level by workload, e.g. `posts=2,prompts=3`"
    )
    harvest_again_days: int = Field(7, ge=0, le=3650, description="days until a harvested profile is harvested again")

    # How a batch is worked
    lanes: int = Field(2, ge=1, le=64, description="lanes of a batch")
    in_flight: int = Field(16, ge=1, le=1000, description="calls of one lane at once")
    clients_at_once: int = Field(4, ge=1, le=32, description="clients a driver works at the same time")
    tries: int = Field(4, ge=1, le=100, description="tries of an item before it fails")
    deadline_hours: Annotated[dict[str, float], NoDecode] = Field(
        {ALL_WORKLOADS: 12.0}, description="hours after it was opened by which a batch must be over: `12,posts=6`"
    )
    duration_hours: Annotated[dict[str, float], NoDecode] = Field(
        {}, description="hours that a batch may take once it is begun, e.g. `posts=2`; none by default"
    )
    processes_from: int = Field(5000, ge=1, description="open items from which a batch's lanes are processes")
    stale_seconds: float = Field(
        20.0, ge=0.5, le=3600, description="silence after which a driver or lane is taken for dead"
    )
    dispatch: Literal["inline", "deployment"] = Field(
        "inline", description="where `nightly` has batches worked: in its own process, or by runs of `drive/drive`"
    )
    drivers: int = Field(2, ge=1, le=32, description="runs of `drive/drive` started where MUSTER_DISPATCH=deployment")
    stop_grace_seconds: float = Field(3.0, ge=0, le=600, description="how long calls in flight may finish on a stop")

    nightly_cron: str = Field("0 3 * * *", description="when the night begins, in the time zone")
    check_cron: str = Field("0 4 * * *", description="when the night's certificate is checked")
    coverage: float = Field(0.95, ge=0, le=1, description="part of a night's items that has to be closed by then")

    # Upstreams, by their customary names
    openai_api_key: SecretStr | None = Field(None, validation_alias=_named("OPENAI_API_KEY"))
    openai_base_url: str = Field("https://api.openai.com/v1", validation_alias=_named("OPENAI_BASE_URL"))
    perplexity_api_key: SecretStr | None = Field(None, validation_alias=_named("PERPLEXITY_API_KEY"))
    perplexity_base_url: str = Field("https://api.perplexity.ai", validation_alias=_named("PERPLEXITY_BASE_URL"))
    gemini_api_key: SecretStr | None = Field(None, validation_alias=_named("GEMINI_API_KEY"))
    gemini_base_url: str = Field(
        "https://generativelanguage.googleapis.com/v1beta", validation_alias=_named("GEMINI_BASE_URL")
    )
    anthropic_api_key: SecretStr | None = Field(None, validation_alias=_named("ANTHROPIC_API_KEY"))
    anthropic_base_url: str = Field("https://api.anthropic.com", validation_alias=_named("ANTHROPIC_BASE_URL"))
    apify_token: SecretStr | None = Field(None, validation_alias=_named("APIFY_TOKEN"))
    apify_base_url: str = Field("https://api.apify.com", validation_alias=_named("APIFY_BASE_URL"))
    tavily_api_key: SecretStr | None = Field(None, validation_alias=_named("TAVILY_API_KEY"))
    tavily_base_url: str = Field("https://api.tavily.com", validation_alias=_named("TAVILY_BASE_URL"))
    scoring_model: str = Field("gpt-6-luna", description="model that scores profiles")
    scoring_input_micros: int = Field(
        100_000, ge=0, le=MOST_MICROS, description="micro-dollars per million input tokens"
    )
    scoring_output_micros: int = Field(
        500_000, ge=0, le=MOST_MICROS, description="micro-dollars per million output tokens"
    )
    providers: Annotated[tuple[ProviderName, ...], NoDecode] = Field(
        get_args(ProviderName), description="whom prompts are put to, e.g. `openai,gemini`"
    )
    prompt_models: Annotated[dict[str, str], NoDecode] = Field(
        PROMPT_MODELS, description="models that answer prompts, e.g. `openai=gpt-6.1-sol,perplexity=preset:low`"
    )
    prompt_prices: Annotated[dict[str, Price], NoDecode] = Field(
        {"openai": Price(input=1_000_000, output=5_000_000, searches=10_000_000)},
        description="dollars per million input tokens, million output tokens and thousand searches: `openai=1:5:10`",
    )
    prompt_tokens: int = Field(4000, ge=1, le=20_000, description="most tokens of an answer, thoughts included")
    prompt_country: str | None = Field(
        None, pattern="^[A-Z]{2}$", description="where the asker seems to be, two capital letters (ISO 3166-1)"
    )
    posts_actor: str = Field("harvestapi~linkedin-profile-posts", description="Apify actor that harvests posts")
    posts_window: str = Field("year", description="how far back posts are harvested: 24h, week, month, … any")

    # Articles
    article_model: str = Field("gpt-6.1-terra", description="model that writes articles")
    article_words: int = Field(1200, ge=50, le=10_000, description="about how long an article is to be")
    article_tokens: int = Field(8000, ge=100, le=100_000, description="most tokens of an article, thoughts included")
    article_sources: int = Field(10, ge=1, le=20, description="most search results that an article stands on")
    article_input_micros: int = Field(
        1_000_000, ge=0, le=MOST_MICROS, description="micro-dollars per million input tokens"
    )
    article_output_micros: int = Field(
        5_000_000, ge=0, le=MOST_MICROS, description="micro-dollars per million output tokens"
    )
    tavily_credit_micros: int = Field(8_000, ge=0, le=MOST_MICROS, description="micro-dollars per Tavily credit")

    # Stories, through endpoint pairs
    stories_base_url: str | None = Field(None, validation_alias=_named("STORIES_BASE_URL"))
    stories_platform: str = Field("instagram", description="platform of the profiles that are checked for stories")
    stories_parallel: int = Field(1, ge=1, le=64, description="checks of a batch at once")
    pair_spacing_seconds: float = Field(20.0, ge=0, le=3600, description="between two uses of an endpoint pair")
    pair_hourly_budget: int = Field(150, ge=1, le=10_000, description="uses of an endpoint pair in an hour")
    pair_lease_seconds: float = Field(
        60.0, ge=1, le=3600, description="after which a pair that is not given back is free"
    )
    pair_verify_seconds: float = Field(60.0, ge=0, le=3600, description="for which an answer proves a proxy responsive")
    pair_errors: int = Field(3, ge=1, le=100, description="errors in a row after which a proxy is disabled")

    # Who may start a run from outside; both are valid, so that callers can change over
    cron_secret: SecretStr | None = Field(None, validation_alias=_named("CRON_SECRET"))
    cron_secret_previous: SecretStr | None = Field(None, validation_alias=_named("CRON_SECRET_PREVIOUS"))

    # Prefect
    prefect_api_url: str | None = Field(None, validation_alias=_named("PREFECT_API_URL"))

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as unknown:  # `America` is a folder of zones
            raise ValueError(f"{name!r} is no IANA time zone; try Europe/Berlin") from unknown
        return name

    @field_validator("min_service_level", mode="before")
    @classmethod
    def _levels(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        if not all(name.strip() and level.strip().isdecimal() for name, _, level in pairs):
            raise ValueError("must look like posts=2,prompts=3")
        return {**MIN_SERVICE_LEVEL, **_of_workloads({name.strip(): level.strip() for name, _, level in pairs})}

    @field_validator("deadline_hours", "duration_hours", mode="before")
    @classmethod
    def _hours(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        pairs = [part.rpartition("=") for part in given.split(",") if part.strip()]
        try:
            hours = {name.strip(): float(number) for name, _, number in pairs}
        except ValueError:
            hours = {}
        if not hours or not all(0 < it <= MOST_HOURS for it in hours.values()):
            raise ValueError(f"must be hours above 0 and up to {MOST_HOURS}, such as 12 or 12,posts=6")
        return _of_workloads(hours)

    @field_validator("providers", mode="before")
    @classmethod
    def _list(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
        if not names or not set(names) <= set(get_args(ProviderName)):
            strange = next((it for it in names if it not in get_args(ProviderName)), "")
            raise ValueError(f"must be some of {','.join(get_args(ProviderName))}; {strange!r} is none")
        return names

    @field_validator("prompt_models", mode="before")
    @classmethod
    def _models(cls, given: object) -> object:
        return {**PROMPT_MODELS, **by_provider(given, "openai=gpt-6.1-terra")} if isinstance(given, str) else given

    @field_validator("prompt_prices", mode="before")
    @classmethod
    def _prices(cls, given: object) -> object:
        return read_prices(given) if isinstance(given, str) else given

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        try:
            home = home.expanduser().absolute()  # `~` of nobody is a RuntimeError
            if any(it.exists() and not it.is_dir() for it in (home, *home.parents)):
                raise ValueError(f"{home} is no folder")
        except (RuntimeError, OSError) as wrong:
            raise ValueError(f"{home} cannot be a folder") from wrong
        return home

    @field_validator("database_url")
    @classmethod
    def _usable(cls, address: SecretStr | None) -> SecretStr | None:
        if address is not None:
            sqlalchemy_url(address.get_secret_value())
        return address

    @property
    def zone(self) -> ZoneInfo:
        """The local day's time zone."""
        return ZoneInfo(self.timezone)

    def midnight(self, now: datetime) -> datetime:
        """When the local day of a moment began."""
        return now.astimezone(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)

    @property
    def cron_secrets(self) -> tuple[SecretStr, ...]:
        """Those of the environment; the ledger may hold others."""
        return tuple(it for it in (self.cron_secret, self.cron_secret_previous) if it is not None)

    @property
    def ledger_url(self) -> str:
        """The ledger's SQLAlchemy address, with its asynchronous driver; may hold a password."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{self.home / 'muster.db'}"
        return sqlalchemy_url(self.database_url.get_secret_value()).render_as_string(hide_password=False)

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: a variable holds what it cannot hold; the sentence names it.
        """
        try:
            return cls()
        except ValidationError as wrong:
            raise ConfigurationError(_first_sentence(wrong)) from None


def strangers() -> dict[str, str]:
    """Variables of the environment that look like ours and set nothing, each with the one that is probably meant."""
    known = [variable(field) for field in Settings.model_fields]
    strange = [it for it in os.environ if it.startswith("MUSTER_") and it.upper() not in known]
    return {it: next(iter(get_close_matches(it.upper(), known, 1)), "") for it in sorted(strange)}


def variable(field: str) -> str:
    """The environment variable that sets a field."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"MUSTER_{field.upper()}"


def _first_sentence(wrong: ValidationError) -> str:
    first = wrong.errors(include_input=False)[0]
    place = str(first["loc"][0])
    name = variable(place) if place in Settings.model_fields else place
    return f"{name}: {first['msg'].removeprefix('Value error, ')}."
