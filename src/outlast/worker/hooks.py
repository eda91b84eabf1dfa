"""What happens around the function of a task: middleware, hooks, and work it leaves to finish.

Middleware is entered at every entry into the task, because it rebuilds what lives in the process.
Hooks that act are journal entries, each in a scope of its own: recorded once, so a replay passes
them by, and one that is added or taken away shifts nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from outlast.protocol.messages import Fail
from outlast.protocol.outcomes import ErrorKind, Outcome
from outlast.sdk.context import Context
from outlast.sdk.errors import NonDeterministicReplayError, run_error
from outlast.sdk.failures import describe
from outlast.sdk.hooks import Completion, Hook, HookKind, Hooks, WaitInfo
from outlast.sdk.task import Missing
from outlast.worker import django, ending
from outlast.worker.ending import Ending, Restarted, Returned
from outlast.worker.scopes import Scope
from outlast.worker.slot import State
from outlast.worker.verdicts import Judgement

_ENDS: tuple[HookKind, ...] = ("on_success", "on_failure", "on_complete")
_UNTOLD: frozenset[ErrorKind] = frozenset({"canceled", "replay", "crashed", "system"})
"""Kinds of failure that `on_failure` does not hear of."""
_OUTCOME = "outcome"

logger = logging.getLogger("outlast.worker")

Manager = (
    contextlib.AbstractAsyncContextManager[None, bool | None]
    | contextlib.AbstractContextManager[None, bool | None]
)


class Staged(ending.Ended, Protocol):
    """A run whose function is called here."""

    id: str
    attempt: int

    @property
    def cancel_hooks(self) -> tuple[Hook, ...]:
        """What the function itself wants to happen after a cancel."""

    @property
    def context(self) -> Context:
        """What `ctx` is."""

    @property
    def state(self) -> State:
        """Whether the run executes, waits or is over."""

    def take_payload(self) -> object:
        """Return what the function is called with."""

    def step(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Enter the body of a step."""


class Hands(Protocol):
    """How a kind of run waits and calls. Those of a `def` task block: nothing suspends there."""

    async def recall(self, key: str, arguments: str) -> Outcome | None:
        """Return what the journal holds for an entry; None: it is to be made now."""

    async def record(self, key: str, arguments: str, outcome: Outcome) -> Outcome:
        """Record an entry; return what the journal holds now."""

    async def function(self, payload: object) -> object:
        """Call the function of the task."""

    async def call(self, hook: Hook, values: Mapping[str, object]) -> object:
        """Call a hook, where it suits it; return what it returned in the end."""

    async def enter(self, manager: Manager) -> None:
        """Enter a middleware."""

    async def leave(self, manager: Manager, error: BaseException | None) -> None:
        """Leave a middleware."""

    async def let_go(self) -> None:
        """Give back what nobody should hold while they wait."""

    async def drain(self) -> None:
        """Wait for the work that the task left to finish."""


