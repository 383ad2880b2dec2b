"""Holds `prefect.yaml` against the flows: every entrypoint loads, every parameter is one, every pool is ours."""

from pathlib import Path
from typing import Any, Final

import yaml
from prefect import Flow
from prefect.cli.deploy._models import DeploymentConfig, RawScheduleConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint

from deployments.setup import POOL
from muster.settings import Settings, variable

ROOT: Final = Path(__file__).parent.parent
FILE: Final = ROOT / "prefect.yaml"


def filled(settings: Settings) -> dict[str, str]:
    """The variables that `prefect.yaml` names, as the settings have them."""
    return {variable(name): str(getattr(settings, name)) for name in ("timezone", "nightly_cron", "check_cron")}


def rows(path: Path = FILE) -> list[dict[str, Any]]:
    """The deployments of the file, with its variables filled in."""
    text = path.read_text(encoding="utf-8")
    for name, value in filled(Settings.read()).items():
        text = text.replace(f"{{{{ ${name} }}}}", value)
    found: list[dict[str, Any]] = yaml.safe_load(text)["deployments"]
    return found


def complaints(path: Path = FILE) -> list[str]:
    """What is wrong with the file, a sentence each; nothing when it can be deployed."""
    return [f"{row.get('name')}: {wrong}" for row in rows(path) for wrong in _wrong_with(row)]


def _wrong_with(row: dict[str, Any]) -> list[str]:
    wrong = [f"Prefect knows no field {name!r}" for name in set(row) - set(DeploymentConfig.model_fields)]
    if row.get("work_pool", {}).get("name") != POOL:
        wrong.append(f"its work pool is not {POOL}")
    wrong += [said for schedule in row.get("schedules", []) for said in _wrong_schedule(schedule)]
    if "entrypoint" not in row:
        return [*wrong, "it has no entrypoint"]
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(row["entrypoint"])
        known = flow.parameters.properties
        wrong += [f"the flow has no parameter {name!r}" for name in row.get("parameters", {}) if name not in known]
        required = set(flow.parameters.required)
        if not wrong and required <= set(row.get("parameters", {})):
            flow.validate_parameters(row.get("parameters", {}))
    except Exception as error:  # noqa: BLE001, whatever keeps a flow from loading is the answer
        wrong.append(str(error))
    return wrong


def _wrong_schedule(schedule: dict[str, Any]) -> list[str]:
    wrong = [f"a schedule has no field {name!r}" for name in set(schedule) - set(RawScheduleConfig.model_fields)]
    try:
        CronSchedule(cron=schedule.get("cron", ""))
    except ValueError:
        wrong.append(f"{schedule.get('cron')!r} is no cron schedule")
    return wrong
