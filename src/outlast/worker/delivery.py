"""In which order results reach the code: one at a time, on replay as they came live.

`wait(FIRST_COMPLETED)`, `as_completed`, a timeout that fired and a TaskGroup whose member failed
take the branch they took, whatever has finished since.
"""

from collections import deque
from enum import Enum

from outlast.worker.journal import Item, Journal


class Hold(Enum):
    """Why nothing is delivered now."""

    NOTHING = "there is nothing to deliver"
    ASKED = "the next result of the replay may still be asked for"
    ABANDONED = "the code is about to give up a wait, as it did before"


class Delivery:
    """The results that wait for their turn."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        recorded = journal.recorded()
        self._recorded: deque[tuple[str, bool]] = deque()
        self._left: set[str] = set()
        self._number = journal.base
        if recorded:
            self._recorded.extend((wire, abandoned) for _, wire, abandoned in recorded)
            self._left.update(wire for _, wire, _ in recorded)
            self._number = max(number for number, _, _ in recorded)
        self._prompt: deque[Item] = deque()
        self._due: deque[Item] = deque()

    def number(self) -> int:
        """Return the next place in the order."""
        self._number += 1
        return self._number

    def asked(self, item: Item) -> bool:
        """Take an entry that has its result; return whether it got a number just now.

        What the journal has in its order comes in that order. What an earlier attempt finished, or
        a replay went past, comes at once. The rest queues up.
        """
        if item.wire in self._left:
            return False
        if item.cached or item.number is not None:
            self._prompt.append(item)
            return False
        item.number = self.number()
        self._due.append(item)
        return True

    def due(self, item: Item) -> None:
        """Take an entry that got its number before its result: a step that is being recorded."""
        self._due.append(item)

    def next(self, *, may_ask: bool, patient: bool) -> Item | Hold:
        """Return what to deliver now that the run stands still, or why there is nothing.

        `may_ask`: something from outside may still make the code ask for another entry. `patient`:
        a wait that was given up may be waited for to be given up again.
        """
        while self._prompt:
            if (item := self._prompt.popleft()).waits:
                return item
        while self._recorded:
            found = self._replayed(may_ask=may_ask, patient=patient)
            if found is not None:
                return found
        while self._due:
            item = self._due[0]
            if item.waits and item.outcome is None:
                break  # a step that is being recorded: what comes after it waits
            self._due.popleft()
            if item.waits:
                return item
        return Hold.NOTHING

    def _replayed(self, *, may_ask: bool, patient: bool) -> Item | Hold | None:
        """Return the next result of the replay, why it has to wait, or None if it is passed."""
        wire, abandoned = self._recorded[0]
        item = self._journal.find(wire)
        if item is None and may_ask:
            return Hold.ASKED
        if item is not None and item.waits and abandoned and patient:
            return Hold.ABANDONED
        self._recorded.popleft()
        self._left.discard(wire)
        if item is None:
            self._journal.skipped(wire)
        return item if item is not None and item.waits and not abandoned else None
