"""How a child run or a batch ended, as a value."""

import logging
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar, overload

from outlast.protocol.outcomes import Outcome
from outlast.sdk.errors import EndedError, run_error

Out_co = TypeVar("Out_co", covariant=True)

_log = logging.getLogger("outlast")


class Result(Generic[Out_co]):
    """The end of one run, or of the wait for a token: `ok` with `output`, or `error`.

    A failure that nobody looks at is logged as a warning: it would be lost otherwise.
    """

    __slots__ = ("_error", "_output", "_seen", "id", "task")

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the word users read
        task: str,
        output: Out_co | None = None,
        error: EndedError | None = None,
    ) -> None:
        self.id = id
        self.task = task
        self._error = error
        self._seen = error is None
        self._output = output

    def __repr__(self) -> str:
        end = "ok" if self._error is None else f"error={self._error!r}"
        return f"Result({self.id}, {self.task}, {end})"

    def __del__(self) -> None:
        if not getattr(self, "_seen", True):
            _log.warning("nobody looked at a failure: %s", self._error)

    @property
    def ok(self) -> bool:
        """Whether the run completed."""
        return self.error is None

    @property
    def error(self) -> EndedError | None:
        """Why there is no output; None: there is one."""
        self._seen = True
        return self._error

    @property
    def output(self) -> Out_co:
        """What the task returned; raises the error when there is none."""
        return self.unwrap()

    def unwrap(self) -> Out_co:
        """Return the output, or raise the error."""
        error = self.error
        if error is not None:
            raise error
        return self._output  # type: ignore[return-value]  # None only when Out allows it


class BatchResult(Generic[Out_co]):
    """The ends of all runs of a batch, in the order of its items."""

    __slots__ = ("results",)

    def __init__(self, results: tuple[Result[Out_co], ...]) -> None:
        self.results = results

    def __repr__(self) -> str:
        failed = sum(1 for result in self.results if not result.ok)
        return f"BatchResult({len(self.results)} runs, {failed} failed)"

    def __iter__(self) -> Iterator[Result[Out_co]]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, index: int) -> Result[Out_co]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Result[Out_co], ...]: ...
    def __getitem__(self, index: int | slice) -> Result[Out_co] | tuple[Result[Out_co], ...]:
        return self.results[index]

    @property
    def ok(self) -> bool:
        """Whether every run completed."""
        return all(result.ok for result in self.results)

    def unwrap(self) -> list[Out_co]:
        """Return the outputs, or raise the first error."""
        return [result.unwrap() for result in self.results]


class Readable(Protocol):
    """A task, as far as the ends of its runs are concerned."""

    id: str

    def decode_output(self, text: str | None) -> Any:
        """Return what a run gave."""


def result_of(outcome: Outcome, task: Readable) -> Result[Any]:
    """Return a run's end as the task's types say. Raises `OutputError` when it does not fit."""
    run_id = outcome.run_id or ""
    name = outcome.task or task.id
    if not outcome.ok:
        error = outcome.error
        assert error is not None, f"run {run_id} failed without an error"
        return Result(id=run_id, task=name, error=run_error(error, run_id=run_id, task=name))
    return Result(id=run_id, task=name, output=task.decode_output(outcome.value))
