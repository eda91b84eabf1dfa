"""Depth is judged in linear time, whatever is sent."""

import pytest

from outlast.protocol.nesting import is_too_deep


@pytest.mark.parametrize(
    ("body", "deep"),
    [
        (b"[" * 100 + b"]" * 100, False),
        (b"[" * 101 + b"]" * 101, True),
        (b'{"a":' * 101 + b"1" + b"}" * 101, True),
        (b"[" * 3000, True),
        (b'"' + b"[" * 500 + b'"', False),
        (b'["' + b'\\"[' * 500 + b'"]', False),
        (b"[{}]," * 1000, False),
        (b'"' + b"\\" * 200_001, False),
        (b'["' + b'\\"' * 1_000_000, False),
        (b"[[]," * 60 + b"]" * 60, False),
    ],
)
def test_depth_is_measured_outside_strings(body: bytes, deep: bool) -> None:
    assert is_too_deep(body) is deep
