"""Bodies of the public HTTP API, named as on the wire (camelCase); an absent field is never null.

Requests ignore fields they do not know, as the official clients send more than any server reads.
"""

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from outlast.protocol.body import Body, Exact, Moment, Pagination

Machine = Literal["micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x"]

# ── triggering ───────────────────────────────────────────────────────────────────────────────────


class QueueOption(Body):
    """The queue of a trigger. A limit here is refused: limits belong to the declared queue."""

    name: str = Field(max_length=200)
    concurrency_limit: int | None = None


class DebounceOption(Body):
    """Push a delayed run of the key back instead of making another one."""

    key: str = Field(max_length=512)
    delay: str
    mode: Literal["leading", "trailing"] = "leading"
    max_delay: str | None = None


class IdempotencyKeyOptions(Body):
    """What the user wrote, before hashing, and how far the key reaches."""

    key: str = Field(max_length=2048)
    scope: Literal["run", "attempt", "global"] = "global"


class TriggerOptions(Body):
    """Options of one trigger or batch item. Durations and dates are still text here."""

    queue: QueueOption | str | None = None
    concurrency_key: str | int | float | None = None
    delay: str | None = None
    ttl: str | Exact | None = None
    idempotency_key: str | None = Field(default=None, max_length=2048)
    # pydantic's camel case would write Ttl
    idempotency_key_ttl: str | None = Field(default=None, alias="idempotencyKeyTTL")
    idempotency_key_options: IdempotencyKeyOptions | None = None
    machine: Machine | None = None
    max_attempts: int | None = Field(default=None, ge=1, le=10_000)
    max_duration: float | None = Field(default=None, ge=0, le=31_536_000)
    priority: float | None = Field(default=None, ge=0, le=31_536_000)
    metadata: dict[str, JsonValue] | str | None = None
    metadata_type: str | None = None
    payload_type: str | None = None
    tags: str | tuple[str, ...] | None = None
    test: bool = False
    lock_to_version: str | None = Field(default=None, max_length=200)
    resume_parent_on_completion: bool = False
    debounce: DebounceOption | None = None
    fairness_group: str | int | float | None = None
    park: bool = False
    gates: list[JsonValue] | None = None
    concurrency: list[JsonValue] | None = None
    external_deployment_id: str | None = None


