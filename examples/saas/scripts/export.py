"""The button "Export invoices", for a terminal.

Run it from the folder of the example: `python -m scripts.export org_acme user_ada`.
"""

import argparse
import asyncio
import sys

from app.exports.start import start_export
from app.result import Err
from app.settings import SettingsError
from scripts.seed import ORGANIZATIONS, USERS, SeedOrganization, organization


async def export(user_id: str, of: SeedOrganization) -> int:
    """Start today's export and say which run it is."""
    answer = await start_export(user_id, of.id)
    if isinstance(answer, Err):
        print(f"{answer.code}: {answer.message}", file=sys.stderr)
        return 1
    run_id = answer.value.run_id
    print(f"{'started' if answer.value.is_new else 'today there was already'} {run_id}")
    print(f"follow it with: outlast runs tail {run_id}")
    return 0


def main() -> None:
    """Start an export of the seed's data."""
    parser = argparse.ArgumentParser(description="Start today's invoice export.")
    parser.add_argument("organization", choices=[known.slug for known in ORGANIZATIONS])
    parser.add_argument("user", choices=list(USERS))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(export(arguments.user, organization(arguments.organization))))


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"export: {error}")
