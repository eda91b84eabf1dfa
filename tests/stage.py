"""A server played in memory, and calls as the SDK makes them, for tests of the executor."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import msgspec

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.messages import (
    Beat,
    Call,
    Called,
    Cancel,
    Claim,
    Complete,
    Delivered,
    Empty,
    Entry,
    Facts,
    Fail,
    LogLine,
    Report,
    Restart,
    Result,
    Step,
    Stepped,
    Suspend,
    Suspended,
)
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.streams import Append, Appended
from outlast.protocol.triggers import Trigger, Triggered
from outlast.sdk import runtime
from outlast.sdk.errors import StepError, run_error
from outlast.sdk.hooks import Hooks
from outlast.sdk.registry import Registry
from outlast.sdk.task import Task
from outlast.worker import scopes
from outlast.worker.executor import Executor
from outlast.worker.pipe import Pipe
from outlast.worker.processes import Config

BODIES: dict[int, type[msgspec.Struct]] = {
    Kind.STEP: Step,
    Kind.CALL: Call,
    Kind.DELIVERED: Delivered,
    Kind.SUSPEND: Suspend,
    Kind.COMPLETE: Complete,
    Kind.FAIL: Fail,
    Kind.RESTART: Restart,
    Kind.REPORT: Report,
    Kind.APPEND: Append,
    Kind.LINE: LogLine,
}


POLICY = RetryPolicy(min_timeout=0.01, randomize=False)


@dataclass
class StubTask:
    id: str
    function: Callable[..., Any]
    is_async: bool = True
    file: str = "stage.py"
    hooks: Hooks = field(default_factory=lambda: Hooks("stub"))

    @property
    def takes_context(self) -> bool:
        return True

    def decode_payload(self, text: str | None, payload_type: str) -> object:
        return None if text is None else json.loads(text)

    def encode_payload(self, payload: object) -> str | None:
        return None if payload is None else json.dumps(payload, separators=(",", ":"))

    def arguments(
        self, payload: object, context: object
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        return (context,), {}

    def encode_output(self, value: object) -> str | None:
        return json.dumps(value)

    def gives_up_on(self, error: BaseException) -> bool:
        return False


@dataclass
class StubRegistry:
    tasks: dict[str, Any] = field(default_factory=dict)
    hooks: Hooks = field(default_factory=lambda: Hooks("tasks"))


class StubPipe:
    def __init__(self, receive: Callable[[Frame], None]) -> None:
        self.send = self.hand_over = receive

    def send_now(self, *frames: Frame) -> None:
        for each in frames:
            self.send(each)


class Receiver(Protocol):
    """An executor, in this process or another."""

    def receive(self, frames: list[Frame]) -> None: ...


class Server:
    """One environment's server and its one worker. `crash` forgets the executor's memory."""

    def __init__(self, boot: "Callable[[Server], Receiver] | None" = None) -> None:
        self.registry = StubRegistry()
        self.entries: dict[str, dict[str, Entry]] = {}
        self.calls: dict[str, list[Call]] = {}
        self.frames: list[tuple[Kind, Any]] = []
        self.tokens: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        self.task_of: dict[str, str] = {}
        self.parked: dict[str, tuple[str, ...]] = {}
        self.ended: dict[str, Complete | Fail] = {}
        self.positions: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.chunks: dict[str, int] = {}
        self.appended: list[tuple[str, str, str]] = []
        self.left_out: tuple[str, ...] = ()
        self.logs: list[str] = []
        self.left = False
        self.changed = asyncio.Event()
        self.theirs: dict[str, str] = {}
        self.executor: Receiver = boot(self) if boot else self.boot()

    def boot(self) -> Executor:
        loop = asyncio.get_running_loop()
        scopes.install(loop)
        scopes.keep_order()
        config = Config(
            root=".",
            dirs=(),
            kind="shared",
            replay_always=False,
            warm_wait=600,
            sync_warm_wait=30,
        )
        generation = object()
        self.generation = generation

        def receive(each: Frame) -> None:
            loop.call_soon(self._receive_from, generation, each)

        def leave() -> None:
            self.left = True

        registry, pipe = cast("Registry", self.registry), cast("Pipe", StubPipe(receive))
        executor = Executor(config, registry, pipe, loop, leave)
        executor.receive([frame(Kind.BEAT, Beat())])
        return executor

    def beat(self) -> None:
        self.executor.receive([frame(Kind.BEAT, Beat())])

    def crash(self) -> None:
        assert isinstance(self.executor, Executor)
        for run in list(self.executor.runs.values()):
            run.drop()
        self.executor = self.boot()

    def task(self, function: Callable[..., Any]) -> str:
        is_async = asyncio.iscoroutinefunction(function)
        self.registry.tasks[function.__name__] = StubTask(function.__name__, function, is_async)
        return function.__name__

    def add(self, task: Task[Any, Any]) -> str:
        """Take in a real task, hooks included."""
        self.registry.tasks[task.id] = task
        return task.id

    def claim(
        self,
        task: str,
        run: str = "run_1",
        resume: str = "fresh",
        attempts: int = 3,
        *,
        payload: str | None = None,
        cancel: str | None = None,
        policy: RetryPolicy = POLICY,
    ) -> None:
        self.task_of[run] = task
        self.tokens[run] = token = self.tokens.get(run, 0) + 1
        attempt = self.attempts.setdefault(run, 1)
        facts = Facts(
            run_id=run,
            task=task,
            attempt=attempt,
            max_attempts=attempts,
            queue="q",
            created_at=0,
            started_at=0,
            environment="env",
            environment_slug="dev",
            project="p",
            version="v",
        )
        entries = tuple(self.entries.setdefault(run, {}).values())
        if resume == "warm":
            entries = tuple(each for each in entries if each.key in self.parked.get(run, ()))
        self.parked.pop(run, None)
        claim = Claim(
            resume=resume,  # type: ignore[arg-type]
            facts=facts,
            executor="shared",
            payload=payload,
            retry=msgspec.json.encode(policy).decode(),
            seed=b"s" * 32,
            entries=entries,
            positions=dict(self.positions),
            lines=dict(self.lines),
            chunks=dict(self.chunks),
            cancel=cancel,
        )
        self.executor.receive([frame(Kind.CLAIM, claim, run=run, token=token)])

    def cold(self, task: str, run: str = "run_1") -> None:
        self.crash()
        self.claim(task, run, "cold")

    def retry(self, task: str, run: str = "run_1") -> None:
        end = self.ended.pop(run)
        assert isinstance(end, Fail)
        assert end.retry_in is not None
        for key in end.forgotten:
            del self.entries[run][key]
        self.attempts[run] += 1
        self.claim(task, run)

    def finish(
        self, key: str, value: object = None, run: str = "run_1", error: str | None = None
    ) -> None:
        if key not in self.entries[run]:
            (key,) = (each for each in self.entries[run] if each.endswith("/" + key))
        failed = RunError("raised", "Oops", error) if error else None
        outcome = Outcome(error is None, json.dumps(value), failed)
        entry = self.entries[run][key]
        self.entries[run][key] = msgspec.structs.replace(entry, outcome=outcome)
        if run in self.parked:
            if key in self.parked[run]:
                self.claim(self.task_of[run], run, "warm")
            return
        result = frame(Kind.RESULT, Result(key, outcome), run=run, token=self.tokens[run])
        self.executor.receive([result])

    def finish_cold(self, key: str, value: object, run: str = "run_1") -> None:
        """Finish an entry while nobody listens."""
        outcome = Outcome(True, json.dumps(value))
        entry = self.entries[run][key]
        self.entries[run][key] = msgspec.structs.replace(entry, outcome=outcome)

    def cancel(self, run: str = "run_1") -> None:
        body = Cancel("somebody asked")
        self.executor.receive([frame(Kind.CANCEL, body, run=run, token=self.tokens[run])])

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(50):  # an executor that imports Django on a busy machine
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def end(self, run: str = "run_1") -> Any:
        await self.until(lambda: run in self.ended)
        end = self.ended[run]
        return json.loads(end.output or "null") if isinstance(end, Complete) else end

    async def suspended(self, run: str = "run_1") -> tuple[str, ...]:
        await self.until(lambda: run in self.parked)
        return self.parked[run]

    async def called(self, *keys: str, run: str = "run_1") -> None:
        await self.until(lambda: set(keys) <= set(self.entries.get(run, {})))

    def order(self, run: str = "run_1") -> list[str]:
        known = [each for each in self.entries[run].values() if each.number]
        return [each.key for each in sorted(known, key=lambda each: each.number or 0)]

    def kinds(self) -> list[Kind]:
        return [kind for kind, _ in self.frames]

    def _receive_from(self, generation: object, each: Frame) -> None:
        if self.generation is generation:
            self.receive(each)

    def receive(self, each: Frame) -> None:
        kind = Kind(each.kind)
        body = msgspec.msgpack.decode(each.body, type=BODIES.get(kind, Empty))
        self.frames.append((kind, body))
        answer = self._apply(each, kind, body)
        if answer is not None:
            ack = frame(Kind.ACK, answer, run=each.run, token=each.token, number=each.number)
            self.executor.receive([ack])
        self.changed.set()

    def _apply(  # noqa: C901, PLR0911, PLR0912 - one case per kind
        self, each: Frame, kind: Kind, body: Any
    ) -> msgspec.Struct | None:
        run = each.run
        entries = self.entries.setdefault(run, {})
        if each.token != self.tokens.get(run, each.token) and kind is not Kind.GONE:
            return None
        match kind:
            case Kind.STEP:
                attempt = self.attempts[run]
                made = Entry(
                    body.key, body.kind, body.name, attempt, body.outcome, body.number,
                    body.position, body.arguments,
                )  # fmt: skip
                if (theirs := self.theirs.get(body.key)) is not None:
                    made = msgspec.structs.replace(made, outcome=Outcome(True, theirs))
                outcome = entries.setdefault(body.key, made).outcome
                assert outcome is not None
                return Stepped(outcome)
            case Kind.CALL:
                return self._call(run, entries, body)
            case Kind.DELIVERED:
                for key, number in body.order:
                    entries[key] = msgspec.structs.replace(entries[key], number=number)
                for key in body.abandoned:
                    entries[key] = msgspec.structs.replace(entries[key], abandoned=True)
            case Kind.SUSPEND:
                held = all(entries[key].outcome is None for key in body.keys)
                if held:
                    self.parked[run] = body.keys
                return Suspended(held)
            case Kind.WAKE:
                asyncio.get_running_loop().call_soon(self.claim, self.task_of[run], run, "warm")
            case Kind.COMPLETE | Kind.FAIL | Kind.RESTART:
                self.ended[run] = body
            case Kind.LINE:
                assert body.scope is not None
                if self.lines.get(body.scope, 0) < body.ordinal:
                    self.lines[body.scope] = body.ordinal
                    self.logs.append(body.message)
                return None
            case Kind.REPORT:
                for operation in body.metadata:
                    self.positions[operation.scope] = operation.ordinal
            case Kind.APPEND:
                for chunk in body.chunks:
                    if self.chunks.get(chunk.scope, 0) < chunk.ordinal:
                        self.chunks[chunk.scope] = chunk.ordinal
                        self.appended.append((chunk.key, chunk.data, chunk.target))
                return Appended(self.left_out)
            case _:
                pass
        return Empty()

    def _call(self, run: str, entries: dict[str, Entry], body: Call) -> Called:
        self.calls.setdefault(run, []).append(body)
        runs = tuple(Triggered(f"run_of_{item.task}") for item in body.items)
        done = Outcome(True) if body.kind == "trigger" else None
        entries.setdefault(
            body.key,
            Entry(
                body.key, body.kind, body.name, self.attempts[run], done, None,
                body.position, body.arguments, runs=runs,
            ),
        )  # fmt: skip
        return Called(runs)


# The SDK's calls, as the executor sees them


def child(name: str, payload: object = None) -> Awaitable[Any]:
    """Trigger a child and wait for it: the key is taken now, the rest happens when awaited."""
    current = runtime.current()
    assert current is not None
    key = current.reserve("child", name)

    async def resolve() -> Any:
        text = json.dumps(payload)
        call = Call(key, "child", name, (Trigger(task=name, payload=text),), arguments=text)
        return _open(await current.resolve(call), name)

    return resolve()


async def sleep(seconds: float = 60) -> None:
    current = runtime.current()
    assert current is not None
    key = current.reserve("wait", "for")
    await current.resolve(Call(key, "wait", "for", seconds=seconds))


async def trigger(name: str) -> tuple[Triggered, ...]:
    current = runtime.current()
    assert current is not None
    key = current.reserve("trigger", name)
    return await current.trigger(Call(key, "trigger", name, (Trigger(task=name),)))


async def step(name: str, function: Callable[..., Any], *args: Any) -> Any:
    current = runtime.current()
    assert current is not None
    key = current.reserve("step", name)
    arguments = json.dumps(args)
    outcome = await current.recall(key, "step", name, arguments)
    if outcome is None:
        try:
            with current.step(key):
                value = function(*args)
                if asyncio.iscoroutine(value):
                    value = await value
            outcome = Outcome(True, json.dumps(value))
        except Exception as error:  # noqa: BLE001
            failed = RunError("raised", type(error).__name__, str(error))
            outcome = Outcome(False, error=failed)
        outcome = await current.record(key, "step", name, arguments, outcome)
    return _open(outcome, name, step=True)


def _open(outcome: Outcome, name: str, *, step: bool = False) -> Any:
    if outcome.ok:
        return json.loads(outcome.value or "null")
    assert outcome.error is not None
    if step:
        raise StepError(f"step {name} failed", error=outcome.error, step=name)
    raise run_error(outcome.error, task=name)
