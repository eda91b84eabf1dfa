"""What a cron service calls, with the secret that it shares with us.

Its clock delivers at least once, and nothing here minds: the predicate of the update finds a
trial once. Work that fits into a request and bears a repetition needs no task.
"""

import hmac
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException

from app.crossings import expire_trials
from app.settings import settings

router = APIRouter()


@router.post("/api/cron/expire-trials")
async def sweep(authorization: Annotated[str, Header()] = "") -> dict[str, int]:
    """End the trials that are over. Hourly: `0 * * * *`, in UTC."""
    _check(authorization)
    return {"expired": len(await expire_trials(datetime.now(UTC)))}


def _check(authorization: str) -> None:
    expected = f"Bearer {settings().cron_secret.get_secret_value()}"
    # In constant time: how long a comparison takes must not tell how much of a guess was right.
    if not hmac.compare_digest(authorization.encode(), expected.encode()):
        raise HTTPException(401, "the cron secret is missing or wrong")
