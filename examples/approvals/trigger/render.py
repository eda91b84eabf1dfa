"""A video that a partner renders: he calls back when he is done, without a key of ours."""

import os

import httpx
from pydantic import BaseModel

from outlast import step, task, wait


class Rendered(BaseModel):
    """What the partner posts to the callback URL."""

    video_url: str
    seconds: float


@task("render-video")
async def render_video(payload: str) -> Rendered:
    """Order a video and wait for the partner's callback, for an hour at most."""
    token = await wait.create_token(timeout="1h", tags=["render"])
    await step("order", order, payload, token.url)
    return await wait.for_token(token, type=Rendered).unwrap()


async def order(script: str, callback: str) -> None:
    """Send the order. The address completes the token, so only the partner gets it."""
    async with httpx.AsyncClient() as client:
        reply = await client.post(
            os.environ.get("PARTNER_URL", "http://127.0.0.1:8711/render"),
            json={"script": script, "callback": callback},
        )
        reply.raise_for_status()
