"""The state of a run, read from the platform: what a progress bar and the inspector show."""

from typing import Annotated

import httpx
from pydantic import AliasPath, BaseModel, ConfigDict, Field

from app.settings import settings


class ChildRun(BaseModel):
    """A run that another run started."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: str
    task: Annotated[str, Field(validation_alias="taskIdentifier")]
    created_at: Annotated[str, Field(validation_alias="createdAt")]


class RunState(BaseModel):
    """One run of the export. The counts are what the task wrote to its metadata."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: str
    is_completed: Annotated[bool, Field(validation_alias="isCompleted")]
    is_success: Annotated[bool, Field(validation_alias="isSuccess")]
    attempt_count: Annotated[int, Field(validation_alias="attemptCount")] = 0
    pages_done: Annotated[int, Field(validation_alias=AliasPath("metadata", "pagesDone"))] = 0
    pages_total: Annotated[
        int | None, Field(validation_alias=AliasPath("metadata", "pagesTotal"))
    ] = None
    error: Annotated[str | None, Field(validation_alias=AliasPath("error", "message"))] = None
    children: Annotated[
        tuple[ChildRun, ...], Field(validation_alias=AliasPath("relatedRuns", "children"))
    ] = ()

    def pages(self) -> list[ChildRun]:
        """Return the runs of its pages, first page first."""
        pages = [child for child in self.children if child.task == "paginate-page"]
        return sorted(pages, key=lambda child: child.id)  # ids are ordered by time


def runs_client() -> httpx.AsyncClient:
    """Return a client for the platform's API, to be used as a context manager."""
    key = settings().trigger_secret_key
    return httpx.AsyncClient(
        base_url=settings().trigger_api_url,
        headers={"Authorization": f"Bearer {key.get_secret_value() if key else ''}"},
        timeout=10,
    )


async def retrieve_run(client: httpx.AsyncClient, run_id: str) -> RunState:
    """Return the state of a run. Raises `httpx.HTTPError` if the platform does not answer."""
    reply = await client.get(f"/api/v3/runs/{run_id}")
    reply.raise_for_status()
    return RunState.model_validate_json(reply.content)
