// Triggers, batches, runs, idempotency keys, packets and tokens for the public.
import assert from "node:assert/strict";
import { gather, row, until } from "./proof.mjs";

export async function prove({ sdk, core, client, url, key, additional, project, newer, version, ask }) {
  const { tasks, batch, runs, idempotencyKeys, auth } = sdk;
  const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));

  await row("POST /api/v1/tasks/{taskId}/trigger", "tasks.trigger", async () => {
    const payload = { when: new Date(0), many: new Map([["a", 1]]), text: "ä" };
    const handle = await tasks.trigger("hello/x y", payload, { tags: ["t1", `v${version}`], metadata: { a: 1 } });
    assert.match(handle.id, /^run_/);
    assert.deepEqual(claims(handle.publicAccessToken).scopes, [`read:runs:${handle.id}`, `write:inputStreams:${handle.id}`]);
    const run = await runs.poll(handle, { pollIntervalMs: 100 });
    assert.equal(run.status, "COMPLETED");
    assert.deepEqual(run.output.list, [1, 2.5, null, "ä"]);
    assert.equal(run.output.heard.when, "1970-01-01T00:00:00.000Z");
    assert.deepEqual(run.tags.sort(), ["t1", `v${version}`]);
    assert.deepEqual(run.metadata, { a: 1 });
  });
  await row("POST /api/v1/tasks/{taskId}/trigger", "tasks.trigger: text, date, unknown task", async () => {
    const said = await runs.poll(await tasks.trigger("echo-text", "a text"), { pollIntervalMs: 100 });
    assert.equal(said.output, "a text");
    const dated = await runs.poll(await tasks.trigger("dated", new Date(0)), { pollIntervalMs: 100 });
    assert.match(dated.output, /^1970-01-01T00:00:00/);
    const began = Date.now();
    await assert.rejects(tasks.trigger("mail", "no number").then((one) => one), (error) => [400, 422].includes(error.status));
    assert.ok(Date.now() - began < 900, "a refusal was tried again");
  });
  await row("POST /api/v1/tasks/{taskId}/trigger", "with an _sk_ key", async () => {
    await auth.withAuth({ accessToken: additional, baseURL: url }, async () => {
      const handle = await tasks.trigger("echo-text", "other key");
      assert.ok(claims(handle.publicAccessToken).pub);
      const run = await auth.withAuth({ accessToken: handle.publicAccessToken, baseURL: url }, () => runs.retrieve(handle.id));
      assert.equal(run.id, handle.id);
    });
  });
  await row("POST /api/v1/tasks/{taskId}/trigger", "options: delay, queue, priority, machine, ttl", async () => {
    const handle = await tasks.trigger("mail", 1, {
      delay: "1h", queue: "mails", concurrencyKey: "org", ttl: "2h", priority: 5, maxAttempts: 2, maxDuration: 60, machine: "small-1x",
    });
    const run = await runs.retrieve(handle.id);
    assert.equal(run.status, "DELAYED");
    assert.ok(run.delayedUntil > new Date());
    await runs.cancel(handle.id);
  });
  await row("POST /api/v1/tasks/{taskId}/trigger", "debounce", async () => {
    const debounce = { key: `d-${version}`, delay: "1h" };
    const first = await tasks.trigger("mail", 1, { debounce });
    const second = await tasks.trigger("mail", 2, { debounce });
    assert.equal(first.id, second.id);
    await runs.cancel(first.id);
  });
  let batchId;
  await row("POST /api/v3/batches", "tasks.batchTrigger", async () => {
    const made = await tasks.batchTrigger("mail", [1, 2, 3].map((payload) => ({ payload, options: { tags: ["b"] } })));
    batchId = made.batchId;
    assert.equal(made.runCount, 3);
    assert.ok(claims(made.publicAccessToken).scopes.includes(`read:batch:${batchId}`));
  });
  // As in an app whose tasks were TypeScript once: what it calls is the id, what runs is Python.
  const mail = sdk.task({ id: "mail", run: () => assert.fail("ran in Node") });
  const echo = sdk.task({ id: "echo-text", run: () => assert.fail("ran in Node") });
  await row("POST /api/v1/tasks/{taskId}/trigger", "task.trigger, task.batchTrigger", async () => {
    assert.equal((await runs.poll(await mail.trigger(6), { pollIntervalMs: 100 })).output, 12);
    assert.equal((await mail.batchTrigger([{ payload: 1 }])).runCount, 1);
  });
  await row("POST /api/v3/batches/{id}/items", "batch.triggerByTask", async () => {
    const made = await batch.triggerByTask([{ task: mail, payload: 4 }, { task: echo, payload: "five" }]);
    const whole = await until(async () => {
      const found = await batch.retrieve(made.batchId);
      return found.runs.length === 2 && found;
    });
    const kinds = await Promise.all(whole.runs.map(async (id) => (await runs.retrieve(id)).taskIdentifier));
    assert.deepEqual(kinds.sort(), ["echo-text", "mail"]);
  });
  await row("POST /api/v3/batches/{id}/items", "batch.trigger; repeated key", async () => {
    const made = await batch.trigger([{ id: "mail", payload: 4 }, { id: "echo-text", payload: "five" }]);
    const whole = await until(async () => {
      const found = await batch.retrieve(made.batchId);
      return found.runs.length === 2 && found;
    });
    const outputs = await Promise.all(whole.runs.map(async (id) => (await runs.poll(id, { pollIntervalMs: 100 })).output));
    assert.deepEqual(outputs.sort(), [8, "five"].sort());
    const again = { idempotencyKey: `batch-${version}` };
    const one = await tasks.batchTrigger("mail", [{ payload: 1 }], again);
    const two = await tasks.batchTrigger("mail", [{ payload: 1 }], again);
    const found = await Promise.all([one, two].map((made) => batch.retrieve(made.batchId)));
    assert.deepEqual(found[0].runs, found[1].runs);
  });
  await row("GET /api/v2/batches/{id}", "batch.retrieve", async () => {
    const found = await until(async () => {
      const one = await batch.retrieve(batchId);
      return one.status === "COMPLETED" && one;
    });
    assert.equal(found.runCount, 3);
    assert.equal(found.runs.length, 3);
  });
  let done;
  await row("GET /api/v3/runs/{id}", "runs.retrieve, runs.poll", async () => {
    done = await runs.poll(await tasks.trigger("parent", 21), { pollIntervalMs: 100 });
    assert.equal(done.output, 42);
    assert.equal(done.payload, 21);
    const run = await runs.retrieve(done.id);
    assert.equal(run.relatedRuns.children.length, 1);
    assert.equal(run.relatedRuns.children[0].taskIdentifier, "mail");
    assert.ok(run.isCompleted && run.isSuccess && !run.isFailed);
    assert.ok(run.startedAt > new Date(1e12) && run.finishedAt >= run.startedAt);
    assert.equal(run.expiredAt, undefined);
    const failed = await runs.poll(await tasks.trigger("fails", "why", { maxAttempts: 1 }), { pollIntervalMs: 100 });
    assert.equal(failed.status, "FAILED");
    assert.equal(failed.error.message, "why");
    const began = Date.now();
    await assert.rejects(runs.retrieve("run_none").then((one) => one), { status: 404, name: "TriggerApiError" });
    assert.ok(Date.now() - began < 900, "a 404 was tried again");
  });
  await row("GET /api/v1/runs", "runs.list", async () => {
    const all = await gather(runs.list({ limit: 2, tag: [`v${version}`] }));
    assert.equal(all.length, 1);
    const pages = await gather(runs.list({ limit: 2, taskIdentifier: ["mail"] }), (found) => found.length > 4);
    assert.equal(new Set(pages.map((run) => run.id)).size, 5);
    assert.ok(pages.every((run) => run.taskIdentifier === "mail" && run.env.name));
    const many = await runs.list({ status: ["FAILED"], from: new Date(Date.now() - 6e5), to: new Date(), isTest: false });
    assert.ok(many.data.length >= 1);
    assert.ok((await runs.list({ period: "1d", queue: { type: "custom", name: "mails" } })).data.length >= 1);
    assert.equal((await runs.list({ batch: batchId })).data.length, 3);
  });
  await row("POST /api/v2/runs/{id}/cancel", "runs.cancel", async () => {
    const handle = await tasks.trigger("mail", 1, { delay: "1h" });
    assert.equal((await runs.cancel(handle.id)).id, handle.id);
    assert.equal((await runs.cancel(handle.id)).id, handle.id);
    assert.equal((await runs.retrieve(handle.id)).status, "CANCELED");
  });
  await row("POST /api/v1/runs/{id}/replay", "runs.replay", async () => {
    const again = await runs.replay(done.id);
    assert.notEqual(again.id, done.id);
    assert.equal((await runs.poll(again.id, { pollIntervalMs: 100 })).output, 42);
    if (newer) {
      const other = await runs.replay(done.id, { payload: 5, tags: ["replayed"] });
      const run = await runs.poll(other.id, { pollIntervalMs: 100 });
      assert.equal(run.output, 10);
      assert.deepEqual(run.tags, ["replayed"]);
    }
  });
  await row("POST /api/v1/runs/{id}/reschedule", "runs.reschedule", async () => {
    const handle = await tasks.trigger("mail", 1, { delay: "1h" });
    const when = new Date(Date.now() + 7200e3);
    const run = await runs.reschedule(handle.id, { delay: when });
    assert.equal(run.delayedUntil.getTime(), when.getTime());
    await runs.cancel(handle.id);
    await assert.rejects(runs.reschedule(done.id, { delay: "1h" }).then((one) => one), { status: 422 });
  });
  await row("POST /api/v1/idempotencyKeys/{key}/reset", "idempotencyKeys.reset", async () => {
    const options = { idempotencyKey: `once-${version}` };
    const first = await tasks.trigger("mail", 1, options);
    const second = await tasks.trigger("mail", 1, options);
    assert.equal(second.id, first.id);
    assert.equal((await runs.retrieve(first.id)).idempotencyKey, `once-${version}`);
    const named = await idempotencyKeys.create(`once-${version}`, { scope: "global" });
    await idempotencyKeys.reset("mail", named);
    assert.notEqual((await tasks.trigger("mail", 1, options)).id, first.id);
  });
  await row("POST /api/v1/auth/jwt/claims", "auth.createPublicToken, createTriggerPublicToken", async () => {
    const token = await auth.createPublicToken({ scopes: { read: { runs: [done.id] } } });
    assert.equal(claims(token).pub, true);
    await auth.withAuth({ accessToken: token, baseURL: url }, async () => {
      assert.equal((await runs.retrieve(done.id)).output, 42);
      await assert.rejects(runs.list().then((one) => one), { status: 403 });
    });
    const once = await auth.createTriggerPublicToken("mail");
    await auth.withAuth({ accessToken: once, baseURL: url }, async () => {
      await tasks.trigger("mail", 1);
      await assert.rejects(tasks.trigger("mail", 1).then((one) => one), { status: 422 });
    });
    const often = await auth.createTriggerPublicToken("mail", { multipleUse: true });
    await auth.withAuth({ accessToken: often, baseURL: url }, async () => {
      assert.notEqual((await tasks.trigger("mail", 1)).id, (await tasks.trigger("mail", 1)).id);
      await assert.rejects(tasks.trigger("dated", new Date(0)).then((one) => one), { status: 403 });
    });
  });
  await row("POST /api/v3/batches", "a token for batches, used once", async () => {
    const many = await auth.createBatchTriggerPublicToken("mail");
    assert.deepEqual(claims(many).scopes, ["batchTrigger:tasks:mail"]);
    await auth.withAuth({ accessToken: many, baseURL: url }, async () => {
      const made = await tasks.batchTrigger("mail", [{ payload: 8 }, { payload: 9 }]);
      const read = { accessToken: made.publicAccessToken, baseURL: url };
      assert.equal((await auth.withAuth(read, () => batch.retrieve(made.batchId))).runCount, 2);
      await assert.rejects(tasks.batchTrigger("mail", [{ payload: 8 }]).then((one) => one), (error) => error.cause?.status === 422 || error.status === 422);
    });
  });
  await row("POST /api/v1/tasks/{taskId}/trigger", "auth.withPublicToken, .withTriggerPublicToken, .withBatchTriggerPublicToken", async () => {
    let seen;
    await auth.withPublicToken({ scopes: { read: { runs: [done.id] } } }, async () => { seen = await runs.retrieve(done.id); });
    assert.equal(seen.output, 42);
    await auth.withTriggerPublicToken("mail", { expirationTime: "5m" }, async () => { seen = await tasks.trigger("mail", 1); });
    assert.match(seen.id, /^run_/);
    await auth.withBatchTriggerPublicToken("mail", { expirationTime: "5m" }, async () => { seen = await tasks.batchTrigger("mail", [{ payload: 1 }]); });
    assert.match(seen.batchId, /^batch_/);
  });
  await row("POST /api/v1/tasks/{taskId}/trigger", "TriggerClient", async () => {
    const own = new sdk.TriggerClient({ accessToken: key, baseURL: url });
    const handle = await own.tasks.trigger("mail", 11);
    assert.equal((await own.runs.poll(handle.id, { pollIntervalMs: 100 })).output, 22);
  });
  await row("POST /api/v1/auth/public-tokens", "the same with an _sk_ key", async () => {
    await auth.withAuth({ accessToken: additional, baseURL: url }, async () => {
      const token = await auth.createPublicToken({ scopes: { read: { runs: [done.id] } }, expirationTime: "1h" });
      const run = await auth.withAuth({ accessToken: token, baseURL: url }, () => runs.retrieve(done.id));
      assert.equal(run.id, done.id);
    });
  });
  const big = "x".repeat(300_000);
  let stored;
  await row("PUT /api/v2/packets/{path}", "tasks.trigger with a large payload", async () => {
    const handle = await tasks.trigger("large", big);
    stored = await runs.poll(handle.id, { pollIntervalMs: 200 });
    assert.equal(stored.output, `${big}!`);
    assert.equal(stored.payload, big);
    const object = await tasks.trigger("hello/x y", { big });
    assert.equal((await runs.poll(object.id, { pollIntervalMs: 200 })).output.heard.big, big);
  });
  await row("GET /api/v1/packets/{path}", "download of a stored value", async () => {
    const packet = { data: big, dataType: "text/plain" };
    const path = `compat/${version}/value.txt`;
    const { presignedUrl } = await client.createUploadPayloadUrl(path);
    assert.equal((await fetch(presignedUrl, { method: "PUT", body: big, headers: { "content-type": packet.dataType } })).ok, true);
    const found = await client.getPayloadUrl(path);
    const answer = await fetch(found.presignedUrl);
    assert.equal(answer.headers.get("content-type"), "text/plain");
    assert.equal(await answer.text(), big);
  });
  await row("GET /api/v1/runs/{id}/packets/{field}", "output of a run", async () => {
    const { body } = await ask("GET", `/api/v1/runs/${stored.id}/packets/output`);
    const answer = await fetch(body.presignedUrl);
    assert.equal(await answer.json(), `${big}!`);
    if (newer) assert.ok((await client.getRunPacketUrl(stored.id, "output", "")).presignedUrl);
  });
  await row("GET /api/v1/runs/{id}/result", "ApiClient.getRunResult", async () => {
    const result = await client.getRunResult(done.id);
    assert.equal(result.ok, true);
    assert.equal(result.id, done.id);
    assert.equal(JSON.parse(result.output), 42);
  });
  await row("GET /api/v1/batches/{id}/results", "ApiClient.getBatchResults", async () => {
    const results = await until(async () => {
      const found = await client.getBatchResults(batchId);
      return found.items.length === 3 && found;
    });
    assert.deepEqual(results.items.map((one) => JSON.parse(one.output)).sort(), [2, 4, 6]);
  });
  await row("GET /api/v1/projects/{ref}/runs", "runs.list(projectRef)", async () => {
    const page = await runs.list(project, { env: "dev", limit: 2 });
    assert.equal(page.data.length, 2);
  });
  await row("GET /api/v1/runs/{id}/events", "ApiClient.listRunEvents", async () => {
    const found = await client.listRunEvents(done.id);
    assert.deepEqual(found.events, []); // rescues and moves: this run had none
  });
  let span;
  await row("GET /api/v1/runs/{id}/trace", "ApiClient.retrieveRunTrace", async () => {
    const { trace } = await client.retrieveRunTrace(done.id);
    assert.equal(trace.rootSpan.runId, done.id);
    assert.ok(trace.rootSpan.children.length >= 1);
    span = trace.rootSpan.id;
  });
  await row("GET /api/v1/runs/{id}/spans/{span}", "ApiClient.retrieveSpan", async () => {
    const found = await client.retrieveSpan(done.id, span);
    assert.equal(found.spanId, span);
    assert.equal(found.runId, done.id);
  });
  await row("POST /api/v2/tasks/batch", "batch trigger of SDKs before 4.3", async () => {
    const item = { task: "mail", payload: '{"json":7}', options: { payloadType: "application/super+json" } };
    const { status, body } = await ask("POST", "/api/v2/tasks/batch", { items: [item, item] });
    assert.equal(status, 202);
    assert.equal(body.runCount, 2);
    const found = await batch.retrieve(body.id);
    assert.equal((await runs.poll(found.runs[0], { pollIntervalMs: 100 })).output, 14);
  });
}
