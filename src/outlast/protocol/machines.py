"""Machine presets: how much memory and processor a run may have that asks for one."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

_GIGABYTE = 1024**3


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One preset: processors and gigabytes of memory."""

    cpu: float
    memory: float

    def __post_init__(self) -> None:
        if not (self.cpu > 0 and self.memory > 0):
            raise ValueError("cpu and memory of a machine must be above 0")

    @property
    def bytes(self) -> int:
        """Return the memory in bytes."""
        return int(self.memory * _GIGABYTE)


PRESETS: Mapping[str, Machine] = MappingProxyType(
    {
        "micro": Machine(0.25, 0.25),
        "small-1x": Machine(0.5, 0.5),
        "small-2x": Machine(1, 1),
        "medium-1x": Machine(1, 2),
        "medium-2x": Machine(2, 4),
        "large-1x": Machine(4, 8),
        "large-2x": Machine(8, 16),
    }
)


def presets(overrides: str) -> Mapping[str, Machine]:
    """Return the presets with some of them replaced: `{"small-1x": {"cpu": 1, "memory": 0.75}}`.

    Raises `ValueError` for text that is no such JSON, or names a preset that does not exist.
    """
    if not overrides:
        return PRESETS
    try:
        changed = msgspec.json.decode(overrides, type=dict[str, Machine])
    except msgspec.DecodeError as error:
        raise ValueError(f"machine presets are not valid: {error}") from error
    if unknown := changed.keys() - PRESETS.keys():
        names = ", ".join(PRESETS)
        raise ValueError(f"machine preset {min(unknown)!r} does not exist; there are {names}")
    return MappingProxyType({**PRESETS, **changed})
