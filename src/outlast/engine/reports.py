"""What runs report, read and changed from outside: log lines and spans, metadata, tags."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import Conflict, InvalidRequest
from outlast.engine.queries import load
from outlast.engine.runs import Runs
from outlast.protocol.messages import MetadataOperation

REPORTS = load("reports")

MAX_TAGS = 10
MAX_TAG = 128

_encoder = msgspec.json.Encoder()


class Line(msgspec.Struct, frozen=True):
    """One line of a run, or the start or end of a span; `attributes` is JSON text."""

    number: int
    at: datetime
    level: str
    message: str
    attempt: int | None
    kind: Literal["line", "start", "end"]
    span: str | None
    parent: str | None
    attributes: str | None


class _Revised(msgspec.Struct, frozen=True):
    answer: Literal["done", "ended", "too_large"]
    value: str | None


class Reports:
    """The reports of all runs; every call names the environment it may see."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def lines(
        self, environment_id: str, run_id: str, *, after: int = 0, limit: int = 1_000
    ) -> list[Line]:
        """Return what a run said after a number, in the order it arrived. Raises `NotFound`."""
        await self._runs.has_ended(environment_id, run_id)
        async with self._database.acquire() as executor:
            return await executor.fetch_exact(
                Line, REPORTS.list_lines, run_id=run_id, after=after, limit=limit
            )

    async def revise(
        self, environment_id: str, run_id: str, operations: Sequence[MetadataOperation]
    ) -> str:
        """Apply operations in order and return the run's metadata as JSON text.

        All or nothing for each run they change. Raises `NotFound`, `Conflict` an hour after the
        end, `InvalidRequest` when the object would be larger than 256 KB.
        """
        await self._runs.has_ended(environment_id, run_id)
        items = [
            {"n": n, **msgspec.structs.asdict(operation)} for n, operation in enumerate(operations)
        ]
        revised = await self._database.fetch_one(
            _Revised,
            REPORTS.revise,
            environment_id=environment_id,
            run_id=run_id,
            items=_encoder.encode(items).decode(),
        )
        assert revised is not None
        if revised.answer == "ended":
            raise Conflict(
                f"run {run_id} ended more than an hour ago; its metadata is not changed any more"
            )
        if revised.answer == "too_large":
            raise InvalidRequest(
                f"the metadata of run {run_id} would be larger than 256 KB; store less, or a link",
                param="metadata",
            )
        return revised.value or "{}"

    async def add_tags(self, environment_id: str, run_id: str, tags: Sequence[str]) -> None:
        """Add tags to a run. Raises `NotFound`, `InvalidRequest` for a bad one or one too many."""
        for tag in tags:
            if not 1 <= len(tag) <= MAX_TAG or "\0" in tag:
                raise InvalidRequest(
                    f"a tag must be a text of 1 to {MAX_TAG} characters", param="tags"
                )
        run = await self._runs.retrieve(environment_id, run_id)
        if len({*run.tags, *tags}) > MAX_TAGS:
            raise InvalidRequest(
                f"run {run_id} has {len(run.tags)} tags; it can have {MAX_TAGS} at most",
                param="tags",
            )
        await self._database.fetch_value(REPORTS.add_tags, run_id=run_id, tags=list(tags))
