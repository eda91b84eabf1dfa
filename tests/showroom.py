"""A dashboard with something to see: a small company's tasks, and runs in every state.

`python tests/showroom.py DIRECTORY` makes the pictures of the docs; `make screenshots` calls it.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from fake_worker import Claimed, FakeWorker
from outlast.engine.engine import Engine
from outlast.protocol import messages
from outlast.protocol.frames import Kind
from outlast.protocol.manifests import (
    Manifest,
    QueueManifest,
    RateManifest,
    RetryPolicy,
    ScheduleManifest,
    TaskManifest,
)
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.vitals import ProcessVitals, Vitals
from postgres import migrated_template, running_postgres
from recycling import Databases
from scene import Stage, staged

EXPORT = {
    "type": "object",
    "title": "ExportPayload",
    "required": ["organization_id", "since"],
    "properties": {
        "organization_id": {"type": "string", "format": "uuid", "description": "whose invoices"},
        "since": {"type": "string", "format": "date"},
        "format": {"enum": ["csv", "json"], "default": "csv"},
        "page_size": {"type": "integer", "minimum": 10, "maximum": 1000, "default": 500},
        "recipients": {
            "type": "array",
            "items": {"type": "string", "format": "email"},
            "maxItems": 5,
            "default": [],
        },
    },
}
ORG = "3f0c7a52-9a1e-4c8a-b6de-2f6f2a8f1d10"


def _task(
    name: str,
    description: str,
    *,
    queue: str | None = None,
    schema: object = None,
    schedule: ScheduleManifest | None = None,
    attempts: int = 3,
) -> TaskManifest:
    module = name.replace("-", "_")
    return TaskManifest(
        id=name,
        executor="shared",
        file=f"trigger/{module}.py",
        function=module,
        queue=queue or f"task/{name}",
        description=description,
        retry=RetryPolicy(max_attempts=attempts),
        payload_schema=None if schema is None else json.dumps(schema),
        schedule=schedule,
    )


OFFERED = Manifest(
    digest="7b1f0c4e9d2a",
    tasks=(
        _task(
            "export-invoices",
            "Write an organization's invoices into one file, page by page, and mail the link.",
            queue="export",
            schema=EXPORT,
            attempts=5,
        ),
        _task("send-mail", "Hand one message to the mail service.", queue="mail"),
        _task("notify-members", "Tell every member of an organization, on each channel."),
        _task("publish-report", "Wait for an editor's approval, then publish."),
        _task(
            "reconcile-payments",
            "Compare the ledger with the payment provider.",
            schedule=ScheduleManifest("0 3 * * *", "Europe/Berlin"),
        ),
        _task("resize-image", "Make thumbnails of an upload."),
    ),
    queues=(
        QueueManifest("export", concurrency_limit=1),
        QueueManifest("mail", total_limit=20, rate=RateManifest(10, 1.0, burst=20, per_key=False)),
    ),
    runtime="python 3.12.8",
    sdk="0",
)

WEEKS = """
insert into outlast.task_activity
  (environment_id, span, start, task, completed, failed, canceled, attempts, keyless, seconds)
select $1, 'day', day, task, round(runs * (1 - bad)), round(runs * bad), round(base / 90.0),
  round(runs * (1 + 2 * bad)), round(runs * least(1, bare * more)), runs * took
from generate_series(date_trunc('day', now(), 'UTC') - interval '40 days',
    date_trunc('day', now(), 'UTC'), interval '1 day') as day
cross join (values ('export-invoices', 40, 0.06, 0.1, 94.0), ('send-mail', 420, 0.01, 0.2, 0.4),
    ('notify-members', 65, 0.0, 0.2, 3.1), ('publish-report', 4, 0.0, 0.0, 1.0),
    ('reconcile-payments', 1, 0.0, 0.0, 210.0), ('resize-image', 130, 0.12, 0.0, 2.2))
  as t (task, base, bad, bare, took)
cross join lateral (select case when task = 'send-mail' and day >= date_trunc('week', now(), 'UTC')
  then 4 else 1 end as more) m
cross join lateral (select base * more * (0.7
  + 0.6 * abs(sin(extract(epoch from day) / 86400 * 1.7 + base)))::float8 as runs) r
on conflict do nothing
"""
HOURS = """
insert into outlast.task_activity
  (environment_id, span, start, task, completed, failed, canceled, attempts, keyless, seconds)
