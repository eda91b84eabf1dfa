"""An agent: it thinks with a model, uses tasks as tools, and asks a human when it must."""

import json
from typing import Any

from agent.model import Message, ToolCall, complete
from agent.talk import Said, answers, said
from trigger.weather import look_up_weather

from outlast import AbortTaskRunError, Context, step, task

MOST_TURNS = 20
PROMPT = "You plan trips. Look the weather up before you advise. Ask before you book anything."


def _tool(name: str, description: str, argument: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {argument: {"type": "string"}}}
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


TOOLS = (
    _tool("look_up_weather", "The forecast of a city.", "city"),
    _tool("ask_human", "Ask the traveller, and wait for the answer.", "question"),
)


@task("travel-agent")
async def travel_agent(wish: str, ctx: Context) -> str:
    """Turn after turn: the model says something, and what it asks for is done."""
    messages = [Message(role="system", content=PROMPT), Message(role="user", content=wish)]
    for turn in range(MOST_TURNS):
        # A paid call: once its answer is recorded, it is never made again.
        reply = await step("model", think, ctx, turn, messages)
        messages.append(reply)
        if not reply.tool_calls:
            return reply.content or ""
        for call in reply.tool_calls:
            answer = await use(call, turn)
            messages.append(Message(role="tool", content=answer, tool_call_id=call.id))
    raise AbortTaskRunError(f"no answer after {MOST_TURNS} turns")


async def think(ctx: Context, turn: int, messages: list[Message]) -> Message:
    """Ask the model, and let everybody read along."""
    # Afresh: a call that was cut off is made again, and the model may use other words.
    async with said.writer(afresh=True) as writer:

        async def heard(call: str, text: str) -> None:
            await writer.write(Said(turn=turn, call=call, text=text))

        return await complete(messages, TOOLS, heard, key=ctx.step.token)


async def use(call: ToolCall, turn: int) -> str:
    """Use a tool: a task is a child run, a question waits for days if need be."""
    arguments = json.loads(call.function.arguments)
    match call.function.name:
        case "look_up_weather":
            weather: str = await look_up_weather.trigger_and_wait(arguments["city"]).unwrap()
            return weather
        case "ask_human":
            question = Said(turn=turn, call=call.id, text=arguments["question"], kind="question")
            await said.append(question)
            return await answers.once(timeout="7d")
    return f"there is no tool {call.function.name}"
