"""How a worker is, for people: what it could execute, and each of its processes."""

from outlast.protocol.vitals import ProcessVitals, Vitals
from outlast.worker.memory import resident
from outlast.worker.pool import Pool


def vitals(pool: Pool) -> Vitals:
    """Return how many runs could execute at once, and how each process is."""
    return Vitals(
        capacity=pool.slots(),
        processes=tuple(
            ProcessVitals(
                pid=place.pid,
                kind=place.kind,
                executing=len(place.executing),
                parked=len(place.parked),
                memory=resident(place.pid),
                blocked=place.stuck,
            )
            for place in pool.places
            if place.ready
        ),
    )