select $1, 'hour', hour, task,
  round(base * (0.3 + 1.4 * abs(sin(extract(epoch from hour) / 86400 * 3.14 + base)))),
  round(base * bad * (1 + cos(extract(epoch from hour) / 3600))), 0, base, 0, base * took
from generate_series(date_trunc('hour', now(), 'UTC') - interval '14 days',
    date_trunc('hour', now(), 'UTC'), interval '1 hour') as hour,
  (values ('export-invoices', 2, 0.35, 94.0), ('send-mail', 19, 0.02, 0.4),
    ('notify-members', 4, 0.0, 3.1), ('resize-image', 6, 0.12, 2.2))
    as t (task, base, bad, took)
on conflict do nothing
"""
MINUTES = """
insert into outlast.queue_minute (environment_id, queue, minute, queued, running, started, waits)
select $1, queue, minute, round(deep * (1 + sin(extract(epoch from minute) / 500))),
  round(deep / 3.0 + 1), 4,
  array_fill(0, array[40 + (deep * (1 + sin(extract(epoch from minute) / 500)))::int]) || 4
    || array_fill(0, array[55 - (deep * (1 + sin(extract(epoch from minute) / 500)))::int])
from generate_series(date_trunc('minute', now()) - interval '3 hours',
    date_trunc('minute', now()), interval '1 minute') as minute,
  (values ('export', 4.0), ('mail', 7.0)) as t (queue, deep)
"""


BEGAN = "update outlast.run set created_at = created_at - $2 * interval '1 s' where id = $1"
STARTED = """
update outlast.run_state set started_at = started_at - ($2 - 1.5) * interval '1 s' where run_id = $1
"""
WENT_ON = """
update outlast.entry e set created_at = e.created_at - share * $2 * interval '1 s',
  finished_at = e.finished_at - share * $2 * interval '1 s'
from (select key, 1 - row_number() over (order by created_at)::float8 / (count(*) over () + 1)
      as share from outlast.entry where run_id = $1) x
where e.run_id = $1 and e.key = x.key
"""
EARLIER = (BEGAN, STARTED, WENT_ON)
FAILURES = ("alert.run.failed", "alert.error")
ALERTS = (
    ("on-call", "webhook", "https://ops.example.com/hooks/outlast", FAILURES),
    ("#backend", "slack", "https://hooks.slack.com/services/T0/B0/x", FAILURES),
    ("releases", "webhook", "https://ci.example.com/versions", ("alert.deployment.success",)),
)
TOLD = (
    """
with waiting as (
  insert into outlast.alert_due (
    alert_id, environment_id, type, subject, detail, occurred_at, due_at)
  select id, environment_id, types[1], 'run_x', '', now(), now() + interval '1 hour'
  from outlast.alert, generate_series(1, 3) where id = $1
)
update outlast.alert set delivered_at = now() - interval '26 minutes',
  last_error = 'ops.example.com answered 503 Service Unavailable' where id = $1
