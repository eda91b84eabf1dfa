"""Recorded journals, and their replay against code that has changed since."""

from pathlib import Path
from typing import Self

import msgspec

from outlast.protocol.messages import Claim
from outlast.protocol.outcomes import RunError
from outlast.protocol.statuses import Status


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of a run: how it began, every entry, and how it ended if it did."""

    claim: Claim
    status: Status
    output: str | None = None
    error: RunError | None = None

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the entries of the last attempt in the order of their calls, for people."""
        attempt = self.claim.facts.attempt
        mine = [entry for entry in self.claim.entries if entry.attempt == attempt]
        return [
            f"{entry.key} "
            + ("open" if entry.outcome is None else "ok" if entry.outcome.ok else "failed")
            for entry in mine
        ]

    def save(self, path: Path | str) -> None:
        """Write it to a file, JSON."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        Path(path).write_bytes(text + b"\n")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file that `save` wrote."""
        return msgspec.json.decode(Path(path).read_bytes(), type=cls)
