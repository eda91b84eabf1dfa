"""What `import outlast` gives, and what it costs."""

import subprocess
import sys

import outlast

EXPORTS = """
AbortTaskRunError ApiError AuthenticationError BadRequestError BatchHandle BatchItem BatchResult
BatchTriggerError BlockingCallWarning Call CancelSignal Client CompleteTaskWithOutput Completion
ConflictError Context Cron Debounce ForeignCallError Interrupt Local MaxDurationExceeded
NonDeterministicReplayError NotFoundError OutOfMemoryError OutlastError OutputError OutsideRunError
OutsideRunWarning PayloadError PermissionDeniedError Promised Queue RateLimitError Restart Result
Retry RunCanceled RunError RunExpired RunFailed RunHandle RunInterrupted RunTimedOut
ScheduledPayload ServerError SettingsError StepError SyncClient Task TaskItem TaskRef
TransportError TriggerOptions UnprocessableError Usage UsageError Verdict WaitInStepError WaitInfo
WaitOptions WaitTimeoutError WaitpointTimeoutError WaitpointToken aclose auth batch envvars
heartbeats idempotency_keys locals logger metadata queues retry runs schedules step step_sync
streams tags task tasks usage wait wait_until
""".split()  # noqa: SIM905 - as it reads best

HEAVY = "typer rich asyncpg fastapi starlette websockets httpx uvicorn jinja2"


def test_the_user_api_is_frozen() -> None:
    """A name added here is a promise; one removed breaks somebody."""
    assert outlast.__all__ == EXPORTS


def test_names_are_sorted_and_exist() -> None:
    assert outlast.__all__ == sorted(outlast.__all__)
    assert all(hasattr(outlast, name) for name in outlast.__all__)


def test_importing_loads_no_cli_web_or_sql_stack() -> None:
    code = f"import sys, outlast; print(*[m for m in {HEAVY.split()!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.split() == []
