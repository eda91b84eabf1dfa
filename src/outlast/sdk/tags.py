"""Tags of runs: short texts to find them by."""

from collections.abc import Sequence

from outlast.sdk.errors import UsageError
from outlast.sdk.metadata import inside
from outlast.sdk.texts import storable

MAX_TAGS = 10
MAX_CHARACTERS = 128

Tags = str | Sequence[str]


def add(*tags: str) -> None:
    """Add tags to the run. What would be the eleventh is left out, and said in its log.

    Outside a run nothing happens but a warning.
    """
    checked = check(tags)
    run = inside("tags.add()")
    if run is not None and checked:
        run.tag(checked)


def check(tags: Tags) -> tuple[str, ...]:
    """Return tags as a tuple. Raises `UsageError` for one that is too long or one too many."""
    found = (tags,) if isinstance(tags, str) else tuple(tags)
    if len(found) > MAX_TAGS:
        raise UsageError(f"a run has at most {MAX_TAGS} tags, not {len(found)}")
    for tag in found:
        if not 1 <= len(tag) <= MAX_CHARACTERS:
            raise UsageError(f"tag {tag!r} must be a text of 1 to {MAX_CHARACTERS} characters")
        storable(tag, "a tag")
    return found
