// What a backend gives to the page with every hook: runs, and for each hook a token that opens no more.

export async function props(sdk, url, version) {
  const { auth, batch, runs, tasks, wait } = sdk;
  const tag = `page${version}`;
  const ticking = await tasks.trigger("ticks", 2);
  const telling = await tasks.trigger("tells", 2);
  const done = await runs.poll(await tasks.trigger("mail", 21), { pollIntervalMs: 200 });
  const tagged = await tasks.trigger("ticks", 1, { tags: [tag] });
  const made = await batch.trigger([{ id: "mail", payload: 1 }, { id: "ticks", payload: 1 }]);
  const token = await wait.createToken();
  const approval = await tasks.trigger("approval", token.id);
  const read = (scopes) => auth.createPublicToken({ scopes: { read: scopes } });
  return {
    url,
    tag,
    ticking: { id: ticking.id, token: ticking.publicAccessToken },
    telling: { id: telling.id, token: telling.publicAccessToken },
    done: { id: done.id, token: await read({ runs: [done.id] }) },
    tagged: { id: tagged.id, token: await read({ tags: [tag] }) },
    batch: { id: made.batchId, token: await read({ batch: [made.batchId] }) },
    wait: { id: token.id, token: token.publicAccessToken },
    approval: { id: approval.id, token: approval.publicAccessToken },
    once: await auth.createTriggerPublicToken("mail", { expirationTime: "1h" }),
    followed: await auth.createTriggerPublicToken("ticks", { expirationTime: "1h" }),
    streamed: await auth.createTriggerPublicToken("tells", { expirationTime: "1h" }),
  };
}
