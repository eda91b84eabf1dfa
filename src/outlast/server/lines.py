"""Lines of a streamed body, one by one, however the chunks fall."""

from collections.abc import AsyncIterable, AsyncIterator


async def read_lines(chunks: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes | None]:
    """Yield the lines that are not blank; None stands for one that is longer than `limit`.

    An oversized line is skipped as it comes: it costs no memory and does not end the stream.
    """
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for end in whole:
            line = None if size + len(end) > limit else b"".join([*parts, end]).strip()
            parts, size = [], 0
            if line != b"":
                yield line
        size += len(rest)
        if size > limit:
            parts = []
        else:
            parts.append(rest)
    if size > limit:
        yield None
    elif last := b"".join(parts).strip():
        yield last
