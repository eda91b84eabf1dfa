// Schedules, waitpoint tokens, queues, environment variables, deployments and bulk actions.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { gather, row, until } from "./proof.mjs";

export async function prove({ sdk, url, project, version, newer, key, ask }) {
  const { auth, deployments, envvars, queues, runs, schedules, tasks, wait, webhooks } = sdk;

  let schedule;
  const wanted = { task: "clock", cron: "0 9 * * 1-5", timezone: "Europe/Berlin", externalId: "org_1", deduplicationKey: `s-${version}` };
  await row("POST /api/v1/schedules", "schedules.create", async () => {
    schedule = await schedules.create(wanted);
    assert.equal((await schedules.create(wanted)).id, schedule.id);
    assert.deepEqual(
      [schedule.type, schedule.task, schedule.active, schedule.timezone, schedule.externalId, schedule.generator.expression],
      ["IMPERATIVE", "clock", true, "Europe/Berlin", "org_1", "0 9 * * 1-5"],
    );
    assert.ok(schedule.nextRun > new Date());
    await assert.rejects(schedules.create({ ...wanted, cron: "no cron" }).then((one) => one), { status: 422 });
  });
  await row("GET /api/v1/schedules", "schedules.list", async () => {
    const all = await gather(schedules.list({ perPage: 1 }));
    assert.ok(all.some((one) => one.id === schedule.id));
  });
  await row("GET /api/v1/schedules/{id}", "schedules.retrieve", async () => {
    assert.equal((await schedules.retrieve(schedule.id)).deduplicationKey, `s-${version}`);
    await assert.rejects(schedules.retrieve("sched_none").then((one) => one), { status: 404 });
  });
  await row("PUT /api/v1/schedules/{id}", "schedules.update", async () => {
    const changed = await schedules.update(schedule.id, { task: "clock", cron: "0 10 * * *", externalId: "org_2" });
    assert.equal(changed.generator.expression, "0 10 * * *");
    assert.equal(changed.externalId, "org_2");
  });
  await row("POST /api/v1/schedules/{id}/deactivate", "schedules.deactivate", async () => {
    assert.equal((await schedules.deactivate(schedule.id)).active, false);
  });
  await row("POST /api/v1/schedules/{id}/activate", "schedules.activate", async () => {
    assert.equal((await schedules.activate(schedule.id)).active, true);
  });
  await row("DELETE /api/v1/schedules/{id}", "schedules.del", async () => {
    assert.equal((await schedules.del(schedule.id)).id, schedule.id);
    await assert.rejects(schedules.retrieve(schedule.id).then((one) => one), { status: 404 });
  });
  await row("GET /api/v1/timezones", "schedules.timezones", async () => {
    const { timezones } = await schedules.timezones();
    assert.ok(timezones.includes("UTC") && timezones.includes("America/New_York"));
    assert.ok(!(await schedules.timezones({ excludeUtc: true })).timezones.includes("UTC"));
  });

  let token;
  await row("POST /api/v1/waitpoints/tokens", "wait.createToken", async () => {
    token = await wait.createToken({ timeout: "1h", tags: ["w", `w${version}`], idempotencyKey: `w-${version}` });
    assert.equal(token.isCached, false);
    assert.ok(token.publicAccessToken && token.url.startsWith("http"));
    const again = await wait.createToken({ timeout: "1h", idempotencyKey: `w-${version}` });
    assert.deepEqual([again.id, again.isCached], [token.id, true]);
  });
  await row("GET /api/v1/waitpoints/tokens", "wait.listTokens", async () => {
    const all = await gather(wait.listTokens({ tags: [`w${version}`], status: ["WAITING"], limit: 1 }));
    assert.deepEqual(all.map((one) => one.id), [token.id]);
    assert.equal(all[0].completedAt, undefined);
  });
  await row("GET /api/v1/waitpoints/tokens/{id}", "wait.retrieveToken", async () => {
    const found = await wait.retrieveToken(token);
    assert.equal(found.status, "WAITING");
    assert.ok(found.timeoutAt > new Date());
    assert.equal(found.idempotencyKey, `w-${version}`);
  });
  await row("POST /api/v1/waitpoints/tokens/{id}/complete", "wait.completeToken", async () => {
    const handle = await tasks.trigger("approval", token.id);
    await auth.withAuth({ accessToken: token.publicAccessToken, baseURL: url }, async () => {
      assert.equal((await wait.completeToken(token.id, { approved: true })).success, true);
    });
    assert.equal((await wait.completeToken(token.id, { approved: false })).success, true);
    const run = await runs.poll(handle.id, { pollIntervalMs: 100 });
    assert.deepEqual(run.output, { approved: true });
    const found = await wait.retrieveToken(token.id);
    assert.deepEqual([found.status, found.output], ["COMPLETED", { approved: true }]);
  });
  await row("POST /api/v1/waitpoints/tokens/{id}/callback/{hash}", "a third party", async () => {
    const called = await wait.createToken();
    const answer = await fetch(called.url, { method: "POST", body: '{"from":"outside"}', headers: { "content-type": "application/json" } });
    assert.deepEqual([answer.status, await answer.json()], [200, { success: true }]);
    assert.deepEqual((await wait.retrieveToken(called.id)).output, { from: "outside" });
    const wrong = await fetch(`${called.url.slice(0, -4)}0000`, { method: "POST", body: "{}" });
    assert.equal(wrong.status, 401);
  });

  const mails = { type: "custom", name: "mails" };
  let queue;
  await row("GET /api/v1/queues", "queues.list", async () => {
    const all = await gather(queues.list({ perPage: 2 }));
    assert.ok(all.some((one) => one.name === "hello/x y" && one.type === "task"));
    queue = all.find((one) => one.name === "mails");
    assert.deepEqual([queue.type, queue.paused, queue.concurrencyLimit], ["custom", false, 3]);
  });
  await row("GET /api/v1/queues/{queue}", "queues.retrieve", async () => {
    assert.equal((await queues.retrieve({ type: "task", name: "hello/x y" })).name, "hello/x y");
    assert.equal((await queues.retrieve(queue.id)).name, "mails");
    await assert.rejects(queues.retrieve({ type: "custom", name: "none" }).then((one) => one), { status: 404 });
  });
  await row("POST /api/v1/queues/{queue}/pause", "queues.pause, queues.resume", async () => {
    assert.equal((await queues.pause(mails)).paused, true);
    assert.equal((await queues.resume(mails)).paused, false);
  });
  await row("POST /api/v1/queues/{queue}/concurrency/override", "queues.overrideConcurrencyLimit", async () => {
    const changed = await queues.overrideConcurrencyLimit(mails, 2);
    assert.deepEqual([changed.concurrencyLimit, changed.concurrency.base, changed.concurrency.override], [2, 3, 2]);
  });
  await row("POST /api/v1/queues/{queue}/concurrency/reset", "queues.resetConcurrencyLimit", async () => {
    assert.equal((await queues.resetConcurrencyLimit(mails)).concurrencyLimit, 3);
  });

  const name = `COMPAT_${version.replaceAll(".", "_")}`;
  const at = [project, "dev"];
  await row("POST /api/v1/projects/{ref}/envvars/{env}", "envvars.create", async () => {
    assert.equal((await envvars.create(...at, { name, value: "one" })).success, true);
  });
  await row("GET /api/v1/projects/{ref}/envvars/{env}", "envvars.list", async () => {
    const all = await envvars.list(...at);
    assert.equal(all.find((one) => one.name === name).value, "one");
  });
  await row("GET /api/v1/projects/{ref}/envvars/{env}/{name}", "envvars.retrieve", async () => {
    assert.equal((await envvars.retrieve(...at, name)).value, "one");
  });
  await row("PUT /api/v1/projects/{ref}/envvars/{env}/{name}", "ApiClient.updateEnvVar (the SDK's update fails before it asks)", async () => {
    const { status, body } = await ask("PUT", `/api/v1/projects/${project}/envvars/dev/${name}`, { value: "two" });
    assert.deepEqual([status, body], [200, { success: true }]);
  });
  await row("POST /api/v1/projects/{ref}/envvars/{env}/import", "envvars.upload", async () => {
    const done = await envvars.upload(...at, { variables: { [`${name}_B`]: "b" }, override: true });
    assert.equal(done.success, true);
  });
  await row("DELETE /api/v1/projects/{ref}/envvars/{env}/{name}", "envvars.del", async () => {
    assert.equal((await envvars.del(...at, name)).success, true);
    await assert.rejects(envvars.retrieve(...at, name).then((one) => one), { status: 404 });
  });

  await row("GET /api/v1/deployments", "deployments.list", async () => {
    const all = await gather(deployments.list({ status: "DEPLOYED" }));
    assert.equal(all[0].status, "DEPLOYED");
    assert.ok(all[0].version && all[0].shortCode && all[0].createdAt);
  });
  await row("GET /api/v1/deployments/current", "deployments.retrieveCurrent", async () => {
    const current = await deployments.retrieveCurrent();
    assert.ok(current.id && current.version);
  });

  await row("POST /api/outlast/v1/alerts", "webhooks.constructEvent", async () => {
    const posted = [];
    const site = createServer(async (request, response) => {
      const chunks = await gather(request);
      posted.push([Buffer.concat(chunks).toString(), request.headers["x-trigger-signature-hmacsha256"]]);
      response.end();
    });
    await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
    const address = `http://127.0.0.1:${site.address().port}/`;
    const types = ["alert.run.failed", "alert.error"];
    const { body: alert } = await ask("POST", "/api/outlast/v1/alerts", { name: "compat", channel: "webhook", address, types });
    try {
      assert.equal((await ask("POST", `/api/outlast/v1/alerts/${alert.id}/test`)).body.delivered, true);
      const handle = await tasks.trigger("fails", `alert ${version}`);
      await until(() => posted.some(([body]) => body.includes(handle.id)));
      for (const [body, header] of posted) {
        const event = await webhooks.constructEvent({ payload: body, header }, alert.secret);
        assert.ok(types.includes(event.type));
        assert.ok(event.created instanceof Date);
        await assert.rejects(webhooks.constructEvent({ payload: `${body} `, header }, alert.secret), { name: "WebhookError" });
      }
      assert.ok(posted.length >= 2);
    } finally {
      await ask("DELETE", `/api/outlast/v1/alerts/${alert.id}`);
      site.close();
    }
  });

  let bulk;
  await row("POST /api/v1/bulk-actions", "runs.bulk.cancel, runs.bulk.replay", async () => {
    const handle = await tasks.trigger("mail", 1, { delay: "1h", tags: [`bulk${version}`] });
    bulk = await runs.bulk.cancel({ runIds: [handle.id], name: "compat" });
    await until(async () => (await runs.retrieve(handle.id)).status === "CANCELED");
    const again = await runs.bulk.replay({ filter: { tag: `bulk${version}` } });
    assert.ok(again.id);
  });
  await row("GET /api/v1/bulk-actions", "runs.bulk.list", async () => {
    assert.ok((await gather(runs.bulk.list({ limit: 1 }))).some((one) => one.id === bulk.id));
  });
  await row("GET /api/v1/bulk-actions/{id}", "runs.bulk.retrieve, runs.bulk.poll", async () => {
    const found = await runs.bulk.poll(bulk.id, { pollIntervalMs: 100 });
    assert.deepEqual([found.type, found.status, found.counts.success, found.name], ["CANCEL", "COMPLETED", 1, "compat"]);
  });
  await row("POST /api/v1/bulk-actions/{id}/abort", "runs.bulk.abort", async () => {
    const handle = await tasks.trigger("mail", 1, { delay: "1h" });
    const other = await runs.bulk.cancel({ runIds: [handle.id] });
    // Aborting what is already done is refused plainly; either answer must be a clean one.
    try {
      assert.equal((await runs.bulk.abort(other.id)).id, other.id);
    } catch (error) {
      assert.equal(error.status, 422, error.message);
    }
    assert.match((await runs.bulk.poll(other.id, { pollIntervalMs: 100 })).status, /ABORTED|COMPLETED/);
  });
}
