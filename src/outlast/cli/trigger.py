"""`outlast trigger`: start a run from the terminal, and wait for it if wanted."""

import sys
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlast.cli.connection import ApiUrls, Connection, Key, connection
from outlast.cli.terminal import Stop, say

if TYPE_CHECKING:
    from outlast.protocol.triggers import Trigger

Task = Annotated[str, typer.Argument(help="The task's id.")]
Payload = Annotated[
    str | None, typer.Option("--payload", "-p", help="JSON text, @FILE, or - for stdin.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end and print the output.")]
Delay = Annotated[str | None, typer.Option(help="30s, 1h30m, or a moment with an offset.")]
Queue = Annotated[str | None, typer.Option(help="Another queue than the task's own.")]
ConcurrencyKey = Annotated[str | None, typer.Option(help="The lane of the queue.")]
IdempotencyKey = Annotated[str | None, typer.Option(help="A second trigger finds the first run.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Repeatable.")]
Ttl = Annotated[str | None, typer.Option(help="Expire when not started in time: 10m.")]
Priority = Annotated[float | None, typer.Option(help="Seconds of head start in its lane.")]
MaxAttempts = Annotated[int | None, typer.Option(min=1, help="How often it may be tried.")]
MaxDuration = Annotated[str | None, typer.Option(help="Active time of an attempt: 10m.")]
Machine = Annotated[str | None, typer.Option(help="micro, small-1x … large-2x.")]
KeyTtl = Annotated[
    str | None, typer.Option("--idempotency-key-ttl", help="How long it finds it: 7d.")
]
Group = Annotated[str | None, typer.Option(help="Keys of one group share one share.")]
Metadata = Annotated[str | None, typer.Option(help="A JSON object.")]
Version = Annotated[str | None, typer.Option(help="The version to run on: 20261122.1.")]
Test = Annotated[bool, typer.Option("--test", help="Mark the run as a test.")]
Park = Annotated[bool, typer.Option("--park", help="Wait for the version that declares the task.")]
DebounceKey = Annotated[
    str | None, typer.Option("--debounce", help="Push a delayed run with this key back.")
]
DebounceDelay = Annotated[str, typer.Option(help="From the last trigger to the start.")]
DebounceMax = Annotated[
    str | None, typer.Option("--debounce-max-delay", help="From the first trigger at most.")
]
Trailing = Annotated[
    bool, typer.Option("--debounce-trailing", help="The last payload counts, not the first.")
]


def trigger(
    task: Task,
    payload: Payload = None,
    wait: Wait = False,
    delay: Delay = None,
    queue: Queue = None,
    concurrency_key: ConcurrencyKey = None,
    idempotency_key: IdempotencyKey = None,
    tag: Tags = None,
    ttl: Ttl = None,
    priority: Priority = None,
    max_attempts: MaxAttempts = None,
    max_duration: MaxDuration = None,
    machine: Machine = None,
    idempotency_key_ttl: KeyTtl = None,
    fairness_group: Group = None,
    metadata: Metadata = None,
    version: Version = None,
    test: Test = False,
    park: Park = False,
    debounce: DebounceKey = None,
    debounce_delay: DebounceDelay = "5s",
    debounce_max_delay: DebounceMax = None,
    debounce_trailing: Trailing = False,
    api_url: ApiUrls = None,
    key: Key = None,
) -> None:
    """Start a run of a task."""
    from outlast.sdk.options import build

    said: dict[str, Any] = {
        "delay": _delay(delay),
        "queue": queue,
        "concurrency_key": concurrency_key,
        "idempotency_key": idempotency_key,
        "tags": tag or None,
        "ttl": ttl,
        "priority": priority,
        "max_attempts": max_attempts,
        "max_duration": max_duration,
        "machine": machine,
        "idempotency_key_ttl": idempotency_key_ttl,
        "fairness_group": fairness_group,
        "metadata": _metadata(metadata),
        "version": version,
        "test": test or None,
        "park": park or None,
        "debounce": _debounce(debounce, debounce_delay, debounce_max_delay, debounce_trailing),
    }
    given = {name: value for name, value in said.items() if value is not None}
    _send(connection(api_url, key), build(task, _payload(payload), given), wait=wait)


def _send(found: Connection, built: "Trigger", *, wait: bool) -> None:
    from msgspec import structs

    from outlast.cli.calls import call
    from outlast.client import triggers

    # A repeated POST must find the run that the first one made.
    item = structs.replace(built, request_key=token_hex(16))
    [made] = call(found, triggers.trigger([triggers.encode(item)])).answers
    if made.error is not None:
        raise Stop(made.error.message)
    known = "  (the run of an earlier trigger with this key)" if made.is_cached else ""
    say(f"{made.run_id}  {built.task}{known}")
    if wait:
        from outlast.cli.ends import wait_for_end

        wait_for_end(found, made.run_id)


def _metadata(text: str | None) -> dict[str, object] | None:
    import json

    try:
        value = None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Stop(f"--metadata is not JSON: {error}") from None
    if value is not None and not isinstance(value, dict):
        raise Stop("--metadata is a JSON object, such as '{\"order\": 7}'")
    return value


def _debounce(
    key: str | None, delay: str, longest: str | None, trailing: bool
) -> dict[str, str] | None:
    if key is None:
        if longest is not None or trailing:
            raise Stop("name the key: --debounce KEY")
        return None
    said = {"key": key, "delay": delay, "mode": "trailing" if trailing else "leading"}
    return said if longest is None else {**said, "max_delay": longest}


def _payload(text: str | None) -> str | None:
    """Return the JSON text that was given, or None. Whether it is JSON is said here, not later."""
    import json

    if text is None:
        return None
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Stop(f"--payload names {text[1:]}, which cannot be read: {error}") from error
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise Stop("--payload is nested too deeply") from None
    except ValueError as error:
        raise Stop(
            f"--payload is not JSON: {error}; text needs its own quotes: --payload '\"Ada\"'"
        ) from None
    return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _delay(text: str | None) -> str | datetime | None:
    if text is None or not text[:1].isdigit() or "-" not in text:
        return text
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text  # the options say what a delay looks like
