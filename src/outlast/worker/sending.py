"""What one run says to the server: numbered under its token, held back while it has none."""

from collections.abc import Callable

import msgspec

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.messages import Delivered, Fail
from outlast.protocol.outcomes import RunError

Answered = Callable[[msgspec.Raw], None]


class Sending:
    """The frames of one run, in order. `on_broken`: one could not be made; the run is failed."""

    def __init__(
        self,
        run: str,
        token: int,
        send: Callable[[Frame], None],
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self.token = token
        self.open = True
        """Whether frames may go: false from a suspend until the run has its slot back."""
        self._run = run
        self._send = send
        self._on_broken = on_broken
        self._number = 0
        self._waiting: list[tuple[Kind, msgspec.Struct, Answered | None]] = []
        self._unanswered: dict[tuple[int, int], Answered] = {}
        self._order: list[tuple[str, int]] = []
        self._abandoned: list[str] = []

    @property
    def waiting(self) -> bool:
        """Whether something is held back."""
        return bool(self._waiting or self._order or self._abandoned)

    @property
    def unanswered(self) -> bool:
        """Whether an answer is on its way that changes what the run knows."""
        return bool(self._unanswered)

    def delivered(self, key: str, number: int) -> None:
        """Record a place in the order of delivery, before anything that may depend on it."""
        self._order.append((key, number))

    def abandoned(self, key: str, number: int | None) -> None:
        """Record that the code gave up waiting, and when."""
        self._abandoned.append(key)
        if number is not None:
            self._order.append((key, number))

    def put(self, kind: Kind, body: msgspec.Struct, answered: Answered | None = None) -> None:
        """Queue a frame. `answered` is called with the body of its ACK."""
        self._note_deliveries()
        self._waiting.append((kind, body, answered))

    def flush(self) -> None:
        """Send what is queued, if the run may send."""
        if not self.open:
            return
        self._note_deliveries()
        waiting, self._waiting = self._waiting, []
        for kind, body, answered in waiting:
            if self.open:
                self.now(kind, body, answered)

    def now(self, kind: Kind, body: msgspec.Struct, answered: Answered | None = None) -> None:
        """Send a frame at once, past what is held back."""
        self._number += 1
        if answered is not None:
            self._unanswered[self.token, self._number] = answered
        try:
            message = frame(kind, body, run=self._run, token=self.token, number=self._number)
        except (ValueError, OverflowError, TypeError) as error:
            # Said in a callback of the loop, where it would be lost and the run wait for ever.
            message = self._refusal(kind, error)
        self._send(message)

    def _refusal(self, kind: Kind, error: Exception) -> Frame:
        """Return the end of a run that says what no frame can carry."""
        self.close()
        self._on_broken()
        reason = RunError(
            "system",
            "NotEncodable",
            f"what run {self._run} had to say ({kind.name.lower()}) has no form on the link: "
            f"{str(error).encode(errors='replace').decode()}",
        )
        return frame(Kind.FAIL, Fail(reason), run=self._run, token=self.token, number=self._number)

    def acknowledged(self, token: int, number: int, body: msgspec.Raw) -> None:
        """Pass an answer on to who waits for it."""
        if (answered := self._unanswered.pop((token, number), None)) is not None:
            answered(body)

    def renew(self, token: int) -> None:
        """Begin to count under a new token: the run has its slot back."""
        self.token = token
        self._number = 0
        self.open = True

    def close(self) -> None:
        """Say nothing more, and listen to nothing."""
        self.open = False
        self._waiting.clear()
        self._unanswered.clear()

    def _note_deliveries(self) -> None:
        if self._order or self._abandoned:
            body = Delivered(tuple(self._order), tuple(self._abandoned))
            self._order, self._abandoned = [], []
            self._waiting.append((Kind.DELIVERED, body, None))
