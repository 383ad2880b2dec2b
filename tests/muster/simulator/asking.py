"""The calls that the simulator's tests make again and again."""

from typing import Any

import httpx

PROFILE = "https://www.linkedin.com/in/jane-doe"
ACTOR = "/v2/actors/harvestapi~linkedin-profile-posts/runs"


async def chat(client: httpx.AsyncClient, text: str, **more: Any) -> httpx.Response:
    messages = [{"role": "system", "content": "You score posts."}, {"role": "user", "content": text}]
    return await client.post("/v1/chat/completions", json={"model": "gpt-6-luna", "messages": messages, **more})


async def start(
    client: httpx.AsyncClient, *targets: str, query: str = "waitForFinish=5", **more: Any
) -> httpx.Response:
    return await client.post(f"{ACTOR}?{query}", json={"targetUrls": targets or (PROFILE,), **more})


async def rows(client: httpx.AsyncClient, run: dict[str, Any], query: str = "format=json") -> list[dict[str, Any]]:
    answer = await client.get(f"/v2/datasets/{run['defaultDatasetId']}/items?{query}")
    assert answer.status_code == 200
    return list(answer.json())


async def harvest(client: httpx.AsyncClient, *targets: str, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run that has ended, and the posts in its dataset."""
    run = (await start(client, *targets, **more)).json()["data"]
    return run, [row for row in await rows(client, run) if row["type"] == "post"]


async def counted(client: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await client.get("/_sim/calls")).json())
