"""The streams between the agent and its people: what it says, and what they answer."""

from typing import Literal

from pydantic import BaseModel

from outlast import streams


class Said(BaseModel):
    """A piece of what the agent says. `call` names the model call that it comes from.

    Another call in the same turn says the turn again from its start: the one before was cut off.
    """

    turn: int
    call: str
    text: str
    kind: Literal["text", "question"] = "text"


said = streams.define("said", Said)
answers = streams.input("answers", str)
