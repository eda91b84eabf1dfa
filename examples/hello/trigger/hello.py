"""A first task: three steps with a wait between them. Kill the worker anywhere; it goes on."""

from pydantic import BaseModel

from outlast import metadata, step, task, wait


class Greeting(BaseModel):
    """What the task needs to know."""

    name: str


@task("hello")
async def hello(payload: Greeting) -> str:
    """Say hello, slowly."""
    words = []
    for number, word in enumerate(("Hello", payload.name, "from a durable task"), start=1):
        words.append(await step(f"say-{number}", say, word))
        metadata.set("said", number)
        await wait.for_(seconds=1)
    return ", ".join(words)


def say(word: str) -> str:
    """Stand for something that must not happen twice: a step runs once and is remembered."""
    print(word)
    return word
