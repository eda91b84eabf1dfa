"""The example's other work, each piece at its tier, with real processes and a real provider."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select

sys.path.append(str(Path(__file__).parents[2] / "examples" / "saas"))

from app import checkout
from app.billing.provider import credit, find_subscription
from app.exports.start import start_export
from app.invitations import read_signed, sign
from app.notifications.notify import NotifyPayload, notify_event
from app.result import Ok
from app.schema import AuditLog, Invitation, Invoice, Notification, PlanEntitlement, Refund
from app.settings import settings
from app.tenant import tenant_db
from local import payments as provider
from local.payments import Weather
from scripts.seed import SeedOrganization, crowd, email_of

from outlast import queues, runs, schedules, tasks
from saas import ACME, EMPTY, GLOBEX, INITECH, PATIENCE, Saas, audit_rows, running_saas

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

CROWD = crowd(496)
"""With the four of the seed: five hundred."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saas(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Saas]:
    async with running_saas(database_url, tmp_path_factory.mktemp("saas"), more=CROWD) as running:
        yield running


async def flash(client: httpx.AsyncClient) -> str:
    """Return the page after an action, which says what came of it."""
    return (await client.get("/inspector")).text


async def plan_of(of: SeedOrganization) -> tuple[str, str]:
    async with tenant_db(of.id) as session:
        found = await session.get_one(PlanEntitlement, of.id)
        return found.plan, found.status


async def actions_of(of: SeedOrganization) -> Counter[str]:
    async with tenant_db(of.id) as session:
        return Counter(await session.scalars(select(AuditLog.action)))


# ── inline ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_invitation_is_mailed_before_the_answer(saas: Saas) -> None:
    before = (await actions_of(ACME))["member.invited"]
    async with saas.signed_in("user_ada") as client:
        await client.post("/invitations", data={"email": "New@Example.com"})

        [mail] = [mail for mail in saas.mailbox.mails() if mail["To"] == "new@example.com"]
        assert "has been invited" in await flash(client)
    assert mail["Subject"] == "Ada Lindqvist invites you to Acme, Inc."
    assert (await actions_of(ACME))["member.invited"] == before + 1


async def test_an_invitation_that_could_not_be_mailed_says_so(saas: Saas) -> None:
    saas.mailbox.refusals.append("late@example.com")
    async with saas.signed_in("user_ada") as client:
        await client.post("/invitations", data={"email": "late@example.com"})
        assert "could not be sent" in await flash(client)
        async with tenant_db(ACME.id) as session:
            of = select(Invitation.sent_at).where(Invitation.email == "late@example.com")
            assert list(await session.scalars(of)) == [None]

        await client.post("/invitations", data={"email": "late@example.com"})
        assert "has been invited" in await flash(client)


async def test_an_invitations_link_is_signed(saas: Saas) -> None:
    invitation = uuid4()
    async with httpx.AsyncClient(base_url=saas.stack.app_url) as client:
        genuine = await client.get(f"/invitations/{sign(invitation)}")
        forged = await client.get(f"/invitations/{sign(invitation)[:-2]}xx")

    assert read_signed(sign(invitation)) == invitation
    assert (genuine.status_code, forged.status_code) == (200, 404)


# ── in the transaction, and after the response ───────────────────────────────────────────────────


async def sold(of: SeedOrganization) -> int:
    async with tenant_db(of.id) as session:
        sales = select(func.count()).select_from(Invoice)
        return await session.scalar(sales.where(Invoice.customer == "Walk-in")) or 0


async def test_a_sale_stands_whatever_becomes_of_its_analytics(saas: Saas) -> None:
    async with saas.signed_in("user_ada") as client:
        saas.stack.analytics.is_down = True
        await client.post("/checkout", data={"amount": "49"})
        assert "sold: invoice 201" in await flash(client)
        saas.stack.analytics.is_down = False
        await client.post("/checkout", data={"amount": "12.50"})
        # The connection is free again when the background task is done.
        await client.get("/inspector")

    assert await sold(ACME) == 2
    assert (await actions_of(ACME))["checkout.completed"] == 2
    [event] = saas.stack.analytics.events
    assert event["properties"] == {"organization_id": str(ACME.id), "amount_cents": 1250}


