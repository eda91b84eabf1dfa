"""Outlast: background work that outlives a request."""

from outlast.client.clients import aclose
from outlast.protocol.schedules import ScheduledPayload
from outlast.sdk import (
    auth,
    batch,
    envvars,
    heartbeats,
    locals,
    queues,
    runs,
    schedules,
    streams,
    tags,
    tasks,
    usage,
    wait,
)
from outlast.sdk import idempotency as idempotency_keys
from outlast.sdk import retrying as retry
from outlast.sdk.auth import Client, SyncClient
from outlast.sdk.background import wait_until
from outlast.sdk.batches import BatchItem, TaskItem
from outlast.sdk.calls import Call
from outlast.sdk.context import Context
from outlast.sdk.decorator import task
from outlast.sdk.errors import (
    AbortTaskRunError,
    ApiError,
    AuthenticationError,
    BadRequestError,
    BatchTriggerError,
    BlockingCallWarning,
    CompleteTaskWithOutput,
    ConflictError,
    ForeignCallError,
    Interrupt,
    MaxDurationExceeded,
    NonDeterministicReplayError,
    NotFoundError,
    OutlastError,
    OutOfMemoryError,
    OutputError,
    OutsideRunError,
    OutsideRunWarning,
    PayloadError,
    PermissionDeniedError,
    RateLimitError,
    Restart,
    RunCanceled,
    RunError,
    RunExpired,
    RunFailed,
    RunInterrupted,
    RunTimedOut,
    ServerError,
    SettingsError,
    StepError,
    TransportError,
    UnprocessableError,
    UsageError,
    WaitInStepError,
    WaitpointTimeoutError,
    WaitTimeoutError,
)
from outlast.sdk.handles import BatchHandle, RunHandle
from outlast.sdk.hooks import Completion, WaitInfo
from outlast.sdk.locals import Local
from outlast.sdk.logger import logger
from outlast.sdk.metadata import metadata
from outlast.sdk.options import Debounce, TriggerOptions, WaitOptions
from outlast.sdk.outbox import Promised
from outlast.sdk.queue import Queue
from outlast.sdk.results import BatchResult, Result
from outlast.sdk.retry import Retry
from outlast.sdk.schedules import Cron
from outlast.sdk.signals import CancelSignal
from outlast.sdk.steps import step, step_sync
from outlast.sdk.task import Task
from outlast.sdk.taskref import TaskRef
from outlast.sdk.usage import Usage
from outlast.sdk.verdicts import Verdict
from outlast.sdk.waitpoints import WaitpointToken

__all__ = [
    "AbortTaskRunError",
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "BatchHandle",
    "BatchItem",
    "BatchResult",
    "BatchTriggerError",
    "BlockingCallWarning",
    "Call",
    "CancelSignal",
    "Client",
    "CompleteTaskWithOutput",
    "Completion",
    "ConflictError",
    "Context",
    "Cron",
    "Debounce",
    "ForeignCallError",
    "Interrupt",
    "Local",
    "MaxDurationExceeded",
    "NonDeterministicReplayError",
    "NotFoundError",
    "OutOfMemoryError",
    "OutlastError",
    "OutputError",
    "OutsideRunError",
    "OutsideRunWarning",
    "PayloadError",
    "PermissionDeniedError",
    "Promised",
    "Queue",
    "RateLimitError",
    "Restart",
    "Result",
    "Retry",
    "RunCanceled",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunHandle",
    "RunInterrupted",
    "RunTimedOut",
    "ScheduledPayload",
    "ServerError",
    "SettingsError",
    "StepError",
    "SyncClient",
    "Task",
    "TaskItem",
    "TaskRef",
    "TransportError",
    "TriggerOptions",
    "UnprocessableError",
    "Usage",
    "UsageError",
    "Verdict",
    "WaitInStepError",
    "WaitInfo",
    "WaitOptions",
    "WaitTimeoutError",
    "WaitpointTimeoutError",
    "WaitpointToken",
    "aclose",
    "auth",
    "batch",
    "envvars",
    "heartbeats",
    "idempotency_keys",
    "locals",
    "logger",
    "metadata",
    "queues",
    "retry",
    "runs",
    "schedules",
    "step",
    "step_sync",
    "streams",
    "tags",
    "task",
    "tasks",
    "usage",
    "wait",
    "wait_until",
]
