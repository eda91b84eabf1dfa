"""A run: everything about it, live, and what can be done with it."""

import json
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType
from pydantic import JsonValue

from outlast.client import queues, replays, runs, waitpoints
from outlast.client.errors import ApiError
from outlast.client.requests import Request
from outlast.dashboard.access import Place
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit
from outlast.dashboard.waterfall import Waterfall, waterfall
from outlast.dashboard.words import is_json, pretty
from outlast.protocol.bodies import ListedRun, RunDetail
from outlast.protocol.timeline import EventBody, LogLineBody
from outlast.protocol.triggers import Trigger

MOST_LINES = 5_000
"""Log lines on the page; the API has all of them."""
_SHOWN_BARS = 10_000
_FEW = 10


@dataclass(frozen=True, kw_only=True)
class RunView:
    """One run with all it did."""

    run: RunDetail
    waterfall: Waterfall
    lines: tuple[LogLineBody, ...]
    has_more_lines: bool
    events: tuple[EventBody, ...]
    tokens: tuple[str, ...]
    """Waitpoint tokens that it waits for now."""
    replays: tuple[ListedRun, ...]
    context: JsonValue
    """What the task sees as `ctx`."""


@dataclass(frozen=True, kw_only=True)
class ReplayView:
    """The form of a replay with what was typed, and what is wrong with it."""

    run: RunDetail
    payload: str
    metadata: str
    tags: str
    queue: str
    concurrency_key: str
    version: str
    problem: str = ""


async def show(visit: Visit) -> Page:
    """Show a run."""
    run_id = visit.path("run_id")
    run = await visit.ask(runs.retrieve(run_id))
    entries = (await visit.ask(runs.journal(run_id))).entries
    lines, more = await _lines(visit, run_id)
    events = (await visit.ask(runs.events(run_id))).events
    drawn = waterfall(run, entries[:_SHOWN_BARS], lines, events)
    tokens = tuple(dict.fromkeys(bar.token for bar in drawn.bars if bar.token))
    view = RunView(
        run=run,
        waterfall=drawn,
        lines=tuple(line for line in lines if line.kind == "line"),
        has_more_lines=more,
        events=events,
        tokens=tokens,
        replays=(
            await visit.ask(runs.list_page({"[replayOf]": run_id}, size=_FEW, after=None))
        ).data,
        context=_context(run, visit.place),
    )
    return Page("run.html", view, live=not run.is_completed)


async def cancel_run(visit: Visit) -> Moved:
    """Cancel the run and what it triggered."""
    run_id = visit.path("run_id")
    await visit.ask(runs.cancel(run_id))
    return Moved(f"runs/{run_id}", "the run is being canceled")


async def forget_key(visit: Visit) -> Moved:
    """Forget the run's idempotency key, so that the next trigger with it makes a run."""
    run_id = visit.path("run_id")
    here = f"runs/{run_id}"
    said = "the next trigger with this key makes a new run"
    return await _try(visit, queues.reset_key_of_run(run_id), Moved(here, said))


async def delete_run(visit: Visit) -> Moved:
    """Delete an ended run with all that is its own."""
    run_id = visit.path("run_id")
    return await _try(visit, runs.delete(run_id), Moved("runs", f"{run_id} is deleted"))


async def reschedule_run(visit: Visit) -> Moved:
    """Let a delayed run start at another moment."""
    run_id, delay = visit.path("run_id"), visit.form.get("delay").strip()
    done = Moved(f"runs/{run_id}", f"the run starts {delay} from now")
    return await _try(visit, replays.reschedule(run_id, delay), done)


async def _try(visit: Visit, request: Request[Any], done: Moved) -> Moved:
    """Ask, and say on the run's page why it cannot be."""
    try:
        await visit.ask(request)
    except ApiError as error:
        return Moved(f"runs/{visit.path('run_id')}", error.message, failed=True)
    return done


async def edit(visit: Visit) -> Page:
    """Show the form of a replay, filled with what the run was given."""
    run = await visit.ask(runs.retrieve(visit.path("run_id")))
    given = run.model_fields_set
    view = ReplayView(
        run=run,
        payload=json.dumps(run.payload, indent=2, ensure_ascii=False) if "payload" in given else "",
        metadata=pretty(run.metadata) if run.metadata else "",
        tags=", ".join(run.tags),
        queue=run.queue or "",
        concurrency_key=run.concurrency_key or "",
        version="",
    )
    return Page("replay.html", view)


