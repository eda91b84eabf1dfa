"""The test page of a task: a form made of its contract, or JSON, with every option of a trigger."""

import hashlib
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import JsonValue

from outlast.client import runs, schedules, tasks, triggers
from outlast.client.errors import ApiError
from outlast.dashboard.contracts import Field, Mistyped, compose, example, fields, spread
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit
from outlast.dashboard.words import is_json, pretty
from outlast.protocol.activity import TaskDetail
from outlast.protocol.bodies import RunDetail
from outlast.protocol.durations import parse_duration
from outlast.protocol.machines import PRESETS
from outlast.protocol.roles import Role
from outlast.protocol.schedules import ScheduledPayload
from outlast.protocol.triggers import Trigger

RECENT = 5
_PREVIEW_CHARS = 160
_DURATIONS = ("delay", "ttl", "idempotency_key_ttl")
_NUMBERS = ("max_attempts", "max_duration", "priority")
_TEXTS = ("queue", "concurrency_key", "idempotency_key", "machine", "version")


@dataclass(frozen=True, kw_only=True)
class Recent:
    """A payload that a run was given before."""

    run: RunDetail
    preview: str


@dataclass(frozen=True, kw_only=True)
class TrialView:
    """The form with what was typed, and what is wrong with it."""

    task: TaskDetail
    form: str
    fields: tuple[Field, ...]
    typed: dict[str, str]
    payload: str
    recent: tuple[Recent, ...]
    problem: str = ""
    machines: tuple[str, ...] = field(default=tuple(PRESETS))

    def value(self, name: str) -> str:
        """Return what stands in a field."""
        return self.typed.get(name, "")


@dataclass(frozen=True)
class _Written:
    """What stands in the form: its fields, or the payload as JSON."""

    form: str
    typed: dict[str, str]
    payload: str


async def show(visit: Visit) -> Page:
    """Show the form, filled with an example, what a run was given or what a schedule brings."""
    task = await visit.ask(tasks.retrieve(visit.path("task_id")))
    asked = visit.query("form", "run", "schedule")
    shown = fields(task.payload_schema)
    form = asked.get("form", "fields" if task.payload_schema else "json")
    payload = example(task.payload_schema)
    if "run" in asked:
        payload = (await visit.ask(runs.retrieve(asked["run"]))).payload
    elif "schedule" in asked:
        payload = await _tick(visit, asked["schedule"])
    is_given = not asked.keys().isdisjoint(("run", "schedule"))
    typed = spread(shown, payload) if is_given else {one.key: _prefill(one) for one in shown}
    text = "" if payload is None else json.dumps(payload, indent=2, ensure_ascii=False)
    return await _page(visit, task, _Written(form, typed, text))


async def test_task(visit: Visit) -> Page | Moved:
    """Trigger a run of the task with what the form says."""
    task = await visit.ask(tasks.retrieve(visit.path("task_id")))
    shown = fields(task.payload_schema)
    form = visit.form.get("form")
    names = (*_DURATIONS, *_NUMBERS, *_TEXTS, "tags", "metadata", "payload", "is_test")
    typed = {name: visit.form.get(name) for name in (*names, *(one.key for one in shown))}
    written = _Written(form, typed, typed["payload"])
    try:
        payload = compose(shown, visit.form.get) if form == "fields" else _json(typed["payload"])
        trigger = _trigger(task.id, payload, typed)
        reply = await visit.ask(triggers.trigger([triggers.encode(trigger)]))
    except (Mistyped, ApiError) as error:
        return await _page(visit, task, written, str(error))
    [answer] = reply.answers
    if answer.error is not None:
        return await _page(visit, task, written, answer.error.message)
    said = "that idempotency key has a run already" if answer.is_cached else f"{task.id} is queued"
    return Moved(f"runs/{answer.run_id}", said)


async def _page(visit: Visit, task: TaskDetail, written: _Written, problem: str = "") -> Page:
    listed = await visit.ask(runs.list_page({"[taskIdentifier]": task.id}, size=RECENT, after=None))
    recent = []
    for one in listed.data:
        run = await visit.ask(runs.retrieve(one.id))
        text = pretty(run.payload) if isinstance(run.payload, str) else json.dumps(run.payload)
        recent.append(Recent(run=run, preview=text[:_PREVIEW_CHARS]))
    view = TrialView(
        task=task,
        form="json" if written.form == "json" else "fields",
        fields=fields(task.payload_schema),
        typed=written.typed,
        payload=written.payload,
        recent=tuple(recent),
        problem=problem,
    )
    return Page("trial.html", view, status=422 if problem else 200)


async def _tick(visit: Visit, schedule_id: str) -> JsonValue:
    """Return the payload of a schedule's tick, were there one now."""
    schedule = await visit.ask(schedules.retrieve(schedule_id))
    tick = ScheduledPayload(
        schedule_id=schedule.id,
        type=schedule.type,
        timestamp=datetime.now(UTC).replace(microsecond=0),
        last_timestamp=schedule.last_run,
        external_id=schedule.external_id,
        timezone=schedule.timezone,
        upcoming=schedule.upcoming,
    )
    payload: JsonValue = tick.model_dump(mode="json", by_alias=True, exclude_none=True)
    return payload


def _prefill(one: Field) -> str:
    """Return what stands in a field at first: its default, as the form writes it."""
    if one.default in {"", "null"}:
        return ""
    value = json.loads(one.default)
    return value if one.is_text and isinstance(value, str) else one.default


def _json(text: str) -> str | None:
    if text.strip() and not is_json(text):
        raise Mistyped("the payload is not JSON; a text needs quotes")
    return text.strip() or None


def _trigger(task: str, payload: str | None, typed: dict[str, str]) -> Trigger:
    """Return what the form asks for. Raises `Mistyped`."""
    if typed["metadata"].strip() and not is_json(typed["metadata"]):
        raise Mistyped('the metadata is not JSON; it is an object such as {"step": 1}')
    seconds = {name: _seconds(name, typed[name]) for name in _DURATIONS}
    numbers = {name: _number(name, typed[name]) for name in _NUMBERS}
    texts = {name: typed[name].strip() or None for name in _TEXTS}
    attempts = numbers["max_attempts"]
    key = texts["idempotency_key"]
    return Trigger(
        task=task,
        payload=payload,
        queue=texts["queue"],
        concurrency_key=texts["concurrency_key"],
        idempotency_key=None if key is None else hashlib.sha256(key.encode()).hexdigest(),
        idempotency_key_shown=key,
        idempotency_key_ttl=seconds["idempotency_key_ttl"],
        machine=texts["machine"],
        version=texts["version"],
        delay=seconds["delay"],
        ttl=seconds["ttl"],
        tags=tuple(filter(None, (tag.strip() for tag in typed["tags"].split(",")))),
        metadata=typed["metadata"].strip() or None,
        max_attempts=None if attempts is None else int(attempts),
        max_duration=numbers["max_duration"],
        priority=numbers["priority"] or 0.0,
        is_test=typed["is_test"] == "true",
    )


def _seconds(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    seconds = parse_duration(text.strip())
    if seconds is None:
        raise Mistyped(f"{name.replace('_', ' ')} is a duration such as 1h30m")
    return seconds


def _number(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Mistyped(f"{name.replace('_', ' ')} is a number")
    return number


ROUTES = (
    Shown("/test/{task_id:path}", show, role=Role.OPERATOR),
    Done("/test/{task_id:path}", test_task),
)
