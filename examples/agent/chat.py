"""Talk with the agent: `python chat.py "A weekend in Oslo"`."""

import asyncio
import sys

from agent.talk import answers, said

from outlast import tasks


async def chat(wish: str) -> None:
    """Show what the agent says while it says it, and answer its questions."""
    handle = await tasks.trigger("travel-agent", wish)
    place = (0, "")
    async for piece in said.read(handle.id):
        if (piece.turn, piece.call) != place:
            # The same turn from another call: the model was cut off, it begins again.
            print("\n(again) " if piece.turn == place[0] and place[1] else "\n", end="")
            place = (piece.turn, piece.call)
        print(piece.text, end="", flush=True)
        if piece.kind == "question":
            await answers.send(handle.id, await asyncio.to_thread(input, "\n> "))
    print()


if __name__ == "__main__":
    asyncio.run(chat(sys.argv[1]))
