"""The nightly look at every customer of whom the payment provider has said nothing for a day.

A webhook that got lost leaves an organization with the wrong plan. Half a reconciliation is wrong
too, so it must end: a worker that dies after 200 of 500 organizations is followed by one that goes
on at the 201st. That is why this is a task and the hourly sweep of trials is not.
"""

from datetime import timedelta
from uuid import UUID

from outlast import Context, Queue, Retry, metadata, step, task
from pydantic import AwareDatetime, BaseModel

from app.billing.entitlements import Reconciled, reconcile
from app.crossings import find_silent_organizations

SILENCE = timedelta(hours=24)

# Two of them would ask the provider everything twice.
reconciliations = Queue("reconcile-billing", total_limit=1)


class ReconcilePayload(BaseModel):
    """The moment whose past day counts: the same on every replay."""

    as_of: AwareDatetime


class Reconciliation(BaseModel):
    """How many were looked at, and how many had drifted."""

    looked_at: int
    repaired: int


@task(
    "reconcile-billing",
    queue=reconciliations,
    retry=Retry(max_attempts=10, min_timeout="1s", max_timeout="5m"),
    max_duration="2h",
)
async def reconcile_billing(payload: ReconcilePayload, ctx: Context) -> Reconciliation:
    """Reconcile one organization after the other, a step each.

    A journal holds ten thousand entries: with more customers than that, start a child run for each
    thousand of them.
    """

    async def one(organization_id: UUID) -> Reconciled:
        # The token belongs to this step and stays the same when the step is repeated: it is what
        # keeps the provider from crediting a customer twice.
        return await reconcile(organization_id, key=ctx.step.token, run_id=ctx.run.id)

    silent = await step("find-silent", find_silent_organizations, payload.as_of - SILENCE)
    metadata.set("total", len(silent)).set("done", 0)
    repaired = 0
    for done, organization_id in enumerate(silent, start=1):
        found = await step("reconcile", one, organization_id)
        repaired += found.drifted
        metadata.set("done", done)
    return Reconciliation(looked_at=len(silent), repaired=repaired)
