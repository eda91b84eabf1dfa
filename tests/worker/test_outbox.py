"""Unacknowledged frames are kept in order and forgotten exactly once."""

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.messages import Complete, Empty
from outlast.worker.outbox import Outbox


def said(run: str, number: int, token: int = 1) -> Frame:
    return frame(Kind.COMPLETE, Complete(), run=run, token=token, number=number)


async def test_keeps_the_order_of_each_run() -> None:
    outbox = Outbox()
    for each in (said("a", 1), said("b", 1), said("a", 2)):
        outbox.add(each)

    assert [each.number for each in outbox if each.run == "a"] == [1, 2]
    assert len(outbox) == 3


async def test_returns_the_acknowledged_frame_once() -> None:
    outbox = Outbox()
    outbox.add(said("a", 1))

    acknowledged = outbox.acknowledge("a", 1, 1)

    assert acknowledged is not None
    assert acknowledged.kind == Kind.COMPLETE
    assert outbox.acknowledge("a", 1, 1) is None
    assert not outbox
    assert outbox.size == 0
    await outbox.emptied()


async def test_forgets_earlier_tokens_and_keeps_later_ones() -> None:
    outbox = Outbox()
    for each in (said("a", 1, token=1), said("a", 1, token=3)):
        outbox.add(each)

    outbox.forget("a", 2)

    assert [each.token for each in outbox] == [3]


async def test_knows_the_newest_frame_of_a_token() -> None:
    outbox = Outbox()
    outbox.add(said("a", 1))
    outbox.add(frame(Kind.SUSPEND, Empty(), run="a", token=1, number=2))

    last = outbox.last("a", 1)

    assert last is not None
    assert last.kind == Kind.SUSPEND
    assert outbox.last("a", 2) is None