async def test_a_sale_without_its_audit_row_is_no_sale(
    saas: Saas, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    before = await sold(GLOBEX)
    monkeypatch.setattr(checkout, "log_audit", fail)
    async with saas.signed_in("user_cleo") as client:
        answer = await client.post("/checkout", data={"amount": "49"})

    assert answer.status_code == 500
    assert await sold(GLOBEX) == before


# ── by the clock ─────────────────────────────────────────────────────────────────────────────────


async def test_the_sweep_needs_the_secret_and_finds_a_trial_once(saas: Saas) -> None:
    secret = settings().cron_secret.get_secret_value()
    async with httpx.AsyncClient(base_url=saas.stack.app_url) as client:

        async def sweep(authorization: str) -> httpx.Response:
            headers = httpx.Headers([(b"Authorization", authorization.encode())])
            return await client.post("/api/cron/expire-trials", headers=headers)

        for wrong in ("", secret, f"Bearer {secret}x", "Bearer ü"):
            assert (await sweep(wrong)).status_code == 401
        assert await plan_of(INITECH) == ("team", "trialing")

        first, second = await sweep(f"Bearer {secret}"), await sweep(f"Bearer {secret}")

    assert (first.json(), second.json()) == ({"expired": 1}, {"expired": 0})
    assert await plan_of(INITECH) == ("team", "past_due")
    saas.stack.payments.plans[INITECH.customer_id] = ("team", "past_due")


# ── the payment provider ─────────────────────────────────────────────────────────────────────────


async def test_the_provider_is_asked_again_through_limits_and_bad_minutes(saas: Saas) -> None:
    payments = saas.stack.payments
    payments.weather = Weather(requests_per_second=8, every_nth_fails=4)
    try:
        found = [await find_subscription(ACME.customer_id) for _ in range(20)]
    finally:
        payments.weather = Weather()

    assert all(one is not None and one.plan == "team" for one in found)
    assert set(payments.refused) == {429, 503}


async def test_an_effect_happens_once_per_key(saas: Saas) -> None:
    async def give(cents: int) -> str:
        return (await credit(ACME.customer_id, cents=cents, why="test", key="the-key")).id

    first, again = await give(700), await give(700)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await give(800)

    assert first == again
    assert [one.amount for one in saas.stack.payments.effects if one.key == "the-key"] == [-700]


async def test_a_webhook_changes_the_plan_once_and_a_forged_one_nothing(saas: Saas) -> None:
    await saas.stack.payments.change_plan(EMPTY.customer_id, "team")
    await saas.stack.payments.change_plan(EMPTY.customer_id, "team")
    assert await plan_of(EMPTY) == ("team", "active")
    assert (await actions_of(EMPTY))["billing.webhook"] == 1

    body = b'{"id":"evt","type":"x","data":{"object":{"customer":"cus_org_empty"}}}'
    old = provider.sign(body, moment=1_700_000_000)
    async with httpx.AsyncClient(base_url=saas.stack.app_url) as client:
        for header in ("", "t=1,v1=2", old, provider.sign(b"another body")):
            answer = await client.post(
                "/api/webhooks/payments", content=body, headers={"Stripe-Signature": header}
            )
            assert answer.status_code == 401
        headers = {"Stripe-Signature": provider.sign(body)}
        answer = await client.post("/api/webhooks/payments", content=body, headers=headers)
        assert answer.json() == {"taken": True}


async def test_a_reconciliation_killed_after_200_of_500_goes_on_at_the_201st(saas: Saas) -> None:
    """At the worst moment: the credit is given, and whoever asked for it never hears so."""
    payments = saas.stack.payments
    everybody = sorted((ACME, GLOBEX, INITECH, EMPTY, *CROWD), key=lambda one: one.id)
    payments.reset({one.customer_id: await plan_of(one) for one in everybody})
    unlucky = everybody[200]
    await payments.change_plan(unlucky.customer_id, "scale", webhook_arrives=False)
    given, release = asyncio.Event(), asyncio.Event()

    async def hold(path: str) -> None:
        given.set()
        await release.wait()

    payments.before_answer = hold
    handle = await tasks.trigger(
        "reconcile-billing", {"as_of": datetime.now(UTC) + timedelta(days=1, seconds=1)}
    )
    await asyncio.wait_for(given.wait(), 60)
    assert sum(payments.asked.values()) == 201
    await saas.replace_worker()
    payments.before_answer = None
    release.set()

    assert await handle.result(timeout=90) == {"looked_at": 500, "repaired": 1}
    twice = {customer for customer, times in payments.asked.items() if times > 1}
    assert twice == {unlucky.customer_id}, "the first 200 were not asked about again"
    assert len(payments.asked) == 500
    assert len(payments.keys) == 2, "asked for twice"
    assert [one.amount for one in payments.effects] == [-500], "given once"
    assert await plan_of(unlucky) == ("scale", "active")
    assert await audit_rows(unlucky, handle.id) == ["billing.reconciliation"]
    assert await saas.audit() == []


async def test_the_clock_of_the_reconciliation_is_declared(saas: Saas) -> None:
    del saas
    [nightly] = [found async for found in schedules.list(task="nightly-reconciliation")]

    assert nightly.generator.expression == "0 3 * * *"


# ── fan-out ──────────────────────────────────────────────────────────────────────────────────────


async def inbox_of(of: SeedOrganization) -> Counter[str]:
    async with tenant_db(of.id) as session:
        return Counter(await session.scalars(select(Notification.user_id)))


async def test_an_event_reaches_everybody_once_on_every_channel(saas: Saas) -> None:
    event = uuid4()
    payload = NotifyPayload(
        organization_id=GLOBEX.id, event_type="comment.added", event_id=event, text="Well done"
    )

    first = await notify_event(GLOBEX.id, "comment.added", event_id=event, text="Well done")
    again = await notify_event(GLOBEX.id, "comment.added", event_id=event, text="Well done")
    another = await tasks.trigger("notify-org-members", payload)

    assert first == again, "one event is one run"
    for run_id in (first, another.id):
        await saas.end(run_id)
        output = await runs.result(run_id, timeout=10)
        assert output == {"sends": 4, "delivered": 4}
    assert await inbox_of(GLOBEX) == {"user_ben": 1, "user_cleo": 1}
    subject = f"{GLOBEX.name}: comment.added"
    mails = [str(mail["To"]) for mail in saas.mailbox.mails() if mail["Subject"] == subject]
    assert sorted(mails) == [email_of("user_ben"), email_of("user_cleo")]


async def test_a_suppressed_member_gets_the_inbox_only(saas: Saas) -> None:
    run_id = await notify_event(INITECH.id, "comment.added", event_id=uuid4(), text="Hello")

    await saas.end(run_id)

    assert await runs.result(run_id, timeout=10) == {"sends": 4, "delivered": 3}
    assert await inbox_of(INITECH) == {"user_dan": 1, "user_eve": 1}
    assert saas.mailbox.to("user_eve") == []


async def test_the_queue_of_notifications_lets_five_of_a_lane_run(saas: Saas) -> None:
    del saas
    assert (await queues.retrieve("notifications")).concurrency_limit == 5


# ── lanes ────────────────────────────────────────────────────────────────────────────────────────


async def test_exports_of_an_organization_wait_for_each_other_and_for_no_one_else(
    saas: Saas,
) -> None:
    """Three of each, as if asked for on three days: strictly one by one in each lane."""
    today = datetime.now(UTC)
    started_runs: dict[str, list[str]] = {}
    for before in (1, 2, 3):
        for of in (ACME, GLOBEX, INITECH):
            answer = await start_export(
                of.members[0], of.id, page_rows=100, moment=today - timedelta(days=before)
            )
            assert isinstance(answer, Ok)
            started_runs.setdefault(of.slug, []).append(answer.value.run_id)

    lanes: dict[str, list[tuple[datetime, datetime]]] = {}
    for slug, run_ids in started_runs.items():
        for run_id in run_ids:
            await saas.end(run_id)
            run = await runs.retrieve(run_id)
            assert run.started_at is not None
            assert run.finished_at is not None
            lanes.setdefault(slug, []).append((run.started_at, run.finished_at))

    for lane in lanes.values():
        for (_, ended), (begun, _) in pairwise(lane):
            assert ended <= begun, "the next one begins when the one before is done"
    first_end = min(lane[0][1] for lane in lanes.values())
    assert all(lane[0][0] < first_end for lane in lanes.values()), "three at once"


# ── people ───────────────────────────────────────────────────────────────────────────────────────


async def until(of: SeedOrganization, number: int, holds: Callable[[Refund], bool]) -> Refund:
    """Look at the refund of an invoice until something holds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with tenant_db(of.id) as session:
                own = select(Refund).where(Refund.invoice_number == number)
                if holds(refund := (await session.scalars(own)).one()):
                    return refund
            await asyncio.sleep(0.02)


async def paid_invoices(of: SeedOrganization) -> list[int]:
    async with tenant_db(of.id) as session:
        paid = select(Invoice.number).where(Invoice.status == "paid").order_by(Invoice.number)
        return list(await session.scalars(paid.limit(2)))


@pytest.mark.parametrize(
    ("place", "answer", "ends"), [(0, True, "refunded"), (1, False, "refused")]
)
async def test_an_owner_decides_about_a_refund(
    saas: Saas, place: int, answer: bool, ends: str
) -> None:
    number = (await paid_invoices(ACME))[place]
    effects = len(saas.stack.payments.effects)
    async with saas.signed_in("user_ben") as member, saas.signed_in("user_ada") as owner:
        await member.post("/organization", data={"organization_id": str(ACME.id)})
        for _ in range(2):
            await member.post("/refunds", data={"number": str(number)})
        assert f"the refund of invoice {number}" in await flash(member)
        refund = await until(ACME, number, lambda one: one.token_id is not None)

        await member.post(f"/refunds/{refund.id}", data={"approved": "true"})
        assert "only an owner" in await flash(member)
        await owner.post(f"/refunds/{refund.id}", data={"approved": str(answer).lower()})
        refund = await until(ACME, number, lambda one: one.status != "requested")

    assert (refund.status, refund.decided_by) == (ends, "user_ada")
    assert (await actions_of(ACME))[f"refund.{ends}"] == 1
    assert len(saas.stack.payments.effects) - effects == int(answer)


async def test_a_refund_of_what_was_not_paid_is_refused(saas: Saas) -> None:
    async with saas.signed_in("user_ada") as client:
        await client.post("/refunds", data={"number": "999999"})
        assert "there is no paid invoice 999999" in await flash(client)


async def test_a_digest_keeps_one_schedule_and_writes_to_the_owner(saas: Saas) -> None:
    async with saas.signed_in("user_cleo") as client:
        for hour in ("7", "9"):
            await client.post("/digest", data={"hour": hour, "timezone": "Europe/Berlin"})
        assert "09:00, Europe/Berlin" in await flash(client)
        await client.post("/digest", data={"hour": "9", "timezone": "Europe/Atlantis"})
        assert "Europe/Atlantis" in await flash(client)

    own = [found async for found in schedules.list(external_id=str(GLOBEX.id))]
    assert [(one.generator.expression, one.timezone) for one in own] == [
        ("0 9 * * *", "Europe/Berlin")
    ]
    tick = {
        "scheduleId": own[0].id,
        "type": "IMPERATIVE",
        "timestamp": datetime.now(UTC),
        "externalId": str(GLOBEX.id),
    }
    handle = await tasks.trigger("send-digest", tick)
    assert await handle.result(timeout=30) is True
    [mail] = [m for m in saas.mailbox.mails() if "open invoices" in str(m["Subject"])]
    assert mail["To"] == email_of("user_cleo")


# ── the door ─────────────────────────────────────────────────────────────────────────────────────


async def test_nobody_gets_in_without_signing_in(saas: Saas) -> None:
    async with httpx.AsyncClient(base_url=saas.stack.app_url) as client:
        page = await client.get("/inspector")
        api = await client.post("/api/exports")
        wrong = await client.post(
            "/sign-in", data={"email": email_of("user_ada"), "password": "incorrect"}
        )
        unknown = await client.post(
            "/sign-in", data={"email": "nobody@example.com", "password": "correct horse"}
        )

    assert (page.status_code, page.headers["location"]) == (303, "/sign-in")
    assert (api.status_code, wrong.status_code, unknown.status_code) == (401, 403, 403)


async def test_another_tenant_sees_neither_state_nor_file_of_an_export(saas: Saas) -> None:
    async with saas.signed_in("user_ben") as ben, saas.signed_in("user_dan") as stranger:
        run_id = (await ben.post("/api/exports")).json()["runId"]
        await saas.end(run_id)
        for path in (f"/api/exports/{run_id}", f"/exports/{run_id}.csv"):
            assert (await ben.get(path)).status_code == 200
            assert (await stranger.get(path)).status_code == 404
        assert (await stranger.get(f"/api/exports/{run_id}/events")).status_code == 404
        told = (await ben.get(f"/api/exports/{run_id}")).json()

    assert (told["status"], told["attemptCount"]) == ("COMPLETED", 1)
    assert told["pagesDone"] == told["pagesTotal"] > 0
