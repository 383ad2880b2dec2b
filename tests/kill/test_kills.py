"""Whatever is killed, frozen or raced: no item is lost, none is counted twice, none is left running."""

import random
from pathlib import Path

from tests.kill.field import a_field
from tests.kill.killing import kill_at_random

KILLS = 50  # on each database


async def test_random_kills_lose_nothing_and_double_nothing(database_url: str, tmp_path: Path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201, whoever sees it fail can run it again

    async with a_field(database_url, tmp_path) as field:
        figures = await kill_at_random(field, KILLS, seed)

    print(figures.summary())  # noqa: T201
    assert figures.kills >= KILLS
