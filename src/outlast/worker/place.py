"""One executor process, as its supervisor sees it, and the runs it holds."""

from dataclasses import dataclass, field

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.manifests import ExecutorKind
from outlast.protocol.messages import Crash, Goodbye
from outlast.worker.cgroups import Group
from outlast.worker.processes import Process


@dataclass(eq=False)
class Place:
    """One executor process and the runs it holds."""

    kind: ExecutorKind
    process: Process | None = None
    ready: bool = False
    leaving: bool = False  # takes nothing new and ends by itself
    stuck: bool = False  # its loop is blocked: others take what comes
    killed: bool = False  # its end is our own doing
    taken: int = 0
    executing: set[str] = field(default_factory=set)
    parked: dict[str, float] = field(default_factory=dict)  # run -> since, the longest first
    blame: Crash | None = None
    baseline: int = 0  # bytes of memory when it was ready
    group: Group | None = None  # where the kernel can keep its memory limit
    limited: bool = False  # the kernel keeps that of the run which executes

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return 0 if self.process is None else self.process.pid

    def send(self, *frames: Frame) -> None:
        """Send frames to the executor."""
        if self.process is not None:
            self.process.send(frames)

    def kill(self) -> None:
        """End the executor; nobody will be blamed."""
        self.killed = True
        self.leaving = True
        if self.process is not None:
            self.process.kill()

    def end(self) -> None:
        """End the executor like a crash: what it executes is reported."""
        if self.process is not None:
            self.process.kill()

    def wait(self) -> None:
        """Let the executor wait before it reports more."""
        if self.process is not None:
            self.process.pause()

    def read(self) -> None:
        """Take the executor's reports again."""
        if self.process is not None:
            self.process.resume()

    def say_goodbye(self, reason: str) -> None:
        """Ask the executor to end when each of its runs has reached an entry or its end."""
        self.leaving = True
        self.send(frame(Kind.GOODBYE, Goodbye(reason)))
