"""Print one table: each row's median and spread, and the machine's ceiling beside it."""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from benchmarks import ceiling, listing, meter, pages, realtime, rows, waking
from benchmarks.stage import Stage, stage


class Row(NamedTuple):
    """A line of the table: what is measured, how often, on which stage."""

    name: str
    unit: str
    measure: Callable[[Stage], Awaitable[rows.Figure]]
    servers: int = 1
    delay: float = 0.0
    repeats: int | None = None  # as many as are asked for

    @property
    def place(self) -> tuple[int, float]:
        """Rows of one place share a stage."""
        return self.servers, self.delay


_NEAR = 0.0005  # seconds each direction: 1 ms for a round trip

TABLE = (
    Row("w1a", "runs/s, one await at a time, 64 in flight", rows.w1a),
    Row("w1b", "runs/s, batches of 1,000", rows.w1b),
    Row("w2", "ms from trigger to start, 20/s: p50 [p99]", rows.w2),
    Row("w3", "steps/s, 1,000 runs of 10 steps", rows.w3),
    Row("w4", "s, one parent of 1,000 children", rows.w4),
    Row("w5", "runs/s, w1b beside 200k queued runs", rows.w5),
    Row("w1a-def", "runs/s, w1a of a def task", rows.w1a_def),
    Row("parked", "KB of worker memory per waiting run", rows.parked, repeats=1),
    Row("wake", "s until 100k runs due at one instant are ready", waking.at_once, repeats=1),
    Row("wake-spread", "s, the latest of 10k runs due over 20 s", waking.spread_out, repeats=1),
    Row("ticks", "s until 10k schedules of one minute have started", waking.ticks, repeats=1),
    Row("realtime", "ms from change to delivery, 2,000 subscribers", realtime.delivery, repeats=1),
    Row("w1b-wide", "runs/s, w1b over 1,000 environments", rows.w1b_wide, repeats=1),
    Row("w1b-two", "runs/s, w1b with two servers", rows.w1b, servers=2),
    Row("w1b-far", "runs/s, w1b, PostgreSQL 1 ms away", rows.w1b, delay=_NEAR),
    Row("w2-far", "ms, w2, PostgreSQL 1 ms away", rows.w2, delay=_NEAR),
    Row("w1a-deleting", "% of w1a, while 1M runs go and after", rows.w1a_deleting, repeats=1),
    Row("w1a-aged", "runs/s, w1a for 3 min behind 1M runs", rows.w1a_aged, repeats=1),
)


async def main(names: Sequence[str], repeats: int, finished: int) -> None:
    """Run what is asked for, in the order of the table, and print it as it comes."""
    wanted = [row for row in TABLE if not names or row.name in names]
    print(f"{'':9} {'median':>9} {'min':>9} {'max':>9} {'ceiling':>9}", flush=True)
    while wanted:
        here = [row for row in wanted if row.place == wanted[0].place]
        wanted = [row for row in wanted if row.place != here[0].place]
        async with stage(servers=here[0].servers, delay=here[0].delay) as made:
            made.finished = finished
            await rows.w1a(made, 500)  # connections, caches and executors are up
            for row in here:
                await _print(row, made, row.repeats or repeats)


async def _print(row: Row, made: Stage, repeats: int) -> None:
    top = await ceiling.measure(made.url)
    before = await made.spent()
    figures = [await row.measure(made) for _ in range(repeats)]
    costs = meter.per_item(before, await made.spent(), sum(figure.items for figure in figures))
    values = [figure.value for figure in figures]
    print(
        f"{row.name:9} {statistics.median(values):>9,.2f} {min(values):>9,.2f}"
        f" {max(values):>9,.2f} {top:>9,.0f}  {row.unit}"
    )
    for note in (figure.note for figure in figures if figure.note):
        print(f"{'':10}{note}")
    print(f"{'':10}us of CPU per item: {costs}", flush=True)


parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
parser.add_argument(
    "rows",
    nargs="*",
    metavar="ROW",
    help=f"of: {', '.join(row.name for row in TABLE)}; or listing, or pages",
)
parser.add_argument("--repeats", type=int, default=3, help="runs per row; the median counts")
parser.add_argument(
    "--finished", type=int, default=1_000_000, help="ended runs in w1a-aged and w1a-deleting"
)
arguments = parser.parse_args()
if arguments.rows == ["listing"]:
    asyncio.run(listing.main())
    raise SystemExit
if arguments.rows == ["pages"]:
    asyncio.run(pages.main())
    raise SystemExit
if unknown := set(arguments.rows) - {row.name for row in TABLE}:
    parser.error(f"there is no row {', '.join(sorted(unknown))}")
asyncio.run(main(arguments.rows, arguments.repeats, arguments.finished))
