"""Analytics: told after the response, lost without regret."""

import logging

import httpx

from app.settings import settings

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds: nobody waits for this, but the process does."""


async def track(event: str, **properties: str | int) -> None:
    """Tell the analytics service; whatever goes wrong there is only noted."""
    try:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            body = {"event": event, "properties": properties}
            (await client.post(f"{settings().analytics_url}/events", json=body)).raise_for_status()
    except httpx.HTTPError as error:
        logger.warning("the event %s was not tracked: %s", event, error)