async def replay_run(visit: Visit) -> Page | Moved:
    """Make the run again: with what the form says, or as it was when there is no form."""
    run_id = visit.path("run_id")
    if not visit.form.get("edited"):
        made = await visit.ask(replays.replay(run_id))
        return Moved(f"runs/{made.id}", f"a replay of {run_id}")
    run = await visit.ask(runs.retrieve(run_id))
    names = ("payload", "metadata", "tags", "queue", "concurrency_key", "version")
    typed = {name: visit.form.get(name).strip() for name in names}
    try:
        made = await visit.ask(replays.replay(run_id, _changes(run, typed)))
    except (ApiError, _Mistyped) as error:
        view = ReplayView(run=run, problem=str(error), **typed)
        return Page("replay.html", view, status=422)
    return Moved(f"runs/{made.id}", f"a replay of {run_id} with changes")


async def resume_run(visit: Visit) -> Moved:
    """Let a run that cannot replay try again with the current version."""
    run_id = visit.path("run_id")
    await visit.ask(runs.resume(run_id))
    return Moved(f"runs/{run_id}", "the run tries again with the current version")


async def complete_token(visit: Visit) -> Moved:
    """Complete a token that the run waits for."""
    run_id, token = visit.path("run_id"), visit.path("token")
    data = visit.form.get("data").strip()
    if data and not is_json(data):
        return Moved(f"runs/{run_id}", "the value is not JSON; a text needs quotes", failed=True)
    await visit.ask(waitpoints.complete(token, data or None))
    return Moved(f"runs/{run_id}", f"{token} is completed")


class _Mistyped(Exception):  # noqa: N818 - said beside the form
    """A field of the form cannot be read."""


def _changes(run: RunDetail, typed: dict[str, str]) -> Trigger:
    """Return what a form changes. Raises `_Mistyped`."""
    for name in ("payload", "metadata"):
        if typed[name] and not is_json(typed[name]):
            raise _Mistyped(f"the {name} is not JSON")
    tags = tuple(filter(None, (tag.strip() for tag in typed["tags"].split(","))))
    queue = typed["queue"] if typed["queue"] != (run.queue or "") else ""
    return Trigger(
        task=run.task_identifier,
        payload=typed["payload"] or None,
        metadata=typed["metadata"] or None,
        tags=tags,
        queue=queue or None,
        concurrency_key=typed["concurrency_key"] or None,
        version=typed["version"] or None,
    )


async def _lines(visit: Visit, run_id: str) -> tuple[list[LogLineBody], bool]:
    """Return the lines of a run, and whether there are more than fit on a page."""
    found: list[LogLineBody] = []
    after: int | UnsetType = 0
    while after is not UNSET and len(found) < MOST_LINES:
        page = await visit.ask(runs.logs(run_id, after))
        found += page.lines
        after = page.next
    return found, after is not UNSET


def _context(run: RunDetail, place: Place) -> JsonValue:
    family = run.related_runs
    return {
        "run": {
            "id": run.id,
            "created_at": run.created_at.isoformat(),
            "started_at": None if run.started_at is None else run.started_at.isoformat(),
            "version": run.version,
            "tags": list(run.tags),
            "max_duration": run.max_duration_seconds,
            "idempotency_key": run.idempotency_key,
            "concurrency_key": run.concurrency_key,
            "parent": None if family.parent is None else family.parent.id,
            "root": None if family.root is None else family.root.id,
            "is_test": run.is_test,
            "is_replay": run.replayed_from is not None,
            "priority": run.priority or 0,
        },
        "attempt": {"number": run.attempt_count},
        "task": {"id": run.task_identifier},
        "queue": {"name": run.queue},
        "environment": {"id": place.id, "slug": place.slug},
        "project": {"ref": place.project, "name": place.project_name},
        "machine": None if run.machine is None else {"name": run.machine},
        "batch": None if run.batch_id is None else {"id": run.batch_id},
    }


ROUTES = (
    Shown("/runs/{run_id}", show),
    Shown("/runs/{run_id}/replay", edit),
    Done("/runs/{run_id}/replay", replay_run),
    Done("/runs/{run_id}/cancel", cancel_run),
    Done("/runs/{run_id}/delete", delete_run),
    Done("/runs/{run_id}/key/forget", forget_key),
    Done("/runs/{run_id}/reschedule", reschedule_run),
    Done("/runs/{run_id}/resume", resume_run),
    Done("/runs/{run_id}/tokens/{token}", complete_token),
)
