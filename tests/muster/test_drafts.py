"""Drafts on disk: whole or not there, and never in another's place."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from muster.drafts import LONGEST_NAME, RESEARCH, Draft, keep, slug_of
from muster.review import page


def a_draft(folder: Path, keyword: str = "one", owner: str = "me") -> Draft:
    files = {RESEARCH: json.dumps({"owner": owner}).encode(), "article.md": keyword.encode()}
    return Draft(keyword, owner, folder, files)


def names(folder: Path) -> list[str]:
    return sorted(it.name for it in folder.iterdir())


@given(some.text(max_size=300))
def test_a_name_is_safe_whatever_the_keyword(keyword: str):
    name = slug_of(keyword)

    assert 0 < len(name) <= LONGEST_NAME
    assert name.replace("-", "").isalnum()
    assert name.isascii()


def test_many_at_once_get_a_folder_each(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda n: keep(a_draft(tmp_path, "x" * 200, str(n)), again=False).name, range(24)))

    assert len(set(kept)) == 24
    assert sorted(kept) == names(tmp_path)
    assert max(map(len, kept)) <= LONGEST_NAME


def test_what_was_put_in_place_is_found_again_also_under_a_number(tmp_path: Path):
    keep(a_draft(tmp_path, owner="other"), again=False)
    mine = keep(a_draft(tmp_path), again=False)
    long = [keep(a_draft(tmp_path, "y" * 99, str(n)), again=False) for n in range(12)]

    assert keep(a_draft(tmp_path), again=True) == mine
    assert [keep(a_draft(tmp_path, "y" * 99, str(n)), again=True) for n in range(12)] == long
    assert len(names(tmp_path)) == 14


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as dying:
        dying.setattr("muster.drafts.shutil.rmtree", lambda *_, **__: None)
        dying.setattr("muster.drafts._move", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            keep(a_draft(tmp_path), again=False)
    assert len(names(tmp_path)) == 1

    keep(a_draft(tmp_path), again=True)

    assert names(tmp_path) == ["one"]


def test_files_and_links_in_the_way_are_left_alone(tmp_path: Path):
    (tmp_path / "one").write_text("a file")
    (tmp_path / "one-2").symlink_to(tmp_path / "nowhere")

    assert keep(a_draft(tmp_path), again=False).name == "one-3"
    assert (tmp_path / "one").read_text() == "a file"


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "![x](http://evil.example)",
        "<img src=x onerror=y>",
    ],
)
def test_nothing_on_the_page_runs_or_is_loaded(evil: str):
    shown = page(evil, f"# {evil}\n\n{evil}", [{"title": evil, "url": f'https://x.example/"{evil}'}], [evil], [evil])

    assert "<script" not in shown
    assert "<img" not in shown
    assert 'href="javascript' not in shown
    assert "default-src &#x27;none&#x27;" in shown
