"""Outlast: background work that outlives a request."""

from outlast.client.clients import aclose
from outlast.sdk import batch, runs, schedules, tags, tasks, wait
from outlast.sdk import idempotency as idempotency_keys
from outlast.sdk import retrying as retry
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
    RunCanceled,
    RunError,
    RunExpired,
    RunFailed,
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
from outlast.sdk.logger import logger
from outlast.sdk.metadata import metadata
from outlast.sdk.options import TriggerOptions, WaitOptions
from outlast.sdk.queue import Queue
from outlast.sdk.results import BatchResult, Result
from outlast.sdk.retry import Retry
from outlast.sdk.schedules import Cron, ScheduledPayload
from outlast.sdk.steps import step, step_sync
from outlast.sdk.task import Task
from outlast.sdk.taskref import TaskRef
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
    "CompleteTaskWithOutput",
    "ConflictError",
    "Context",
    "Cron",
    "ForeignCallError",
    "Interrupt",
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
    "Queue",
    "RateLimitError",
    "Result",
    "Retry",
    "RunCanceled",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunHandle",
    "RunTimedOut",
    "ScheduledPayload",
    "ServerError",
    "SettingsError",
    "StepError",
    "Task",
    "TaskItem",
    "TaskRef",
    "TransportError",
    "TriggerOptions",
    "UnprocessableError",
    "UsageError",
    "Verdict",
    "WaitInStepError",
    "WaitOptions",
    "WaitTimeoutError",
    "WaitpointTimeoutError",
    "WaitpointToken",
    "aclose",
    "batch",
    "idempotency_keys",
    "logger",
    "metadata",
    "retry",
    "runs",
    "schedules",
    "step",
    "step_sync",
    "tags",
    "task",
    "tasks",
    "wait",
]
