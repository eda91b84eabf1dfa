"""An executor: the process that runs user code. Started as `python -m outlast.worker.executor`.

A shared executor runs many `async def` tasks on the loop of its main thread, and beside it, each in
a thread, `def` tasks that want that. A dedicated one runs one task at a time: a `def` function on
its main thread, while its loop lives on another.
"""

import argparse
import asyncio
import contextlib
import faulthandler
import functools
import gc
import io
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from outlast.client.settings import lend
from outlast.clock import boot_seconds
from outlast.protocol.frames import FENCE_SECONDS, Frame, Kind, frame
from outlast.protocol.messages import (
    Beat,
    Cancel,
    Claim,
    Empty,
    Fail,
    Goodbye,
    LogLevel,
    Ready,
    Result,
)
from outlast.protocol.outcomes import UNKNOWN_TASK, RunError
from outlast.sdk import runtime
from outlast.sdk.hooks import Hooks
from outlast.sdk.registry import Registry
from outlast.sdk.runtime import SEVERITIES
from outlast.sdk.task import Task
from outlast.worker import scopes
from outlast.worker.async_run import AsyncRun
from outlast.worker.capture import Speaker, capture_logs, capture_streams
from outlast.worker.discovery import import_tasks
from outlast.worker.function_threads import FunctionThreads, MainThread, SharedThreads
from outlast.worker.hands import boot
from outlast.worker.pipe import Outlet, Pipe, end_group, watch
from outlast.worker.processes import Config
from outlast.worker.run import Run
from outlast.worker.slot import State
from outlast.worker.sync_run import SyncRun
from outlast.worker.threads import MOST, Threads
from outlast.worker.watchdog import Watchdog

WENT_COLD = 0
"""Exit status of an executor that left on purpose: nothing crashed, its parked runs are cold."""

PARKED_THREADS = 256
"""Threads that only wait, after which a shared executor is replaced: the system has not many."""

_NEW_OBJECTS = 5_000
"""Objects between two looks of the garbage collector: a few hundred runs make as many."""

_LEVELS: dict[str, LogLevel] = {
    "debug": "DEBUG",
    "info": "INFO",
    "log": "LOG",
    "warn": "WARN",
    "error": "ERROR",
}
_claims = msgspec.msgpack.Decoder(Claim)

logger = logging.getLogger("outlast.worker")


