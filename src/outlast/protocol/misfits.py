"""How values that break a rule are told: where, what was wanted, what kind was given; no value."""

from collections.abc import Iterable, Mapping
from itertools import islice

MOST_SHOWN = 5


def kind(value: object) -> str:
    """Return what a value is, in the words of JSON where it has them."""
    match value:
        case None:
            said = "null"
        case bool():
            said = "a boolean"
        case int() | float():
            said = "a number"
        case str():
            said = f"a text of {len(value)} characters"
        case Mapping():
            said = "an object"
        case list() | tuple():
            said = f"a list of {len(value)}"
        case _:
            said = f"a {type(value).__name__}"
    return said


def path(subject: str, location: Iterable[int | str]) -> str:
    """Return the place inside a value as code would write it: `payload.pages[0].title`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return subject + "".join(parts)


def told(problems: Iterable[str]) -> str:
    """Return problems as one text; of many the first. Looks at no more than are needed."""
    found = list(islice(problems, MOST_SHOWN + 1))
    return "; ".join(found[:MOST_SHOWN] + ["and more"] * (len(found) > MOST_SHOWN))