class TriggerBody(Body):
    """`POST /api/v1/tasks/{taskId}/trigger`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"payload": {"name": "Ada"}}]})

    payload: JsonValue = None
    options: TriggerOptions = TriggerOptions()


class TriggerReply(Body):
    """The run that a trigger made or found."""

    id: str
    is_cached: bool | None = None


# ── batches ──────────────────────────────────────────────────────────────────────────────────────


class BatchCreate(Body):
    """`POST /api/v3/batches`: the first of two phases."""

    run_count: int = Field(gt=0)
    task_identifiers: tuple[str, ...] | None = None
    idempotency_key: str | None = Field(default=None, max_length=2048)
    idempotency_key_options: IdempotencyKeyOptions | None = None
    parent_run_id: str | None = None
    resume_parent_on_completion: bool = False


class BatchCreated(Body):
    """The batch that waits for its items; `is_cached` only for a batch that has all of them."""

    id: str
    run_count: int
    is_cached: bool
    idempotency_key: str | None = None


class TaskItem(Body):
    """A trigger that says for which task."""

    task: str = Field(min_length=1, max_length=512)
    payload: JsonValue = None
    options: TriggerOptions = TriggerOptions()


class BatchItem(TaskItem):
    """One line of `POST /api/v3/batches/{id}/items`."""

    index: int = Field(ge=0)


class WholeBatch(Body):
    """`POST /api/v2/tasks/batch`: a batch with all its items."""

    items: tuple[TaskItem, ...] = Field(min_length=1, max_length=1000)


class BatchError(Body):
    """An item that became no run."""

    index: int
    task_identifier: str
    error: str
    error_code: str | None = None


class BatchItemsReply(Body):
    """How many items are in; the client sends them all again until it reads `sealed`."""

    id: str
    items_accepted: int
    items_deduplicated: int
    sealed: bool
    enqueued_count: int | None = None
    expected_count: int | None = None
    errors: tuple[BatchError, ...] | None = None
    """The items that became no run, once the batch is sealed."""


BatchStatus = Literal["PENDING", "PROCESSING", "COMPLETED", "PARTIAL_FAILED", "ABORTED"]


class BatchProcessing(Body):
    """How turning items into runs went."""

    completed_at: Moment | None = None
    errors: tuple[BatchError, ...] = ()


class BatchBody(Body):
    """`GET /api/v2/batches/{id}`. COMPLETED: every run was created, not that it ended."""

    id: str
    status: BatchStatus
    idempotency_key: str | None = None
    created_at: Moment
    updated_at: Moment
    run_count: int
    runs: tuple[str, ...]
    processing: BatchProcessing


class ListedBatch(Body):
    """A batch in a list. `created` counts its items so far, `refused` those that became no run."""

    id: str
    status: BatchStatus
    run_count: int
    created: int
    refused: int
    parent_run_id: str | None = None
    created_at: Moment
    updated_at: Moment


class BatchPage(Body):
    """`GET /api/outlast/v1/batches`, newest first."""

    data: tuple[ListedBatch, ...]
    pagination: Pagination


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────

TriggerFunction = Literal["trigger", "triggerAndWait", "batchTrigger", "batchTriggerAndWait"]


class RunBody(Body):
    """A run in a list or beside another one."""

    id: str
    status: str
    task_identifier: str
    is_queued: bool
    is_executing: bool
    is_waiting: bool
    is_completed: bool
    is_success: bool
    is_failed: bool
    is_cancelled: bool
    is_test: bool
    created_at: Moment
    updated_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    delayed_until: Moment | None = None
    expired_at: Moment | None = None
    tags: tuple[str, ...] = ()
    cost_in_cents: float = 0.0
    base_cost_in_cents: float = 0.0
    duration_ms: float = 0.0
    idempotency_key: str | None = None
    version: str | None = None
    ttl: str | None = None
    metadata: dict[str, JsonValue] | None = None
    queue: str | None = None
    concurrency_key: str | None = None
    reason: str | None = None
    """Why a run that is not final stands where it stands."""


class RunEnvironment(Body):
    """Where a listed run lives."""

    id: str
    name: str


class ListedRun(RunBody):
    """One item of `GET /api/v1/runs`."""

    env: RunEnvironment


class RelatedRun(RunBody):
    """A run above or below another one."""

    depth: int = 0
    trigger_function: TriggerFunction = "trigger"


class RelatedRuns(Body):
    """The family of a run."""

    root: RelatedRun | None = None
    parent: RelatedRun | None = None
    children: tuple[RelatedRun, ...] | None = None


class RunErrorBody(Body):
    """Why a run failed."""

    message: str
    name: str | None = None
    stack_trace: str | None = None
    causes: tuple[str, ...] | None = None
    kind: str | None = None
    code: str | None = None
    line: str | None = None


class FailedAttempt(Body):
    """One attempt that failed, and of what."""

    number: int
    failed_at: Moment
    error: RunErrorBody


class RunDetail(RelatedRun):
    """`GET /api/v3/runs/{id}`. `payload` and `output` are plain JSON values."""

    attempt_count: int = 0
    generation: int = 1
    related_runs: RelatedRuns = RelatedRuns()
    batch_id: str | None = None
    payload: JsonValue = None
    output: JsonValue = None
    error: RunErrorBody | None = None
    failed_attempts: tuple[FailedAttempt, ...] | None = None
    machine: str | None = None
    max_duration_seconds: float | None = None
    priority: float | None = None
    replayed_from: str | None = None


class RunPage(Body):
    """`GET /api/v1/runs`, newest first."""

    data: tuple[ListedRun, ...]
    pagination: Pagination


class IdReply(Body):
    """The object that a change was made to."""

    id: str


class MetadataReply(Body):
    """A run's metadata."""

    metadata: dict[str, JsonValue]


# ── tokens, environment ──────────────────────────────────────────────────────────────────────────


class Realtime(Body):
    """Default column mask of realtime feeds."""

    skip_columns: tuple[str, ...] | None = None


class PublicTokenRequest(Body):
    """`POST /api/v1/auth/public-tokens`."""

    scopes: tuple[str, ...] = Field(min_length=1, max_length=100)
    expiration_time: str | Exact | None = None
    one_time_use: bool = False
    realtime: Realtime | None = None


class PublicTokenReply(Body):
    """A token for a browser."""

    token: str


class SlotsBody(Body):
    """How many runs of one kind of executor a worker executes, of how many at once."""

    kind: str
    used: int
    total: int


class ProcessBody(Body):
    """One executor process: `memory` is in bytes; `blocked`: its loop stands still."""

    pid: int
    kind: str
    executing: int
    parked: int
    memory: int
    blocked: bool


class WorkerBody(Body):
    """One connected worker."""

    session: str
    name: str
    host: str
    pid: int
    version: str
    connected_at: Moment | None = None
    seen_at: Moment | None = None
    slots: tuple[SlotsBody, ...] = ()
    processes: tuple[ProcessBody, ...] = ()


class EnvironmentBody(Body):
    """What a key belongs to, and who works there."""

    id: str
    slug: str
    project: str
    version: str | None = None
    workers: tuple[WorkerBody, ...] = ()
