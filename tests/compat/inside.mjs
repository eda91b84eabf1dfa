// Calls that the SDK makes only inside a task, made here as code of a task would, by its own client or by hand.
import assert from "node:assert/strict";
import { gather, row, until } from "./proof.mjs";

/** Let the SDK believe for the time of `play` that it runs inside a run, as a worker tells it. */
async function acting({ core, workers, client, url }, run, play) {
  const whole = new workers.StandardMetadataManager(client);
  whole.runId = run.id;
  core.runMetadata.setGlobalManager(whole);
  core.realtimeStreams.setGlobalManager(new workers.StandardRealtimeStreamsManager(client, url));
  const [environment, none] = [{ id: "env", slug: "dev", type: "DEVELOPMENT" }, {}];
  core.taskContext.setGlobalTaskContext({
    ctx: { run, environment, organization: none, project: none, task: none, attempt: none, queue: none },
  });
  try {
    await play();
  } finally {
    core.taskContext.setGlobalTaskContext(undefined);
    core.runMetadata.disable?.();
    core.realtimeStreams.disable?.();
  }
}

export async function prove(world) {
  const { sdk, client, ask } = world;
  const { metadata, runs, streams, tags, tasks, wait } = sdk;
  const orders = streams.input({ id: "orders" });
  const { id } = await tasks.trigger("tells", 0);
  const base = `/realtime/v1/streams/${id}`;
  await until(async () => (await runs.retrieve(id)).status !== "QUEUED");

  await row("PUT /api/v1/runs/{id}/metadata", "ApiClient.updateRunMetadata", async () => {
    const operations = [
      { type: "set", key: "a", value: 1 },
      { type: "increment", key: "$.n.m", value: 2 },
      { type: "append", key: "list", value: "x" },
    ];
    const { metadata } = await client.updateRunMetadata(id, { operations });
    assert.deepEqual(metadata, { a: 1, n: { m: 2 }, list: ["x"] });
  });
  await row("GET /api/v1/runs/{id}/metadata", "ApiClient.getRunMetadata", async () => {
    assert.equal((await client.getRunMetadata(id)).metadata.a, 1);
  });
  await row("POST /api/v1/runs/{id}/tags", "ApiClient.addTags", async () => {
    assert.ok((await client.addTags(id, { tags: ["late"] })).message);
    assert.deepEqual((await runs.retrieve(id)).tags, ["late"]);
    const many = Array.from({ length: 11 }, (_, number) => `t${number}`);
    await assert.rejects(client.addTags(id, { tags: many }).then((one) => one), { status: 422 });
  });
  await row("PUT /realtime/v1/streams/{runId}/{target}/{key}", "ApiClient.createStream", async () => {
    const made = await client.createStream(id, "self", "outside");
    assert.equal(made.version, "v1");
  });
  await row("POST /realtime/v1/streams/{runId}/{target}/{key}", "the stream writer", async () => {
    const answer = await ask("POST", `${base}/self/outside`, '{"n":1}\n"two"\n', { "x-client-id": "c", "x-resume-from-chunk": "0", "x-stream-version": "v1" });
    assert.equal(answer.status, 200);
  });
  await row("HEAD /realtime/v1/streams/{runId}/{target}/{key}", "the stream writer resuming", async () => {
    const answer = await ask("HEAD", `${base}/self/outside`, undefined, { "x-client-id": "c" });
    assert.deepEqual([answer.status, answer.headers.get("x-last-chunk-index")], [200, "1"]);
  });
  await row("POST /realtime/v1/streams/{runId}/{target}/{key}/append", "streams.append", async () => {
    for (const part of ["p1", "p1"]) {
      const answer = await ask("POST", `${base}/self/outside/append`, '"three"', { "x-part-id": part });
      assert.deepEqual([answer.status, answer.body], [200, { ok: true }]);
    }
    const all = [];
    for await (const chunk of await streams.read(id, "outside")) {
      all.push(chunk);
      if (all.length === 3) break;
    }
    assert.deepEqual(all, [{ n: 1 }, "two", "three"]);
  });
  await row("GET /realtime/v1/streams/{runId}/input/{key}", "an input stream read", async () => {
    await orders.send(id, { dish: "bill" });
    const stop = new AbortController();
    const answer = await fetch(`${process.env.TRIGGER_API_URL}${base}/input/orders`, {
      headers: { authorization: `Bearer ${process.env.TRIGGER_SECRET_KEY}`, accept: "text/event-stream" },
      signal: stop.signal,
    });
    let text = "";
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    while (!text.includes("bill")) {
      const { value, done } = await reader.read();
      assert.ok(!done, `the stream ended: ${text}`);
      text += decoder.decode(value);
    }
    stop.abort();
  });
  const going = (await tasks.trigger("mail", 1, { delay: "1h" })).id;
  await row("POST /engine/v1/runs/{id}/wait/duration", "ApiClient.waitForDuration", async () => {
    const date = new Date(Date.now() + 1500);
    const wanted = { date, idempotencyKey: `d-${going}`, idempotencyKeyTTL: "1h" };
    const { waitUntil, waitpoint } = await client.waitForDuration(going, wanted);
    assert.deepEqual(waitUntil, date);
    assert.equal((await wait.retrieveToken(waitpoint.id)).status, "WAITING");
    const again = await client.waitForDuration(going, { ...wanted, date: new Date(Date.now() + 3_600_000) });
    assert.deepEqual([again.waitpoint.id, again.waitUntil], [waitpoint.id, date]);
    const ended = await until(async () => {
      const found = await wait.retrieveToken(waitpoint.id);
      return found.status !== "WAITING" && found;
    });
    assert.deepEqual([ended.status, ended.error, ended.output], ["COMPLETED", undefined, undefined]);
    assert.ok(ended.completedAt >= date);
  });
  await row("POST /engine/v1/runs/{id}/waitpoints/tokens/{wp}/wait", "ApiClient.waitForWaitpointToken", async () => {
    const token = await wait.createToken();
    const named = { runFriendlyId: going, waitpointFriendlyId: token.id };
    assert.deepEqual(await client.waitForWaitpointToken(named), { success: true });
    const none = client.waitForWaitpointToken({ ...named, waitpointFriendlyId: "waitpoint_none" });
    await assert.rejects(none.then((one) => one), { status: 404 });
    const ended = await tasks.trigger("mail", 1);
    await runs.poll(ended.id, { pollIntervalMs: 100 });
    const late = client.waitForWaitpointToken({ ...named, runFriendlyId: ended.id });
    await assert.rejects(late.then((one) => one), { status: 422 });
  });
  const inner = await tasks.trigger("tells", 0);
  await row("PUT /api/v1/runs/{id}/metadata", "metadata.set, .increment, .append, .flush in a task", () =>
    acting(world, { id: inner.id, tags: [] }, async () => {
      metadata.set("step", "one").increment("done", 2).append("lines", "x").del("none");
      await metadata.flush();
      assert.deepEqual((await runs.retrieve(inner.id)).metadata, { step: "one", done: 2, lines: ["x"] });
    }));
  await row("GET /api/v1/runs/{id}/metadata", "metadata.refresh in a task", () =>
    acting(world, { id: inner.id, tags: [] }, async () => {
      await metadata.refresh();
      assert.equal(metadata.get("done"), 2);
    }));
  await row("POST /api/v1/runs/{id}/tags", "tags.add in a task", () =>
    acting(world, { id: inner.id, tags: [] }, async () => {
      await tags.add("added");
      assert.deepEqual((await runs.retrieve(inner.id)).tags, ["added"]);
    }));
  // Its writer asks past `fetch`: what it wrote shows that it did.
  await row("PUT /realtime/v1/streams/{runId}/{target}/{key}", "streams.pipe in a task", () =>
    acting(world, { id: inner.id, tags: [] }, async () => {
      const { waitUntilComplete } = streams.pipe("piped", (async function* () { yield { n: 1 }; yield "two"; })());
      await waitUntilComplete();
      assert.deepEqual(await gather(await streams.read(inner.id, "piped"), (all) => all.length === 2), [{ n: 1 }, "two"]);
    }));
  await row("POST /realtime/v1/streams/{runId}/{target}/{key}/append", "streams.append in a task", () =>
    acting(world, { id: inner.id, tags: [] }, async () => {
      await streams.append("appended", "a line");
      assert.deepEqual(await gather(await streams.read(inner.id, "appended"), (all) => all.length === 1), ["a line"]);
    }));
  await row("GET /realtime/v1/runs/{id}", "tasks.triggerAndSubscribe in a task", () =>
    acting(world, { id: inner.id, tags: [] }, async () => {
      const result = await tasks.triggerAndSubscribe("mail", 3);
      assert.deepEqual([result.ok, result.output], [true, 6]);
    }));
}