class Stage:
    """Calls the function of one run, and what belongs around it."""

    def __init__(self, run: Staged, hands: Hands, everywhere: Hooks) -> None:
        self._run = run
        self._hands = hands
        self._everywhere = everywhere
        self._own = run.task.hooks
        self._has_hooks = bool(self._own or everywhere)
        self._payload: object = None
        self._scopes: dict[str, Scope] = {}
        self._outcome: str | None = None
        """The key of the entry that says how the function ended."""
        self.is_over = False
        """Whether the function has ended: a cancel does not interrupt what comes after it."""

    def hooks(self, kind: HookKind, *, own_first: bool = False) -> tuple[Hook, ...]:
        """Return the hooks of a kind: those of all tasks before the task's, unless said so."""
        if not self._has_hooks:
            return ()
        everywhere, own = self._everywhere.of(kind), self._own.of(kind)
        return (*own, *everywhere) if own_first else (*everywhere, *own)

    def values(self, **more: object) -> Mapping[str, object]:
        """Return what hooks may take."""
        run = self._run
        return {"payload": self._payload, "ctx": run.context, "task": run.task, **more}

    async def play(self) -> Ending:
        """Call the function, once with everything around it; return how that ended."""
        entered: list[Manager] = []
        output: object = None
        result: Ending
        try:
            payload = self._run.take_payload()
            self._payload = None if payload is Missing.MISSING else payload
            if self._has_hooks:
                await self._enter(entered)
            recorded = await self._begin() if self._has_hooks else None
            if recorded is not None:
                result = recorded
            elif self._run.claim.cancel is not None:
                result = asyncio.CancelledError(self._run.claim.cancel)
            else:
                output = await self._hands.function(payload)
                result = Returned(self._run.task.encode_output(output))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it fails this run only
            result = error
        self.is_over = True
        thrown = result if isinstance(result, BaseException) else None
        if self._run.state is not State.ENDED:  # else it is not ours any more: only clean up
            result, thrown = await self._settle(ending.settled(self._run, result), output)
            await self._hands.drain()
        return await self._leave(entered, result, thrown) if entered else result

    @property
    def minds_waits(self) -> bool:
        """Whether something happens around a wait."""
        return bool(self.hooks("on_wait") or self.hooks("on_resume") or django.is_used())

    async def pause(self, wait: WaitInfo) -> None:
        """Do what comes before the run gives its slot back."""
        await self._repeat("on_wait", wait=wait)
        await self._hands.let_go()

    async def go_on(self, wait: WaitInfo) -> None:
        """Do what comes before the code goes on after a wait."""
        await self._hands.let_go()  # what died meanwhile
        await self._repeat("on_resume", wait=wait)

    # Around the function

    async def _enter(self, entered: list[Manager]) -> None:
        for hook in self.hooks("middleware"):
            around = contextlib.asynccontextmanager if hook.is_async else contextlib.contextmanager
            manager: Manager = around(hook.function)(**hook.pick(self.values()))
            await self._hands.enter(manager)
            entered.append(manager)

    async def _leave(
        self, entered: list[Manager], result: Ending, thrown: BaseException | None
    ) -> Ending:
        """Leave the middleware. What it raises is the error of the run."""
        for manager in reversed(entered):
            try:
                await self._hands.leave(manager, thrown)
            except BaseException as raised:  # noqa: BLE001 - it comes from user code
                if raised is thrown or self._run.state is State.ENDED:
                    continue
                thrown = raised
                if self._run.cancel_reason is None:
                    result = await self._failed(raised)
        return result

    async def _begin(self) -> Ending | None:
        """Do what comes before the function; return its end if that is recorded."""
        if self._run.claim.cancel is not None:
            return None  # the run is here for the hooks of its cancel only
        if self._run.claim.resume == "cold":
            await self._repeat("on_resume", wait=WaitInfo(None))
        for hook in self.hooks("on_start"):
            await self._act(hook, self.values(), "", records_failure=False)
        for hook in self.hooks("on_start_attempt"):
            await self._act(hook, self.values(), self._attempt, records_failure=False)
        if not self._has_ends:
            return None
        self._outcome = self._key(_OUTCOME, _OUTCOME)
        found = await self._hands.recall(self._outcome, self._attempt)
        if found is None:
            return None
        if found.ok:
            return Returned(found.value)
        return msgspec.json.decode(found.value or "", type=Fail)

    # After it

    async def _settle(self, result: Ending, output: object) -> tuple[Ending, BaseException | None]:
        """Do what comes after the function; return the end of the run, and what is thrown."""
        run = self._run
        if isinstance(result, Returned):
            if self._has_ends:
                await self._succeeded(result, output)
            return result, None
        if isinstance(result, Restarted):
            return result, None
        if isinstance(result, Fail):
            error: BaseException = run_error(result.error, run_id=run.id, task=run.task.id)
            await self._tell_failure(result, error)
            return result, error
        if run.cancel_reason is not None:
            hooks = (*self.hooks("on_cancel"), *run.cancel_hooks)
            await self._tell(hooks, self.values(reason=run.cancel_reason))
            return result, result
        return await self._failed(result), result

    async def _succeeded(self, result: Returned, output: object) -> None:
        await self._record(Outcome(ok=True, value=result.output))
        if output is None and result.output is not None:  # recorded by an executor that is gone
            output = self._run.task.decode_output(result.output)
        values = self.values(output=output, result=Completion(ok=True, output=output))
        await self._tell((*self.hooks("on_success"), *self.hooks("on_complete")), values)

    async def _failed(self, error: BaseException) -> Ending:
        """Judge a failure; tell the hooks unless there is another attempt."""
        if not self._has_hooks or isinstance(error, NonDeterministicReplayError):
            return error
        failure = await self._judged(error)
        if self._has_ends and failure.retry_in is None:
            await self._record(
                Outcome(ok=False, value=msgspec.json.encode(failure).decode(), error=failure.error)
            )
            await self._tell_failure(failure, error)
        return failure

    async def _judged(self, error: BaseException) -> Fail:
        judgement = Judgement(self._run, error)
        for hook in self.hooks("catch_error", own_first=True):
            if not judgement.is_open:
                break
            try:
                judgement.hear(await self._again(hook, self.values(**judgement.values)))
            except Exception as raised:  # noqa: BLE001 - whatever it is, the run crashes of it
                judgement.broken(raised)
        return judgement.fail()

    async def _tell_failure(self, failure: Fail, error: BaseException) -> None:
        if failure.error.kind in _UNTOLD:
            return
        values = self.values(error=error, result=Completion(ok=False, error=error))
        await self._tell((*self.hooks("on_failure"), *self.hooks("on_complete")), values)

    async def _tell(self, hooks: tuple[Hook, ...], values: Mapping[str, object]) -> None:
        """Call hooks whose own failure changes nothing."""
        for hook in hooks:
            try:
                await self._act(hook, values, self._attempt, records_failure=True)
            except GeneratorExit:
                raise
            except BaseException as error:
                if self._run.state is State.ENDED:
                    raise
                self._log(hook, error)

    def _log(self, hook: Hook, error: BaseException) -> None:
        logger.error(
            "the %s hook %s of run %s failed; the run goes its way all the same",
            hook.kind,
            hook.label,
            self._run.id,
            exc_info=error,
        )

    # One hook

    async def _act(
        self, hook: Hook, values: Mapping[str, object], arguments: str, *, records_failure: bool
    ) -> None:
        """Call a hook unless the journal has it."""
        key = self._key(f"{hook.kind} {hook.label}", hook.label)
        if await self._hands.recall(key, arguments) is not None:
            return
        outcome = Outcome(ok=True)
        failed: Exception | None = None
        try:
            with self._run.step(key):
                await self._hands.call(hook, values)
        except Exception as error:
            if not records_failure:
                raise
            failed, outcome = error, Outcome(ok=False, error=describe(error))
        await self._hands.record(key, arguments, outcome)
        if failed is not None:
            raise failed

    async def _repeat(self, kind: HookKind, **more: object) -> None:
        """Call the hooks of a kind that is never recorded. What they raise is logged only."""
        for hook in self.hooks(kind):
            try:
                await self._again(hook, self.values(**more))
            except Exception as error:  # noqa: BLE001 - it is told, and changes nothing
                self._log(hook, error)

    async def _again(self, hook: Hook, values: Mapping[str, object]) -> object:
        scope = self._scope(f"{hook.kind} {hook.label}")
        with self._run.step(scope.within(f"call#{scope.occurrence('call')}")):
            return await self._hands.call(hook, values)

    async def _record(self, outcome: Outcome) -> None:
        """Record how the function ended, before anybody acts on it."""
        if self._outcome is None:
            self._outcome = self._key(_OUTCOME, _OUTCOME)
        await self._hands.record(self._outcome, self._attempt, outcome)

    def _key(self, scope: str, name: str) -> str:
        return self._run.journal.reserve(self._scope(scope), "hook", name)

    def _scope(self, name: str) -> Scope:
        return self._scopes.setdefault(name, Scope(name.replace("/", "%2F")))

    @property
    def _attempt(self) -> str:
        return f"attempt {self._run.attempt}"

    @property
    def _has_ends(self) -> bool:
        return self._has_hooks and any(self.hooks(kind) for kind in _ENDS)
