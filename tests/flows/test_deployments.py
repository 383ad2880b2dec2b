"""`prefect.yaml` held against the flows, and what the flows ask of a server."""

import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Task

import tasks
from deployments.check import FILE, complaints
from deployments.setup import TAG_LIMITS
from flows.articles import articles
from flows.client import client
from flows.nightly import nightly
from flows.stories import stories
from tasks.work import work

Change = Callable[[dict[str, Any]], None]


def all_tasks() -> Iterator[Task[..., Any]]:
    for found in pkgutil.iter_modules(tasks.__path__, "tasks."):
        yield from (it for it in vars(import_module(found.name)).values() if isinstance(it, Task))


def test_the_projects_own_file_has_nothing_to_complain_of():
    assert complaints() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.update(parameters={"speed": 9}), "nightly: the flow has no parameter 'speed'"),
        (lambda row: row.update(parameters={"mode": "reckless"}), "Input should be 'normal' or 'testing'"),
        (lambda row: row.update(shedules=[]), "nightly: Prefect knows no field 'shedules'"),
        (lambda row: row.update(work_pool={"name": "other"}), "nightly: its work pool is not muster"),
        (lambda row: row.pop("work_pool"), "nightly: its work pool is not muster"),
        (lambda row: row.update(entrypoint="flows/nightly.py:weekly"), "weekly"),
        (lambda row: row.update(entrypoint="flows/weekly.py:weekly"), "weekly"),
        (lambda row: row.pop("entrypoint"), "entrypoint"),
    ],
)
def test_a_wrong_row_is_named_with_what_is_wrong(tmp_path: Path, change: Change, said: str):
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    change(content["deployments"][0])
    changed = tmp_path / "prefect.yaml"
    changed.write_text(yaml.safe_dump(content), encoding="utf-8")

    (complaint,) = complaints(changed)

    assert said in complaint


def test_every_tag_of_a_task_has_its_limit_declared():
    found = {it.name: it.tags for it in all_tasks()}

    assert set(found) == {"plan", "work", "report", "report run"}
    assert set().union(*found.values()) == set(TAG_LIMITS)


def test_lanes_have_no_tag_whose_lost_slot_could_hold_the_next_one_back():
    assert not work.tags


@pytest.mark.parametrize("flow", [nightly, client, stories, articles])
def test_the_form_shows_the_mode_as_a_choice_with_its_description(flow: Any):
    schema = flow.parameters.model_dump()
    mode = schema["properties"]["mode"]

    assert "`testing` is a small live sample" in mode["description"]
    assert {"$ref": "#/definitions/Mode"} in mode["anyOf"]
    assert schema["definitions"]["Mode"]["enum"] == ["normal", "testing"]


@pytest.mark.parametrize("flow", [nightly, client, stories, articles])
def test_every_parameter_of_a_form_is_described(flow: Any):
    assert all(it.get("description") for it in flow.parameters.properties.values())
