"""Lines come out whole whatever the network does to them."""

from collections.abc import AsyncIterator

import pytest

from outlast.server.lines import read_lines


async def lines(*chunks: bytes, limit: int = 10) -> list[bytes | None]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [line async for line in read_lines(stream(), limit)]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((b"a\nb\n",), [b"a", b"b"]),
        ((b"a\nb",), [b"a", b"b"]),
        ((b"a", b"b\nc", b"", b"d\n"), [b"ab", b"cd"]),
        ((b"a\r\n\n  \nb\n",), [b"a", b"b"]),
        ((), []),
        ((b"0123456789\n",), [b"0123456789"]),
        ((b"0123456789a\nb\n",), [None, b"b"]),
        ((b"01234567", b"89abc", b"d\nb\n"), [None, b"b"]),
        ((b"b\n", b"0123456789", b"0123456789"), [b"b", None]),
    ],
)
async def test_lines_are_put_together_and_long_ones_marked(
    chunks: tuple[bytes, ...], expected: list[bytes | None]
) -> None:
    assert await lines(*chunks) == expected
