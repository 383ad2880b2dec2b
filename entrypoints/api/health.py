"""Whether the server does its work."""

import asyncio
from typing import Final

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from entrypoints.api.desk import At
from entrypoints.api.problems import refusals

PATIENCE_S: Final = 3.0
NO_DRIVER: Final = "No driver lives, so nothing that is queued is worked; `muster serve` or a Prefect worker is one"

router: Final = APIRouter(tags=["server"])


class Health(BaseModel):
    """The ledger answers, and somebody works what is queued."""

    status: str = "ok"
    drivers: int = Field(description="drivers that live, on all machines")


@router.get("/healthz", responses=refusals())
async def health(desk: At) -> Health:
    """Say whether the ledger answers and a driver lives; 503 if not."""
    async with asyncio.timeout(PATIENCE_S):
        await desk.book.database.probe()
        drivers = len(await desk.book.drivers.alive())
    if not drivers:
        raise HTTPException(503, NO_DRIVER)
    return Health(drivers=drivers)
