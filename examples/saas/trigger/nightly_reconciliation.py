"""The clock of the reconciliation: it only fires; the run that it starts does the work."""

from outlast import ScheduledPayload, schedules

from trigger.reconcile_billing import ReconcilePayload, reconcile_billing


@schedules.task("nightly-reconciliation", cron="0 3 * * *")
async def nightly_reconciliation(payload: ScheduledPayload) -> str:
    """Start the night's reconciliation, at three in the morning, UTC."""
    handle = await reconcile_billing.trigger(ReconcilePayload(as_of=payload.timestamp))
    return handle.id
