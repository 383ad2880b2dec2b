"""The environment: what is read, what is refused by name, and what never shows."""

from pathlib import Path

import pytest

from muster.errors import ConfigurationError
from muster.settings import WORKLOADS, Settings
from muster.workloads import SHELF

SECRET = "geheim-4711"


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "APIFY_TOKEN"])
def test_a_key_shows_nowhere(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, SECRET)
    settings = Settings.read()
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert SECRET not in shown


def test_a_databases_password_shows_nowhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSTER_DATABASE_URL", f"postgresql://me:{SECRET}@db/muster")
    settings = Settings.read()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert SECRET in settings.ledger_url  # only where the engine is made


def test_the_ledger_is_sqlite_in_the_home_folder_unless_said_otherwise(tmp_path: Path):
    assert Settings.read().ledger_url == f"sqlite+aiosqlite:///{tmp_path / 'home' / 'muster.db'}"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p%40%2F@h/d", "postgresql+asyncpg://u:p%40%2F@h/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
        ("sqlite:////var/muster.db", "sqlite+aiosqlite:////var/muster.db"),
        ("sqlite:///muster.db", "sqlite+aiosqlite:///muster.db"),
        ("sqlite+aiosqlite:////var/muster.db", "sqlite+aiosqlite:////var/muster.db"),
    ],
)
def test_a_customary_database_address_gets_its_asynchronous_driver(
    monkeypatch: pytest.MonkeyPatch, given: str, used: str
):
    monkeypatch.setenv("MUSTER_DATABASE_URL", given)
    assert Settings.read().ledger_url == used


@pytest.mark.parametrize(
    "given",
    [
        f"mysql://me:{SECRET}@db/muster",
        f"postgresql+psycopg2://me:{SECRET}@db/muster",
        f"me:{SECRET}@db",
        f"postgresql://me:{SECRET}@db:99999/muster",
        f"postgresql://me:{SECRET}@db:port/muster",
        f"postgresql://me@db/muster?password={SECRET}",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_an_address_that_no_ledger_can_have_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, given: str):
    monkeypatch.setenv("MUSTER_DATABASE_URL", given)
    with pytest.raises(ConfigurationError, match=r"^MUSTER_DATABASE_URL: ") as wrong:
        Settings.read()
    assert SECRET not in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MUSTER_TIMEZONE", "Mars", "IANA time zone"),
        ("MUSTER_TIMEZONE", "America", "IANA time zone"),
        ("MUSTER_TIMEZONE", "../etc/passwd", "IANA time zone"),
        ("MUSTER_ENV", "prod", "'development' or 'production'"),
        ("MUSTER_LANES", "0", "greater than or equal to 1"),
        ("MUSTER_LANES", "many", "integer"),
        ("MUSTER_TRIES", "9" * 30, "less than or equal to"),
        ("MUSTER_HARVEST_AGAIN_DAYS", "9" * 12, "less than or equal to"),
        ("MUSTER_STOP_GRACE_SECONDS", "inf", "less than or equal to"),
        ("MUSTER_STOP_GRACE_SECONDS", "nan", "less than or equal to"),
        ("MUSTER_MIN_SERVICE_LEVEL", "posts", "posts=2,prompts=3"),
        ("MUSTER_MIN_SERVICE_LEVEL", "posts=x", "posts=2,prompts=3"),
        ("MUSTER_MIN_SERVICE_LEVEL", "promts=3", "there is no workload 'promts'; there are profiles, posts, prompts"),
        ("MUSTER_DEADLINE_HOURS", "6,post=3", "there is no workload 'post'"),
        ("MUSTER_HOME", "~nobody-has-this-name/x", "cannot be a folder"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as wrong:
        Settings.read()
    assert said in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_home_that_is_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    for home in (file, file / "below"):
        monkeypatch.setenv("MUSTER_HOME", str(home))
        with pytest.raises(ConfigurationError, match=r"MUSTER_HOME: .* is no folder"):
            Settings.read()


def test_the_home_folders_tilde_and_relative_paths_are_made_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MUSTER_HOME", "~/ours")
    assert Settings.read().home == tmp_path / "ours"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUSTER_HOME", "here")
    assert Settings.read().home == tmp_path / "here"


@pytest.mark.parametrize("name", ["MUSTER_LANES", "MUSTER_DATABASE_URL", "OPENAI_API_KEY", "PREFECT_API_URL"])
def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, name: str):
    unset = Settings.read()
    monkeypatch.setenv(name, "")
    assert Settings.read() == unset


def test_service_levels_are_read_by_workload(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSTER_MIN_SERVICE_LEVEL", " posts = 3 , prompts=1,")
    assert Settings.read().min_service_level == {"posts": 3, "prompts": 1}
    monkeypatch.setenv("MUSTER_MIN_SERVICE_LEVEL", "posts=3")
    assert Settings.read().min_service_level == {"posts": 3, "prompts": 2}  # what is not named stays as it is


def test_the_workloads_that_settings_may_name_are_those_there_are():
    assert tuple(SHELF) == WORKLOADS
