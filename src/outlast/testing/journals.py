"""Recorded journals, and their replay against code that has changed since."""

from pathlib import Path
from typing import Self

import msgspec

from outlast.protocol.messages import Claim, Entry, MadeToken
from outlast.protocol.outcomes import RunError
from outlast.protocol.statuses import Status


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of a run: how it began, every entry, and how it ended if it did."""

    claim: Claim
    status: Status
    output: str | None = None
    error: RunError | None = None

    @classmethod
    def of(
        cls, claim: Claim, *, status: Status, output: str | None, error: RunError | None
    ) -> Self:
        """Return the journal of a run. Secrets of tokens are left out: nobody completes them."""
        entries = tuple(map(_without_secrets, claim.entries))
        kept = msgspec.structs.replace(claim, entries=entries)
        return cls(claim=kept, status=status, output=output, error=error)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the entries of the last attempt in the order of their results, for people."""
        attempt = self.claim.facts.attempt_of_run
        mine = [entry for entry in self.claim.entries if entry.attempt == attempt]
        mine.sort(key=lambda entry: (entry.number is None, entry.number or 0))
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


class _StoredToken(msgspec.Struct, frozen=True):
    """What the journal holds of a token that a run made."""

    id: str
    is_cached: bool = False


def _without_secrets(entry: Entry) -> Entry:
    if entry.kind != "waitpoint" or entry.outcome is None or not entry.outcome.ok:
        return entry
    stored = msgspec.json.decode(entry.outcome.value or "{}", type=_StoredToken)
    shown = MadeToken(stored.id, stored.is_cached, url="", public_access_token="")
    value = msgspec.json.encode(shown).decode()
    return msgspec.structs.replace(
        entry, outcome=msgspec.structs.replace(entry.outcome, value=value)
    )
