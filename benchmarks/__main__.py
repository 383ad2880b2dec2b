"""Runs the benchmarks that are named, or all; one JSON object with the machine and versions beside the numbers."""

import asyncio
import json
import os
import platform
import sys
from importlib.metadata import version

from benchmarks import articles, engine, limits, memory, neighbour, prefect_calls, prompts, starting, takeover

ALL = {
    "articles": articles.measure,
    "engine": engine.measure,
    "limits": limits.measure,
    "memory": memory.measure,
    "neighbour": neighbour.measure,
    "prefect_calls": prefect_calls.measure,
    "prompts": prompts.measure,
    "starting": starting.measure,
    "takeover": takeover.measure,
}


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:] or list(ALL)
    if unknown := [name for name in names if name not in ALL]:
        sys.exit(f"There is no benchmark {unknown[0]!r}; there are {', '.join(ALL)}.")
    packages = ("prefect", "sqlalchemy", "aiosqlite", "pyreqwest", "aiohttp")
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
    print(json.dumps({"machine": machine, **{name: asyncio.run(ALL[name]()) for name in names}}, indent=2))


if __name__ == "__main__":
    main()
