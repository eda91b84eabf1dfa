"""Decide about what waits for a person: `python decide.py`, or with a token and yes or no."""

import sys
from collections.abc import Sequence

from outlast import wait


def decide(token: str, answer: str) -> None:
    """Complete a token with what both example tasks read."""
    decision = {"approved": answer.lower() in {"y", "yes"}, "by": "editor", "notes": answer}
    wait.complete_token_sync(token, decision)


def main(arguments: Sequence[str]) -> None:
    """Decide about one token, or ask about everything that waits."""
    if arguments:
        decide(arguments[0], arguments[1] if len(arguments) > 1 else "yes")
        return
    for token in wait.list_tokens_sync(status="WAITING", tags="approval"):
        decide(token.id, input(f"{token.id} {', '.join(token.tags)}, since {token.created_at}? "))


if __name__ == "__main__":
    main(sys.argv[1:])
