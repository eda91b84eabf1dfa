"""How a worker is, for people: what its heartbeat says of its processes."""

import msgspec


class ProcessVitals(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one executor process is: for people, nothing is decided by it."""

    pid: int
    kind: str
    executing: int = 0
    parked: int = 0
    memory: int = 0  # resident bytes
    blocked: bool = False


class Vitals(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a worker is: how many runs it can execute at once, and its processes."""

    capacity: dict[str, int] = {}
    processes: tuple[ProcessVitals, ...] = ()
