"""Print one table: each workload's median and spread, and the machine's ceiling beside it."""

import argparse
import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable

from benchmarks import ceiling, workloads
from benchmarks.stage import Stage, stage

Row = tuple[str, str, Callable[[Stage], Awaitable[float]]]

ROWS: tuple[Row, ...] = (
    ("W1a", "runs/s, 64 in flight", workloads.w1a),
    ("W1a def", "runs/s of a def task", lambda s: workloads.w1a(s, 5_000, "noop-def")),
    ("W1b", "runs/s, batches of 1,000", workloads.w1b),
    ("W3", "steps/s, 1,000 runs of 10", workloads.w3),
    ("W4", "s, 1,000 children of one parent", workloads.w4),
    ("W5", "runs/s beside 200k queued", workloads.w5),
)


async def main(repeats: int, only: set[str]) -> None:
    """Run what is asked for and print it as it comes."""
    async with stage() as made:
        os.environ["OUTLAST_API_URL"] = made.apis[0]
        os.environ["OUTLAST_SECRET_KEY"] = made.key
        print(f"{'':8} {'median':>10} {'min':>10} {'max':>10}  {'':34} ceiling lifecycles/s")
        await workloads.w1a(made, 500)  # connections, caches and executors are up
        for name, unit, measure in ROWS:
            if only and name not in only:
                continue
            top = await ceiling.measure(made.url)
            figures = [await measure(made) for _ in range(repeats)]
            print(
                f"{name:8} {statistics.median(figures):>10,.2f} {min(figures):>10,.2f}"
                f" {max(figures):>10,.2f}  {unit:34} {top:,.0f}",
                flush=True,
            )
        if not only or "W2" in only:
            p50, p99 = await workloads.w2(made)
            print(f"{'W2':8} {p50:>10,.2f} {'':>10} {p99:>10,.2f}  ms trigger to start: p50, p99")


parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
parser.add_argument("--repeats", type=int, default=3, help="runs per row; the median counts")
parser.add_argument("--only", action="append", default=[], help="a row by name; repeatable")
arguments = parser.parse_args()
asyncio.run(main(arguments.repeats, set(arguments.only)))
