"""An executor without user code: what it does with a run is the name of the run's task."""

import argparse
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

import msgspec

from outlast.protocol.frames import Frame, Kind, frame, pack, unpack
from outlast.protocol.messages import (
    Claim,
    Complete,
    Crash,
    Empty,
    Fail,
    Ready,
    Started,
    Step,
    Suspend,
    Suspended,
)
from outlast.protocol.outcomes import Outcome, RunError


class Stub:
    """One run after the other, on one thread."""

    def __init__(self, link: socket.socket, root: Path) -> None:
        self.link = link
        self.root = root
        self.numbers: dict[tuple[str, int], int] = {}
        self.tasks: dict[str, str] = {}
        self.suspends: set[tuple[str, int, int]] = set()

    def send(self, *frames: Frame) -> None:
        message = pack(list(frames))
        try:
            self.link.sendall(struct.pack(">I", len(message)) + message)
        except BrokenPipeError:
            os.killpg(0, signal.SIGKILL)

    def receive(self) -> list[Frame]:
        header = self.exactly(4)
        return unpack(self.exactly(struct.unpack(">I", header)[0]))

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.link.recv(size - len(data))
            if not chunk:
                os.killpg(0, signal.SIGKILL)
            data += chunk
        return data

    def say(self, kind: Kind, body: msgspec.Struct, run: str, token: int) -> Frame:
        number = self.numbers.get((run, token), 0) + 1
        self.numbers[run, token] = number
        if kind == Kind.SUSPEND:
            self.suspends.add((run, token, number))
        return frame(kind, body, run=run, token=token, number=number)

    def work(self) -> None:
        ready = frame(Kind.READY, Ready(os.getpid()))
        self.send(ready)
        self.note(ready)
        while True:
            for each in self.receive():
                self.take(each)

    def take(self, each: Frame) -> None:
        self.note(each)
        match each.kind:
            case Kind.CLAIM:
                body = msgspec.msgpack.decode(each.body, type=Claim)
                self.tasks[each.run] = body.facts.task
                if body.facts.task == "stuck":
                    wait_for(self.root / "unblocked")
                if body.resume == "warm":
                    self.send(self.say(Kind.COMPLETE, Complete("1"), each.run, each.token))
                else:
                    self.send(self.say(Kind.STARTED, Started(), each.run, each.token))
                    self.begin(body.facts.task, each.run, each.token)
            case Kind.ACK if (each.run, each.token, each.number) in self.suspends:
                held = msgspec.msgpack.decode(each.body, type=Suspended).held
                if held and self.tasks[each.run] == "leave":
                    os._exit(0)
            case Kind.CANCEL:
                error = RunError("canceled", "RunCanceled", "canceled")
                self.send(self.say(Kind.FAIL, Fail(error), each.run, each.token))
            case Kind.GOODBYE if "stubborn" not in self.tasks.values():
                os._exit(0)
            case _:
                pass

    def begin(self, task: str, run: str, token: int) -> None:
        match task:
            case "quick":
                self.send(self.say(Kind.COMPLETE, Complete("1"), run, token))
            case "huge":
                self.send(self.say(Kind.COMPLETE, Complete("1" * 17_000_000), run, token))
            case "wait" | "leave":
                self.send(self.say(Kind.SUSPEND, Suspend(("wait:for#0",)), run, token))
            case "crash":
                step = Step("step:x#0", "step", "x", 1, Outcome(ok=True, value="1" * 1000))
                for _ in range(200):
                    self.send(self.say(Kind.STEP, step, run, token))
                os.kill(os.getpid(), signal.SIGSEGV)
            case "blocked":
                error = RunError("crashed", "BlockedLoop", "the loop was blocked at task.py:3")
                self.send(frame(Kind.CRASH, Crash((), run, error)))
                os._exit(1)
            case "last-words":
                self.send(self.say(Kind.COMPLETE, Complete("1"), run, token))
                os.kill(os.getpid(), signal.SIGKILL)
            case "gone":
                self.send(self.say(Kind.GONE, Empty(), run, token))
            case _:
                pass

    def note(self, each: Frame) -> None:
        """Leave a line for the test: what came, and what the environment holds."""
        line = {
            "pid": os.getpid(),
            "kind": Kind(each.kind).name,
            "run": each.run,
            "seed": os.environ.get("PYTHONHASHSEED"),
            "stored": os.environ.get("STORED"),
            "secrets": [name for name, value in os.environ.items() if "tr_dev_" in value],
            "alone": os.getpid() == os.getpgid(0),
        }
        with (self.root / "notes.jsonl").open("a") as notes:
            notes.write(json.dumps(line) + "\n")


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--config", required=True)
    arguments = parser.parse_args()
    root = Path(json.loads(arguments.config)["root"])
    if (root / "broken").exists():
        sys.exit(3)
    os.set_inheritable(arguments.fd, False)
    Stub(socket.socket(fileno=arguments.fd), root).work()


if __name__ == "__main__":
    main()
