"""`outlast retention`: how long an environment keeps what has ended."""

from typing import TYPE_CHECKING, Annotated

import typer

from outlast.cli.connection import ApiUrls, Key, connection
from outlast.cli.terminal import Stop, say

if TYPE_CHECKING:
    from outlast.protocol.queues import EnvironmentStand

FOR_EVER = "forever"
_DAYS = "Days after a run's end, or forever"

Runs = Annotated[str | None, typer.Option("--runs", help=f"{_DAYS}.", show_default=False)]
Logs = Annotated[
    str | None, typer.Option("--logs", help=f"{_DAYS}: as long as the run.", show_default=False)
]
Streams = Annotated[
    str | None, typer.Option("--streams", help=f"{_DAYS}: as long as the run.", show_default=False)
]


def retention(
    runs: Runs = None,
    logs: Logs = None,
    streams: Streams = None,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Show or set for how long the key's environment keeps what has ended."""
    from outlast.cli.calls import call
    from outlast.client import queues

    said = {"retentionDays": runs, "logRetentionDays": logs, "streamRetentionDays": streams}
    days = {name: _days(text) for name, text in said.items() if text is not None}
    found = connection(api_url, key)
    _show(call(found, queues.change_environment(days) if days else queues.stand_of_environment()))


def _days(text: str) -> int | None:
    if text == FOR_EVER:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise Stop(f"{text!r} is no number of days; use a whole number, or {FOR_EVER}")
    return int(text)


def _show(stand: "EnvironmentStand") -> None:
    runs = stand.retention_days
    say(f"{stand.id}", style="bold")
    say(f"  runs      {'for ever' if runs is None else f'{runs} days'}")
    parts = {"logs": stand.log_retention_days, "streams": stand.stream_retention_days}
    for name, days in parts.items():
        goes_before = days is not None and (runs is None or days < runs)
        say(f"  {name:<10}{f'{days} days' if goes_before else 'as long as their run'}")
