// Every React hook, rendered by React in jsdom, with the tokens that a page would hold.
import assert from "node:assert/strict";
import { JSDOM } from "jsdom";
import { row, until } from "./proof.mjs";

export async function prove({ sdk, url, version }) {
  const { auth, batch, runs, streams, tasks, wait } = sdk;
  const orders = streams.input({ id: "orders" });
  const driven = new Set();
  const readable = (scopes) => auth.createPublicToken({ scopes });
  // What only the backend may do comes first: with a document there, the SDK says it is a browser.
  const ticking = await tasks.trigger("ticks", 2);
  const telling = await tasks.trigger("tells", 2);
  const done = await runs.poll(await tasks.trigger("mail", 21), { pollIntervalMs: 100 });
  const made = await batch.trigger([{ id: "mail", payload: 1 }, { id: "mail", payload: 2 }]);
  const tag = `hooks${version}`;
  await tasks.trigger("mail", 8, { tags: [tag] });
  const token = await wait.createToken();
  const sending = await tasks.trigger("ticks", 1);
  const triggering = await auth.createTriggerPublicToken("mail");
  // Their tokens of one second are the same text unless something in them differs.
  const following = await auth.createTriggerPublicToken("mail", { expirationTime: "2h" });
  const streaming = await auth.createTriggerPublicToken("tells");
  const tagToken = await readable({ read: { tags: [tag] } });
  const batchToken = await readable({ read: { batch: [made.batchId] } });
  const doneToken = await readable({ read: { runs: [done.id] } });

  const dom = new JSDOM("<!doctype html><div id=root></div>", { url: "http://localhost/" });
  globalThis.window = dom.window;
  globalThis.document = dom.window.document;
  globalThis.navigator ??= dom.window.navigator;
  const { createElement } = await import("react");
  const { createRoot } = await import("react-dom/client");
  const hooks = await import(`hooks-${version}`);

  // In a page too nobody holds the promise behind a submit that is refused.
  const refused = [];
  const ended = [];
  const heard = [];
  process.on("unhandledRejection", (error) => refused.push(error.status));

  /** Render a component around a hook and keep what the hook gave last. */
  const watch = (useHook, provided) => {
    const seen = [];
    const root = createRoot(dom.window.document.createElement("div"));
    const inner = createElement(() => {
      seen.push(useHook());
      return null;
    });
    root.render(provided ? createElement(hooks.TriggerAuthContext.Provider, { value: provided }, inner) : inner);
    return { seen, get last() { return seen.at(-1); }, close: () => root.unmount() };
  };
  const hook = (endpoint, name, useHook, play, provided) => {
    for (const [used] of name.matchAll(/use\w+/g)) driven.add(used);
    return row(endpoint, name, async () => {
      const page = watch(useHook, provided);
      try {
        await until(() => page.last);
        await play(page);
      } finally {
        page.close();
      }
    });
  };
  const as = (accessToken) => ({ accessToken, baseURL: url });

  await hook("GET /realtime/v1/runs/{id}", "useRealtimeRun",
    () => hooks.useRealtimeRun(ticking.id, as(ticking.publicAccessToken)), async (page) => {
      await until(() => page.last.run);
      for (const tick of [1, 2]) {
        await orders.send(ticking.id, { tick: String(tick) });
        await until(() => page.last.run.metadata?.progress === tick);
      }
      await until(() => page.last.run.isCompleted);
      assert.deepEqual([page.last.run.output, page.last.error], [2, undefined]);
    });
  await hook("GET /realtime/v1/runs", "useRealtimeRunsWithTag",
    () => hooks.useRealtimeRunsWithTag(tag, as(tagToken)), async (page) => {
      await until(() => page.last.runs?.[0]?.isCompleted);
      assert.deepEqual(page.last.runs.map((run) => run.output), [16]);
    });
  await hook("GET /realtime/v1/batches/{id}", "useRealtimeBatch",
    () => hooks.useRealtimeBatch(made.batchId, as(batchToken)), async (page) => {
      await until(() => page.last.runs?.filter((run) => run.isCompleted).length === 2);
      assert.deepEqual(page.last.runs.map((run) => run.output).sort(), [2, 4]);
    });
  await hook("GET /realtime/v1/streams/{runId}/{key}", "useRealtimeStream",
    () => hooks.useRealtimeStream(telling.id, "words", as(telling.publicAccessToken)), async (page) => {
      await until(() => page.last.parts?.length === 2);
      assert.deepEqual(page.last.parts, [{ n: 0 }, { n: 1 }]);
    });
  await hook("GET /realtime/v1/streams/{runId}/{key}", "useRealtimeRunWithStreams",
    () => hooks.useRealtimeRunWithStreams(telling.id, as(telling.publicAccessToken)), async (page) => {
      await until(() => page.last.streams?.words?.length === 2);
      await orders.send(telling.id, { dish: "bill" });
      await until(() => page.last.run?.isCompleted);
      assert.deepEqual(page.last.streams.words, [{ n: 0 }, { n: 1 }]);
    });
  await hook("GET /api/v3/runs/{id}", "useRun",
    () => hooks.useRun(done.id, as(doneToken)), async (page) => {
      await until(() => page.last.run);
      assert.equal(page.last.run.output, 42);
    });
  await hook("POST /api/v1/tasks/{taskId}/trigger", "useTaskTrigger, once",
    () => hooks.useTaskTrigger("mail", as(triggering)), async (page) => {
      page.last.submit(5);
      await until(() => page.last.handle);
      const { handle } = page.last;
      const run = await auth.withAuth(as(handle.publicAccessToken), () => runs.poll(handle.id, { pollIntervalMs: 100 }));
      assert.equal(run.output, 10);
      page.last.submit(6);
      assert.equal((await until(() => page.last.error)).status, 422);
      await until(() => refused.length);
    });
  await hook("GET /realtime/v1/runs/{id}", "useRealtimeTaskTrigger",
    () => hooks.useRealtimeTaskTrigger("mail", as(following)), async (page) => {
      page.last.submit(7);
      await until(() => page.last.run?.isCompleted);
      assert.equal(page.last.run.output, 14);
    });
  await hook("GET /realtime/v1/streams/{runId}/{key}", "useRealtimeTaskTriggerWithStreams",
    () => hooks.useRealtimeTaskTriggerWithStreams("tells", as(streaming)), async (page) => {
      page.last.submit(2);
      await until(() => page.last.streams?.words?.length === 2);
      await orders.send(page.last.run.id, { dish: "bill" });
      await until(() => page.last.run?.isCompleted);
    });
  await hook("POST /api/v1/waitpoints/tokens/{id}/complete", "useWaitToken",
    () => hooks.useWaitToken(token.id, as(token.publicAccessToken)), async (page) => {
      page.last.complete({ approved: true });
      await until(() => page.last.isCompleted);
      assert.deepEqual((await wait.retrieveToken(token.id)).output, { approved: true });
    });
  await hook("POST /realtime/v1/streams/{runId}/input/{key}", "useInputStreamSend",
    () => hooks.useInputStreamSend("orders", sending.id, as(sending.publicAccessToken)), async (page) => {
      await until(() => page.last.isReady);
      page.last.send({ tick: "1" });
      assert.equal((await runs.poll(sending.id, { pollIntervalMs: 100 })).output, 1);
    });
  await hook("GET /realtime/v1/runs/{id}", "useRealtimeRun: tokens from TriggerAuthContext, stop, onComplete, skipColumns",
    () => hooks.useRealtimeRun(done.id, { skipColumns: ["payload"], onComplete: (run) => ended.push(run.output) }), async (page) => {
      await until(() => page.last.run && ended.length);
      assert.deepEqual([page.last.run.payload, page.last.run.output, ended], [undefined, 42, [42]]);
      page.last.stop();
    }, as(doneToken));
  await hook("GET /api/v3/runs/{id}", "useApiClient, useTriggerAuthContext, useTriggerAuthContextOptional",
    () => [hooks.useApiClient(), hooks.useTriggerAuthContext(), hooks.useTriggerAuthContextOptional()], async (page) => {
      const [client, ...contexts] = page.last;
      assert.equal((await client.retrieveRun(done.id)).output, 42);
      assert.deepEqual(contexts, [as(doneToken), as(doneToken)]);
    }, as(doneToken));
  await hook("GET /realtime/v1/streams/{runId}/{key}", "useRealtimeStream from an index, with onData",
    () => hooks.useRealtimeStream(telling.id, "words", { ...as(telling.publicAccessToken), startIndex: 1, onData: (part) => heard.push(part) }),
    async (page) => {
      await until(() => page.last.parts?.length === 1);
      assert.deepEqual([page.last.parts, heard], [[{ n: 1 }], [{ n: 1 }]]);
    });
  await hook("GET /realtime/v1/runs/{id}", "useRealtimeRun with a token of another run",
    () => hooks.useRealtimeRun(sending.id, as(doneToken)), async (page) => {
      await until(() => page.last.error);
      assert.deepEqual([page.last.run, page.last.error.status], [undefined, 403]);
    });
  if (hooks.useSessionStream) {
    await hook("GET /realtime/v1/sessions/{id}/out", "useSessionStream says that there are none",
      () => hooks.useSessionStream("chat-1", as(doneToken)), async (page) => {
        await until(() => page.last.error);
        assert.equal(page.last.error.status, 404);
      });
    await hook("GET /realtime/v1/sessions/{id}/channels/{name}/out", "useSessionStreamChannel says that there are none",
      () => hooks.useSessionStreamChannel("chat", { sessionId: "chat-1", ...as(doneToken) }), async (page) => {
        await until(() => page.last.error);
        assert.equal(page.last.error.status, 404);
      });
  }
  const there = Object.keys(hooks).filter((name) => name.startsWith("use"));
  assert.deepEqual(there.filter((name) => !driven.has(name)), [], "hooks that nothing drives");
  assert.deepEqual([...new Set(refused)], [422]);
  dom.window.close();
}
