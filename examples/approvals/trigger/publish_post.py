"""A post that an editor has to approve. The run holds no process while the editor thinks."""

from pydantic import BaseModel

from outlast import metadata, step, task, wait


class Draft(BaseModel):
    """What the editor reads."""

    title: str
    text: str


class Decision(BaseModel):
    """What the editor says."""

    approved: bool
    notes: str = ""


@task("publish-post")
async def publish_post(payload: str) -> str:
    """Write a draft, ask an editor, publish what is approved."""
    draft = await step("write", write, payload)
    token = await wait.create_token(timeout="7d", tags=["approval", "post"])
    await step("notify", notify, draft, token.id)
    metadata.set("waits_for", token.id)

    decision = await wait.for_token(token, type=Decision)

    if not decision.ok:
        return "nobody decided within a week"
    if not decision.output.approved:
        return f"back to the author: {decision.output.notes}"
    return await step("publish", publish, draft)


def write(topic: str) -> Draft:
    """Stand for the call of a model: it costs money, so it is a step and happens once."""
    return Draft(title=topic.title(), text=f"All about {topic}.")


def notify(draft: Draft, token: str) -> None:
    """Stand for the mail to the editor, with a link to a page that completes the token."""
    print(f"please decide about {draft.title!r}: python decide.py {token}")


def publish(draft: Draft) -> str:
    """Stand for the effect that must not happen twice."""
    print(f"published {draft.title!r}")
    return f"published: {draft.title}"
