"""Frames: batches on the worker link, routed by header with the body left alone."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.protocol.frames import Frame, Kind, frame, pack, unpack
from outlast.protocol.messages import Cancel, Complete
from outlast.protocol.outcomes import Outcome, RunError

TEXT = st.text(max_size=50)


@given(run=TEXT, token=st.integers(0, 2**53), number=st.integers(0, 2**31), output=TEXT)
def test_a_frame_survives_the_wire(run: str, token: int, number: int, output: str) -> None:
    """Header and body."""
    sent = frame(Kind.COMPLETE, Complete(output), run=run, token=token, number=number)

    (got,) = unpack(pack([sent]))

    assert (got.kind, got.run, got.token, got.number) == (Kind.COMPLETE, run, token, number)
    assert msgspec.msgpack.decode(got.body, type=Complete) == Complete(output)


def test_a_body_passes_through_undecoded() -> None:
    """The supervisor forwards bytes, so a newer body never breaks an older supervisor."""
    sent = Frame(Kind.STEP, "run_1", 3, 7, msgspec.Raw(msgspec.msgpack.encode({"later": [1, 2]})))

    (got,) = unpack(pack(unpack(pack([sent]))))

    assert msgspec.msgpack.decode(got.body) == {"later": [1, 2]}


def test_a_failed_outcome_travels_as_data() -> None:
    """Errors are never pickled."""
    error = RunError(kind="raised", type="ValueError", message="no", causes=("OSError: gone",))
    outcome = Outcome(ok=False, error=error, members=(Outcome(ok=True, value="1"),))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome) == outcome


@pytest.mark.parametrize(
    "message", [b"", b"\x00", b"\xff" * 40, b"{}", b"\x91\x93\x01\x02\x03", b"\xdd\xff\xff\xff\xff"]
)
def test_garbage_is_a_decode_error(message: bytes) -> None:
    """Nothing else may reach the gateway's loop."""
    with pytest.raises(msgspec.DecodeError):
        unpack(message)


def test_an_unknown_kind_keeps_its_frame_readable() -> None:
    """Each side skips what it does not know, so that a newer peer can say more."""
    (got,) = unpack(msgspec.msgpack.encode([[9_999, "", 0, 0, {}]]))

    assert got.kind not in set(Kind)


def test_a_frame_is_an_array_of_five_on_the_wire() -> None:
    """A moved field or a changed kind is another protocol version."""
    sent = frame(Kind.CANCEL, Cancel("stop"), run="r", token=1)

    assert pack([sent]).hex() == ONE_CANCEL


ONE_CANCEL = "919517a172010081a6726561736f6ea473746f70"
