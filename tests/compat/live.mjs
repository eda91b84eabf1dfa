// Realtime and streams, as a backend follows them.
import assert from "node:assert/strict";
import { gather, row } from "./proof.mjs";

export async function prove({ sdk, version, newer }) {
  const { auth, batch, runs, streams, tasks } = sdk;
  const orders = streams.input({ id: "orders" });

  /** Rows of a run until its last one. The newer client ends there itself, the older 30 s later. */
  const followed = (id, options) =>
    gather(runs.subscribeToRun(id, options), (all) => !newer && all.at(-1).finishedAt !== undefined);

  await row("GET /realtime/v1/runs/{id}", "runs.subscribeToRun", async () => {
    const handle = await tasks.trigger("ticks", 3);
    const token = { accessToken: handle.publicAccessToken, baseURL: process.env.TRIGGER_API_URL };
    const progress = [];
    const last = await auth.withAuth(token, async () => {
      let run;
      let sent = 0;
      for await (run of runs.subscribeToRun(handle.id)) {
        const tick = run.metadata?.progress;
        if (tick !== undefined) progress.push(tick);
        if (sent < 3 && sent === (tick ?? 0)) await orders.send(handle.id, { tick: String(++sent) });
        if (!newer && run.finishedAt) break;
      }
      return run;
    });
    assert.deepEqual([...new Set(progress)], [1, 2, 3]);
    assert.deepEqual([last.status, last.output, last.payload], ["COMPLETED", 3, 3]);
    assert.ok(last.createdAt > new Date(1e12) && last.finishedAt > last.createdAt);
  });
  await row("GET /realtime/v1/runs/{id}", "skipColumns", async () => {
    const handle = await tasks.trigger("mail", 4);
    const rows = await followed(handle.id, { skipColumns: ["payload", "output"] });
    const last = rows.at(-1);
    assert.deepEqual([last.status, last.output, last.payload], ["COMPLETED", undefined, undefined]);
  });
  await row("GET /realtime/v1/runs/{id}", "a failed run, a canceled run, a large output", async () => {
    const failed = await tasks.trigger("fails", "why", { maxAttempts: 1 });
    const [end] = (await followed(failed.id)).slice(-1);
    assert.deepEqual([end.status, end.error.message], ["FAILED", "why"]);
    const canceled = await tasks.trigger("mail", 1, { delay: "1h" });
    await runs.cancel(canceled.id);
    assert.equal((await followed(canceled.id)).at(-1).status, "CANCELED");
    const big = "y".repeat(200_000);
    const large = await tasks.trigger("large", big);
    assert.equal((await followed(large.id)).at(-1).output, `${big}!`);
  });
  await row("GET /realtime/v1/runs", "runs.subscribeToRunsWithTag", async () => {
    const tags = [`live${version}`, "all"];
    const followed = gather(runs.subscribeToRunsWithTag(tags, { createdAt: "1h" }), (all) =>
      new Set(all.filter((run) => run.isCompleted).map((run) => run.id)).size === 2);
    await tasks.trigger("mail", 1, { tags });
    await tasks.trigger("mail", 2, { tags });
    await tasks.trigger("mail", 3, { tags: ["all"] });
    const outputs = (await followed).filter((run) => run.isCompleted).map((run) => run.output);
    assert.deepEqual([...new Set(outputs)].sort(), [2, 4]);
  });
  await row("GET /realtime/v1/batches/{id}", "runs.subscribeToBatch", async () => {
    const made = await batch.trigger([{ id: "mail", payload: 5 }, { id: "mail", payload: 6 }]);
    const rows = await gather(runs.subscribeToBatch(made.batchId), (all) =>
      new Set(all.filter((run) => run.isCompleted).map((run) => run.id)).size === 2);
    assert.deepEqual([...new Set(rows.filter((run) => run.isCompleted).map((run) => run.output))].sort(), [10, 12]);
  });
  await row("GET /realtime/v1/streams/{runId}/{key}", "streams.read, stream.read; live, resumed", async () => {
    const handle = await tasks.trigger("tells", 3);
    const words = streams.define({ id: "words" });
    const read = gather(await words.read(handle.id), (all) => all.length === 3);
    assert.deepEqual(await read, [{ n: 0 }, { n: 1 }, { n: 2 }]);
    await orders.send(handle.id, { dish: "bill" });
    assert.deepEqual(await gather(await streams.read(handle.id, "words", { startIndex: 1, timeoutInSeconds: 5 })), [{ n: 1 }, { n: 2 }]);
    assert.equal((await runs.poll(handle.id, { pollIntervalMs: 100 })).output, 3);
  });
  await row("GET /realtime/v1/streams/{runId}/{key}", "a key without chunks ends with its run", async () => {
    const handle = await tasks.trigger("mail", 1);
    assert.deepEqual(await gather(await streams.read(handle.id, "nothing", { timeoutInSeconds: 20 })), []);
  });
  await row("GET /realtime/v1/streams/{runId}/{key}", "run.withStreams", async () => {
    const handle = await tasks.trigger("tells", 2);
    const parts = [];
    for await (const part of runs.subscribeToRun(handle.id).withStreams()) {
      if (part.type === "words") parts.push(part.chunk);
      if (part.type === "words" && parts.length === 2) await orders.send(handle.id, { dish: "bill" });
      if (part.run.isCompleted) break; // the client itself would stay for another half minute
    }
    assert.deepEqual(parts, [{ n: 0 }, { n: 1 }]);
  });
  await row("GET /realtime/v1/streams/{runId}/{key}", "runs.fetchStream", async () => {
    const handle = await tasks.trigger("tells", 2);
    assert.deepEqual(await gather(await runs.fetchStream(handle.id, "words"), (all) => all.length === 2), [{ n: 0 }, { n: 1 }]);
    await orders.send(handle.id, { dish: "bill" });
  });
  await row("POST /realtime/v1/streams/{runId}/input/{key}", "streams.input().send", async () => {
    const handle = await tasks.trigger("ticks", 1);
    await orders.send(handle.id, { tick: "1" });
    assert.equal((await runs.poll(handle.id, { pollIntervalMs: 100 })).output, 1);
    await assert.rejects(orders.send(handle.id, { tick: "2" }), (error) => error.status >= 400 && error.status < 500);
  });
}
