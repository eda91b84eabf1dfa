"""What `outlast dev` prints: what it waits for, one line per run, and advice given once."""

from collections.abc import Awaitable, Callable

from outlast.cli.lines import line
from outlast.cli.terminal import say
from outlast.worker.events import Ready, RunEnded, WorkerEvent
from outlast.worker.findings import Findings
from outlast.worker.settings import WorkerSettings

Discover = Callable[[WorkerSettings], Awaitable[Findings]]

_RETRIED = frozenset({"raised", "crashed"})
"""Kinds of failure that the policy of a task tries again."""


class Narrator:
    """Prints what a worker tells: what it waits for, and one line per run."""

    def __init__(self) -> None:
        self._version: str | None = None
        self._once: frozenset[str] = frozenset()
        self._is_told = False

    def hearing(self, discover: Discover) -> Discover:
        """Return a discovery of whose findings the lines know."""

        async def heard(settings: WorkerSettings) -> Findings:
            findings = await discover(settings)
            self._once = frozenset(findings.once)
            return findings

        return heard

    def show(self, event: WorkerEvent) -> None:
        """Print the event."""
        if isinstance(event, Ready):
            if event.version != self._version:
                self._greet(event)
            self._version = event.version
        elif (shown := line(event)) is not None:
            say(shown.text, style=shown.style)
            self._tell_of_retries(event)

    def _greet(self, event: Ready) -> None:
        tasks = ", ".join(event.tasks)
        if self._version is None:
            say(f"  Tasks      {tasks}")
            say()
            say("Waiting for tasks", style="bold")
        else:
            say(f"  Version    {event.version}: {tasks}", style="cyan")

    def _tell_of_retries(self, event: WorkerEvent) -> None:
        """Say once why a run is not tried again here that would be elsewhere."""
        if self._is_told or not isinstance(event, RunEnded) or event.kind not in _RETRIED:
            return
        if event.retry_in is None and event.task in self._once:
            self._is_told = True
            say(
                "  it is not tried again, because retries are off in dev; to have them, set "
                "enabled_in_dev = true in [tool.outlast.retries]",
                style="yellow",
            )