class Executor:
    """The runs of this process."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        pipe: Outlet,
        loop: asyncio.AbstractEventLoop,
        leave: Callable[[], None],
        *,
        finish: Callable[[Speaker], None] = lambda _: None,
    ) -> None:
        self.loop = loop
        self.threads = Threads(loop)
        self.runs: dict[str, Run] = {}
        self.main = MainThread()
        """Where the functions of a dedicated executor execute."""
        self._functions: FunctionThreads = (
            SharedThreads(loop) if config.kind == "shared" else self.main
        )
        self.clock: Callable[[], float] = time.time
        self._config = config
        self._registry = registry
        self._pipe = pipe
        self._leave = leave
        self._finish = finish
        self.threshold = SEVERITIES[_LEVELS[config.log_level]]
        self._beat: float | None = None
        self._beaten = asyncio.Event()
        self._retiring = False
        self._asked = False
        self._cold: dict[str, asyncio.TimerHandle] = {}

    # What runs need

    def send(self, frame: Frame) -> None:
        """Send a frame to the supervisor."""
        self._pipe.send(frame)

    def begins(self) -> None:
        """Let it be known that a run begins, before its code can end the process.

        A shared executor has no time for that: who is guilty of its end is found out otherwise.
        """
        if self._config.kind == "dedicated":
            self._pipe.send_now()

    def hand_over(self, frame: Frame) -> None:
        """Give a frame to the system before returning. From any thread."""
        self._pipe.hand_over(frame)

    def echo(self, line: str) -> None:
        """Show a line on the worker's terminal, unless its settings say no."""
        if self._config.console and sys.__stdout__ is not None:
            sys.__stdout__.write(f"{line}\n")

    def ending(self, run: Run) -> None:
        """Take what the run began to print, before it says how it ended."""
        self._finish(run)

    async def admit(self) -> None:
        """Wait for a fresh lease. Once this executor retires, for ever."""
        while not self.may_begin():
            self._beaten.clear()
            self._retire_if_idle()
            await self._beaten.wait()

    def parked(self, run: Run) -> None:
        """Keep a run that waits; in a dedicated executor not for long, nor too many threads."""
        if self._config.kind == "dedicated":
            wait = 0.0 if self._config.replay_always else self._config.sync_warm_wait
            self._cold[run.id] = self.loop.call_later(wait, self._go_cold)
        elif self._config.replay_always:
            self.retire("every wait goes cold")
        elif isinstance(run, SyncRun):
            stuck = sum(isinstance(each, SyncRun) and each.is_stuck for each in self.runs.values())
            if stuck > PARKED_THREADS:
                self.retire(f"{stuck} threads only wait")
        self._retire_if_idle()

    def retire(self, reason: str) -> None:
        """Ask to be replaced, and to end once every run has reached an entry."""
        if self._config.kind == "shared" and not self._asked:
            self._asked = True
            self.send(frame(Kind.GOODBYE, Goodbye(reason)))

    def ended(self, run: Run) -> None:
        """Forget a run."""
        if self.runs.get(run.id) is run:
            del self.runs[run.id]
        self._keep_warm(run)
        self._retire_if_idle()

    # Frames

    def receive(self, frames: list[Frame]) -> None:
        """Act on what the supervisor passes on."""
        for each in frames:
            try:
                self._receive(each)
            except Exception:
                logger.exception("a frame of kind %d for run %s failed", each.kind, each.run)

    def _receive(self, each: Frame) -> None:
        run = self.runs.get(each.run)
        match each.kind:
            case Kind.ACK:  # most frames are: of runs that go on, and of such as have ended
                if run is not None:
                    run.acknowledged(each.token, each.number, each.body)
            case Kind.CLAIM:
                self._claimed(each, run)
            case Kind.BEAT:
                beat = msgspec.msgpack.decode(each.body, type=Beat)
                if beat.access:
                    lend(beat.api_url, beat.access)
                self._beat = boot_seconds()
                self._beaten.set()
            case Kind.GOODBYE:
                self._retiring = True
                self._retire_if_idle()
            case Kind.RESULT if run is not None and each.token == run.token:
                result = msgspec.msgpack.decode(each.body, type=Result)
                run.resolved(result.key, result.outcome)
            case Kind.CANCEL if run is not None:
                cancel = msgspec.msgpack.decode(each.body, type=Cancel)
                (run.exceed if cancel.overtime else run.cancel)(cancel.reason)
            case Kind.DROP if run is not None and run.token <= each.token:
                run.drop()
            case _:
                pass

    def _claimed(self, each: Frame, run: Run | None) -> None:
        claim = _claims.decode(each.body)
        if claim.resume == "warm":
            if run is None:
                self.send(frame(Kind.GONE, Empty(), run=each.run, token=each.token, number=1))
                return
            self._keep_warm(run)
            run.resume(each.token, claim.entries)
            if claim.cancel is not None:
                run.cancel(claim.cancel)
            return
        if run is not None:
            run.drop()
        task = self._registry.tasks.get(claim.facts.task)
        if task is None:
            self._refuse(
                each,
                UNKNOWN_TASK,
                f"task {claim.facts.task} is not in the code of this worker; "
                "deploy a version that declares it",
            )
            return
        try:
            begun = self.begin(claim, each.token, task)
        except Exception as error:
            logger.exception("run %s cannot begin", each.run)
            self._refuse(each, type(error).__name__, f"the run cannot begin here: {error}")
            return
        self.runs[begun.id] = begun
        begun.start()

    def begin(self, claim: Claim, token: int, task: Task[Any, Any]) -> Run:
        """Return what plays a claimed run."""
        if task.is_async:
            return AsyncRun(claim, token, task, self)
        return SyncRun(claim, token, task, self, threads=self._functions)

    def _refuse(self, claim: Frame, kind: str, message: str) -> None:
        failure = Fail(RunError("system", kind, message))
        self.send(frame(Kind.FAIL, failure, run=claim.run, token=claim.token, number=1))

    @property
    def hooks(self) -> Hooks:
        """The hooks of every task."""
        return self._registry.hooks

    # Leaving

    @property
    def strict(self) -> bool:
        """Whether a replay with other arguments is an error, not a warning."""
        return self._config.replay_always

    def _keep_warm(self, run: Run) -> None:
        if (timer := self._cold.pop(run.id, None)) is not None:
            timer.cancel()

    def may_begin(self) -> bool:
        """Say whether the lease is fresh, and this executor stays."""
        fresh = self._beat is not None and boot_seconds() - self._beat < FENCE_SECONDS
        return fresh and not self._retiring

    def _retire_if_idle(self) -> None:
        """Leave, once asked to, when no run can get any further here."""
        if not self._retiring:
            return
        if all(run.is_stuck for run in self.runs.values()):
            self.loop.call_soon(self._go_cold)

    def _go_cold(self) -> None:
        """End the process without unwinding: no `finally` of the user runs at a wait."""
        if not all(run.is_stuck for run in self.runs.values()):
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self._pipe.send_now()
        self._leave()


def main() -> None:
    """Run an executor until its supervisor is gone."""
    parser = argparse.ArgumentParser(prog="python -m outlast.worker.executor")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--config", required=True)
    arguments = parser.parse_args()
    config = msgspec.json.decode(arguments.config, type=Config)
    sock = socket.socket(fileno=arguments.fd)
    os.set_inheritable(arguments.fd, False)
    watch(sock)
    faulthandler.enable()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a process that is killed flushes nothing
    capture_logs(speaker)
    finish = capture_streams(speaker, echo=config.console)
    scopes.keep_order()
    found = import_tasks(Path(config.root), config.dirs)
    for problem in found.errors:  # the worker has said it, once for all its executors
        logger.debug("%s", problem)
    gc.collect()
    gc.freeze()  # modules and tasks stay: the collector need not look at them again and again
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
    pipe = Pipe(sock)
    loop = asyncio.new_event_loop()
    leave = functools.partial(os._exit, WENT_COLD)
    executor = Executor(config, found.registry, pipe, loop, leave, finish=finish)
    ready = functools.partial(_serve, executor, pipe, loop)
    if config.kind == "shared":
        loop.run_until_complete(boot(found.registry.hooks))
        Watchdog(executor, loop, pipe, threading.get_ident()).start()
        ready()
        return
    asyncio.run(boot(found.registry.hooks))
    threading.Thread(target=ready, name="link", daemon=True).start()
    executor.main.serve()


def _serve(executor: Executor, pipe: Pipe, loop: asyncio.AbstractEventLoop) -> None:
    """Turn the loop for the rest of the process."""
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(MOST, thread_name_prefix="thread"))
    scopes.install(loop)
    pipe.attach(loop, executor.receive, end_group)
    loop.call_soon(pipe.send, frame(Kind.READY, Ready(os.getpid())))
    loop.run_forever()


def speaker() -> Speaker | None:
    """Return the run whose code executes here, if it takes lines."""
    run = runtime.current()
    if isinstance(run, AsyncRun | SyncRun) and run.state is not State.ENDED:
        return run
    return None


if __name__ == "__main__":
    main()
