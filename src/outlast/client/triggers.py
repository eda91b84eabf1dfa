"""Trigger many runs in one request; each has its own answer."""

from dataclasses import dataclass

import msgspec

from outlast.client.requests import Reply, Request
from outlast.protocol.triggers import Trigger, Triggered

MAX_ITEMS = 256
MAX_BYTES = 1_000_000

CLAIMS = "x-trigger-jwt-claims"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Triggered])


def encode(item: Trigger) -> bytes:
    """Return one item as JSON, to be joined with others."""
    return _encoder.encode(item)


@dataclass(frozen=True, slots=True)
class TriggerReply:
    """The answers, in order, and what a public token of this environment has to claim."""

    answers: list[Triggered]
    claims: str | None


def trigger(items: list[bytes]) -> Request[TriggerReply]:
    """Return the request that creates the runs of encoded items, in order."""
    count = len(items)

    def decode(reply: Reply) -> TriggerReply:
        answers = _decoder.decode(reply.body)
        if len(answers) != count:
            raise ValueError(f"{len(answers)} answers to {count} triggers")
        return TriggerReply(answers, reply.headers.get(CLAIMS))

    return Request("POST", "/api/outlast/v1/triggers", decode, body=b"[" + b",".join(items) + b"]")
