"""The audit: a handful of invariants per environment, checked under its lock, said loudly.

Counters are put right at once. A run that stands somewhere impossible is reported as an error: it
is a bug of ours, and a silent repair would hide it.
"""

import logging

import msgspec

from outlast.engine.database import Database, Executor
from outlast.engine.queries import load

logger = logging.getLogger(__name__)

AUDIT = load("audit")
_CHECKS = (
    "lane_counters",
    "queue_counters",
    "executing_nowhere",
    "queued_nowhere",
    "untimed",
    "waiting_for_nothing",
    "orphans",
    "ends",
)


class Finding(msgspec.Struct, frozen=True):
    """One broken invariant: what, and of whom (a run or a lane)."""

    finding: str
    subject: str


class _Environment(msgspec.Struct, frozen=True):
    id: str


class Audit:
    """Checks that derived data fits and nothing is silently stuck."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> list[Finding]:
        """Audit every environment and return what was found; after kill tests: nothing."""
        findings: list[Finding] = []
        for environment in await self._database.fetch(_Environment, AUDIT.environments):
            findings += await self.environment(environment.id)
        return findings

    async def environment(self, environment: str) -> list[Finding]:
        """Audit one environment under its lock."""
        async with self._database.transaction() as executor:
            await executor.execute(AUDIT.lock, environment=environment)
            findings = await _check(executor, environment)
        for found in findings:
            logger.error(
                "audit: %s", found.finding, extra={"subject": found.subject, "in": environment}
            )
        return findings


async def _check(executor: Executor, environment: str) -> list[Finding]:
    findings: list[Finding] = []
    for name in _CHECKS:
        statement = AUDIT.statements[name]
        findings += await executor.fetch(Finding, statement, environment=environment)
    return findings
