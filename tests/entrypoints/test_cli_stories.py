"""`muster proxies`, `muster niches` and `muster run stories`, as a terminal meets them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.entrypoints.conftest import Muster
from tests.flows.simulated import Simulator, simulator


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with simulator(0, "--proxies", "3", "--dead-proxies", "1") as started:
        yield started


@pytest.fixture
def site(sim: Simulator, muster: Muster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulator:
    """A client with a niche, and the endpoint's stand-in with three pairs."""
    for name, value in {**sim.environ, "MUSTER_PAIR_SPACING_SECONDS": "0"}.items():
        monkeypatch.setenv(name, value)
    clients, profiles = tmp_path / "clients.csv", tmp_path / "profiles.csv"
    clients.write_text("id\nacme\n")
    rows = [f"acme,instagram,p{n},{'travel' if n < 6 else ''}" for n in range(8)]
    profiles.write_text("\n".join(["client_id,platform,handle,niche", *rows]))
    assert muster("clients", "import", str(clients)).code == 0
    assert muster("profiles", "import", str(profiles)).code == 0
    return sim


def pairs_file(site: Simulator, folder: Path, session: str = "s") -> str:
    file = folder / "proxies.csv"
    rows = [
        f"{it['address']},ann,topsecret,sessionid={session}{at}; csrftoken=topsecret{at},topsecret"
        for at, it in enumerate(site.pairs()["proxies"])
    ]
    file.write_text("\n".join(["address,username,password,cookie,header:x-app-id", *rows]))
    return str(file)


def test_pairs_are_imported_listed_and_checked_and_no_credential_is_shown(
    site: Simulator, muster: Muster, tmp_path: Path
):
    said = [
        muster("proxies", "import", pairs_file(site, tmp_path)),
        muster("proxies", "list"),
        muster("proxies", "check"),
    ]
    listed = muster("proxies", "list", "--json")

    assert [it.code for it in said] == [0, 0, 0]
    assert said[0].out == "3 pairs imported.\n"
    assert [it["errors"] for it in listed.json["pairs"]] == [0, 0, 1]
    assert all(it["verified_at"] for it in listed.json["pairs"][:2])
    assert "topsecret" not in "".join(it.out + it.err for it in (*said, listed))


def test_a_clients_stories_are_checked_and_its_niche_stops_at_its_target(
    site: Simulator, muster: Muster, tmp_path: Path
):
    muster("proxies", "import", pairs_file(site, tmp_path))
    assert muster("niches", "set", "acme", "travel", "--target", "1").code == 0

    some = muster("run", "stories", "--client", "acme", "--niche", "travel", "--json")
    rest = muster("run", "stories", "--client", "acme", "--profiles", "p6,p7", "--json")

    assert (some.code, rest.code) == (0, 0)
    assert some.json["batches"][0]["total"] == 6
    assert rest.json["batches"][0]["succeeded"] == 2
    (niche,) = muster("niches", "list", "--json").json["niches"]
    assert (niche["daily_story_target"], niche["profiles"], niche["found"]) == (1, 6, 1)


def test_without_a_usable_pair_the_run_says_so_and_exits_with_1(site: Simulator, muster: Muster, tmp_path: Path):
    muster("proxies", "import", pairs_file(site, tmp_path, "sim-denied"))

    said = muster("run", "stories", "--client", "acme")

    assert said.code == 1
    assert "no endpoint pair is usable" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--niche", "none", "--client", "acme"), "no niche 'none'"),
        (("--profiles", "p1,none", "--client", "acme"), "no profile 'none'"),
        (("--niche", "travel"), "one --client"),
    ],
)
def test_what_is_not_there_is_named(site: Simulator, muster: Muster, words: tuple[str, ...], said: str):
    ended = muster("run", "stories", *words)

    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("http://ann:topsecret@host:1,,", "line 2: address: must be host:port"),
        ("host:99999,,", "line 2: address: must be host:port"),
        ("host:1,,topsecret", "line 2: cookie: must look like name=value"),
    ],
)
def test_a_bad_line_is_named_without_what_it_holds(muster: Muster, tmp_path: Path, line: str, said: str):
    file = tmp_path / "proxies.csv"
    file.write_text(f"address,password,cookie\n{line}\n")

    ended = muster("proxies", "import", str(file))

    assert ended.code == 2
    assert said in ended.err
    assert "topsecret" not in ended.err


def test_an_unknown_column_and_a_session_that_stands_twice_are_refused(muster: Muster, tmp_path: Path):
    file = tmp_path / "proxies.csv"
    file.write_text("address,cookie\na:1,x=1\nb:1,x=1\n")
    twice = muster("proxies", "import", str(file))
    file.write_text("address,cokie\na:1,x=1\n")
    unknown = muster("proxies", "import", str(file))

    assert "line 3: the same session" in twice.err
    assert "unknown column 'cokie'" in unknown.err