""",
    "update outlast.alert set delivered_at = now() - interval '2 minutes' where id = $1",
    "update outlast.alert set enabled = false where id = $1",
)
UNUSED = "delete from outlast.queue where name in ('task/hello', 'task/a/b c')"


class Company:
    """Fills a stage with a day of work."""

    def __init__(self, stage: Stage, worker: FakeWorker) -> None:
        self.api = stage.api
        self.engine: Engine = stage.api.engine
        self.environment = stage.api.platform.environment
        self.worker = worker

    async def fill(self) -> dict[str, str]:
        """Do a day of work; return the runs that have a page worth a picture."""
        await self._history()
        export = await self._export()
        approval = await self._approval()
        failed = await self._failures()
        await self._mails()
        batch = await self._batch()
        await self._schedules()
        await self._variables()
        await self.engine.activity.flush()
        alert = await self._alerts()
        await self.worker.beat(
            Vitals(
                capacity={"shared": 100, "dedicated": 2},
                processes=(
                    ProcessVitals(4711, "shared", 6, 41, 148_000_000),
                    ProcessVitals(4712, "dedicated", 1, 0, 92_000_000),
                    ProcessVitals(4713, "dedicated", 0, 0, 61_000_000),
                ),
            )
        )
        return {
            "export": export,
            "approval": approval,
            "failed": failed,
            "batch": batch,
            "alert": alert,
        }

    async def _history(self) -> None:
        for statement in (WEEKS, HOURS, MINUTES):
            await self.api.platform.sql(statement, self.environment.id)

    async def _export(self) -> str:
        """Return a run that exports, half-way, having survived the loss of its worker."""
        payload = {"organization_id": ORG, "since": "2026-01-01", "format": "csv"}
        options = {"tags": ["org_acme"], "concurrencyKey": "org_acme", "idempotencyKey": "acme-1"}
        run = await self.api.trigger("export-invoices", payload=payload, options=options)
        await self.api.trigger("export-invoices", payload=payload, options=options | {
            "idempotencyKey": "acme-2"})  # fmt: skip
        claim = await self.worker.claim(run)
        claim.send(Kind.STARTED, messages.Started())
        for page in range(1, 8):
            await _step(claim, f"page-{page}", '{"rows": 500}')
        child = await self.api.trigger("send-mail", payload={"to": "ada@example.com"})
        await self._end(child)
        await self.api.client.put(
            f"/api/v1/runs/{run}/metadata",
            json={"metadata": {"progress": {"done": 7, "total": 12}, "rows": 3500}},
        )
        await self._stretch(run, 42)
        await self.api.platform.sql(
            "insert into outlast.event (run_id, at, kind, detail) values ($1, "
            "now() - interval '19 seconds', 'rescued', 'its worker web-2 was lost; it goes on "
            "after page-3')",
            run,
        )
        return run

    async def _approval(self) -> str:
        """Return a run that waits for a person."""
        made = await self.api.client.post(
            "/api/v1/waitpoints/tokens", json={"timeout": "7d", "tags": ["report:q3"]}
        )
        token = made.json()["id"]
        run = await self.api.trigger(
            "publish-report", payload={"report": "q3"}, options={"tags": ["report:q3"]}
        )
        claim = await self.worker.claim(run)
        await _step(claim, "render", '{"pages": 18}')
        body = messages.Call(f"/token:{token}#0", "token", "approval", target=token)
        await claim.ack(claim.send(Kind.CALL, body), messages.Called)
        await claim.suspend(body.key)
        await self._stretch(run, 5400)
        return run

    async def _failures(self) -> str:
        """Return a run that failed, after others of its kind."""
        run = ""
        for number in (412, 77, 1904):
            run = await self.api.trigger(
                "resize-image", payload={"upload": f"img_{number}"}, options={"maxAttempts": 1}
            )
            claim = await self.worker.claim(run)
            await _step(claim, "download", '{"bytes": 88213}')
            self.worker.forget(claim)
            error = RunError(
                kind="raised",
                type="UnidentifiedImageError",
                message=f"cannot identify image file 'uploads/img_{number}.heic'",
                stack="Traceback (most recent call last):\n"
                '  File "trigger/resize_image.py", line 31, in resize_image\n'
                "    image = Image.open(path)\n"
                "PIL.UnidentifiedImageError: cannot identify image file",
                line="trigger/resize_image.py:31 in resize_image",
            )
            claim.send(Kind.FAIL, messages.Fail(error, None))
            await self.api.ended(run)
        other = await self.api.trigger("export-invoices", payload={
            "organization_id": ORG, "since": "2026-02-01"}, options={"maxAttempts": 1,
            "concurrencyKey": "org_globex"})  # fmt: skip
        (await self.worker.claim(other)).fail("the mail service answered 503 after 30 s")
        await self.api.ended(other)
        return run

    async def _mails(self) -> None:
        for number in range(9):
            run = await self.api.trigger(
                "send-mail",
                payload={"to": f"user{number}@example.com"},
                options={"tags": ["org_acme" if number % 2 else "org_globex"]},
            )
            if number < 7:
                await self._end(run)
        await self.api.trigger("notify-members", payload={"event": "invoice.paid"},
                               options={"delay": "25m", "tags": ["org_acme"]})  # fmt: skip

    async def _batch(self) -> str:
        made = await self.api.client.post("/api/v3/batches", json={"runCount": 6})
        batch: str = made.json()["id"]
        lines = "".join(
            json.dumps({"index": n, "task": "notify-members", "payload": {"member": n}}) + "\n"
            for n in range(6)
        )
        await self.api.client.post(
            f"/api/v3/batches/{batch}/items",
            content=lines,
            headers={"content-type": "application/x-ndjson"},
        )
        listed = await self.api.client.get(f"/api/v1/runs?filter[batch]={batch}")
        for run in listed.json()["data"][2:]:
            await self._end(run["id"])
        return batch

    async def _schedules(self) -> None:
        for org, zone in (("org_acme", "America/New_York"), ("org_globex", "Asia/Tokyo")):
            await self.api.client.post(
                "/api/v1/schedules",
                json={
                    "task": "notify-members",
                    "cron": "0 9 * * 1-5",
                    "timezone": zone,
                    "externalId": org,
                    "deduplicationKey": f"digest-{org}",
                },
            )

    async def _variables(self) -> None:
        for secret, values in (
            (False, {"SMTP_HOST": "smtp.example.com", "REPLY_TO": "billing@example.com"}),
            (True, {"STRIPE_KEY": "sk_live_example", "DATABASE_URL": "postgresql://example"}),
        ):
            await self.engine.variables.save(
                self.environment.id, values, mode="new", is_secret=secret
            )

    async def _alerts(self) -> str:
        """Return an alert whose address fails; beside it are one that works and one that is off."""
        made: list[str] = []
        for name, channel, address, types in ALERTS:
            reply = await self.api.client.post(
                "/api/outlast/v1/alerts",
                json={"name": name, "channel": channel, "address": address, "types": types},
            )
            made.append(reply.json()["id"])
        for statement, alert in zip(TOLD, made, strict=True):
            await self.api.platform.sql(statement, alert)
        return made[0]

    async def _end(self, run: str) -> None:
        claim = await self.worker.claim(run)
        claim.complete('{"accepted": true}')
        await self.api.ended(run)

    async def _stretch(self, run: str, seconds: int) -> None:
        """Let a run have begun earlier, and what it did lie in between."""
        for statement in EARLIER:
            await self.api.platform.sql(statement, run, float(seconds))


async def _step(claim: Claimed, name: str, value: str) -> None:
    claim.number += 1
    body = messages.Step(f"/step:{name}#0", "step", name, claim.number, Outcome(True, value),
                         preview=value)  # fmt: skip
    await claim.ack(claim.send(Kind.STEP, body), messages.Stepped)


@asynccontextmanager
async def showroom(url: str) -> AsyncIterator[tuple[Stage, dict[str, str]]]:
    """Give a stage with a company on it."""
    async with staged(url) as stage:
        api = stage.api
        await api.engine.gateway.close("session_a", goodbye=True)
        worker = await FakeWorker.open(
            api.engine, api.platform.environment, OFFERED, session="session_w", dedicated=2
        )
        worker.hello = replace(worker.hello, name="web-1", host="tasks.example.com")
        await api.platform.sql("update outlast.session set name = 'web-1', host = 'tasks-1'")
        await api.platform.sql(
            "delete from outlast.queue where name in ('task/hello', 'task/a/b c')"
        )
        made = await Company(stage, worker).fill()
        keeping = asyncio.create_task(_beats(worker))
        try:
            yield stage, made
        finally:
            keeping.cancel()


async def _beats(worker: FakeWorker) -> None:
    while True:
        await asyncio.sleep(2)
        await worker.beat()


PICTURES = {
    "tasks": "tasks",
    "task": "tasks/export-invoices",
    "run": "runs/{export}",
    "usage": "usage",
    "variables": "variables",
}
"""The pictures of the docs, and the pages they are of."""


async def photograph(
    folder: Path, pages: dict[str, str], widths: tuple[int, ...] = (1280,)
) -> None:
    """Take every page's picture, light and dark."""
    with running_postgres() as server, migrated_template(server) as template:
        databases = Databases(server, template)
        async with databases.one() as url, showroom(url) as (stage, made):
            for width in widths:
                await stage.browser.call("resize", width, 860 if width > 600 else 844)
                for scheme in ("light", "dark"):
                    await stage.browser.call("emulate", {"colorScheme": scheme})
                    for name, path in pages.items():
                        await stage.open(path.format(**made))
                        suffix = "" if width == 1280 else f"-{width}"
                        target = folder / f"{name}{suffix}-{scheme}.png"
                        await stage.browser.call("screenshot", {"path": str(target)})


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(photograph(folder, PICTURES))
