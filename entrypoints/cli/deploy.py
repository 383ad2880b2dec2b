"""`muster deploy`: everything that a Prefect server needs of us."""

import asyncio
import os
import subprocess
import sys

from entrypoints.cli.prefect import quiet_prefect, reach_prefect
from entrypoints.cli.speech import note, say
from muster.errors import ConfigurationError
from muster.settings import Settings


def deploy() -> None:
    """Create work pool, queue, concurrency limits and automations, and deploy every flow; may be run again at any time.

    Then start a worker: prefect worker start --pool muster
    """
    settings = Settings.read()
    if not settings.prefect_api_url:
        raise ConfigurationError("PREFECT_API_URL is not set; it says which Prefect server to deploy to.")
    asyncio.run(reach_prefect(settings))
    quiet_prefect()
    from deployments.automations import set_up_automations  # noqa: PLC0415, importing Prefect takes seconds
    from deployments.check import ROOT, complaints, filled  # noqa: PLC0415
    from deployments.setup import POOL, set_up  # noqa: PLC0415

    os.chdir(ROOT)  # entrypoints are relative to it
    if wrong := complaints():
        raise ConfigurationError("prefect.yaml: " + "; ".join(wrong))
    for line in asyncio.run(set_up()):
        note(line)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = os.environ | filled(settings)
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        raise ConfigurationError(
            f"Prefect did not take the deployments: {(ended.stderr or ended.stdout).strip()[-500:]}"
        )
    for line in asyncio.run(set_up_automations()):
        note(line)
    say(f"Deployed. Now start a worker: prefect worker start --pool {POOL}")
