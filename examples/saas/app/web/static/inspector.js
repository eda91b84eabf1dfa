// The inspector: starts an export, follows its run, and keeps the rest of the page fresh.

const POLL = 1000;
const byId = (id) => document.getElementById(id);
const panel = byId("run");
let following; // ends what is asked about the run that is shown

/** Start today's export; returns the run, or throws what the app says. */
async function startExport() {
  const answer = await fetch("/api/exports", { method: "POST" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

/**
 * Follow a run until it ends. Whichever tab has the lock listens to server-sent events, all others
 * poll: a browser opens six connections to a server, and streams of many tabs would take them all.
 */
function follow(run) {
  following?.abort();
  const ours = (following = new AbortController());
  const { signal } = ours;
  const told = (state) => {
    if (show(state)) ours.abort();
  };
  panel.dataset.run = run;
  const poll = polling(run, told, signal);
  poll.start();
  const wantsEvents = !new URLSearchParams(location.search).has("poll");
  if (!wantsEvents || !window.EventSource || !navigator.locks) return;
  const listened = () => listen(run, told, poll, signal);
  navigator.locks.request("run-events", { signal }, listened).catch(() => {}); // the wait was aborted
}

/** Listen until `signal`; returns a promise of the end. While the stream is broken, poll. */
function listen(run, told, poll, signal) {
  return new Promise((done) => {
    if (signal.aborted) return done();
    poll.stop();
    const source = new EventSource(`/api/exports/${run}/events`);
    const end = () => {
      source.close();
      done();
    };
    signal.addEventListener("abort", end);
    source.onmessage = (event) => {
      poll.stop();
      byId("run-how").textContent = "live";
      told(JSON.parse(event.data));
    };
    source.onerror = () => {
      if (signal.aborted) return;
      poll.start();
      if (source.readyState === EventSource.CLOSED) end(); // else the browser connects anew
    };
  });
}

/** Return what asks for a run again and again while it is started, and forgets late answers. */
function polling(run, told, signal) {
  let timer = 0;
  let asking = null;
  const stop = () => {
    clearTimeout(timer);
    asking = null;
  };
  const ask = async () => {
    const mine = (asking = {});
    byId("run-how").textContent = "polling";
    try {
      const answer = await fetch(`/api/exports/${run}`, { signal });
      const state = answer.ok ? await answer.json() : null;
      if (asking !== mine || answer.status === 404) return;
      if (state) told(state);
    } catch {
      // The app restarts; ask again.
    }
    if (asking === mine && !signal.aborted) timer = setTimeout(ask, POLL);
  };
  signal.addEventListener("abort", stop);
  return { start: () => asking ?? ask(), stop };
}

/** Show a state; returns whether it is the last one. */
function show(run) {
  panel.hidden = false;
  const status = byId("run-status");
  status.textContent = run.status.toLowerCase().replaceAll("_", " ");
  status.className = `status ${run.status.toLowerCase()}`;
  byId("run-id").textContent = run.runId;
  byId("run-attempt").textContent = `attempt ${run.attemptCount}`;
  const bar = byId("run-bar");
  bar.max = run.pagesTotal ?? 1;
  bar.value = run.pagesDone;
  bar.classList.toggle("done", run.isSuccess);
  byId("run-pages").textContent = run.pagesTotal ? `page ${run.pagesDone} of ${run.pagesTotal}` : "";
  const end = byId("run-end");
  end.hidden = !run.isCompleted;
  end.replaceChildren();
  if (run.isCompleted) {
    byId("run-how").textContent = "ended";
    if (run.downloadUrl) {
      const link = document.createElement("a");
      link.href = new URL(run.downloadUrl).pathname;
      link.textContent = run.downloadUrl;
      end.append(line("tick", "The file is ready: ", link));
    }
    if (run.mailed !== null) {
      end.append(run.mailed ? line("tick", "The mail with the link has been sent.") : line("note", "No mail: the address is suppressed."));
    }
    if (run.error) end.append(line("bad", run.error));
    refresh();
  }
  return run.isCompleted;
}

function line(kind, ...content) {
  const made = document.createElement("p");
  made.className = kind;
  made.append(...content);
  return made;
}

/** Ask for parts of the page again, and replace those that have changed. */
async function refresh(selector = "[data-live]") {
  for (const part of document.querySelectorAll(selector)) {
    try {
      const answer = await fetch(part.dataset.live ?? part.dataset.once);
      const html = await answer.text();
      if (answer.ok && !answer.redirected && part.shown !== html) {
        part.innerHTML = html;
        part.shown = html;
      }
    } catch {
      // The app restarts; the next round asks again.
    }
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, POLL);
}

/** Click `times` at once, as an impatient hand does, and say what came of it. */
async function click(times) {
  try {
    const started = await Promise.all(Array.from({ length: times }, startExport));
    const found = new Set(started.map((one) => one.runId));
    const isNew = started.some((one) => one.isNew);
    byId("answer").textContent =
      times > 1
        ? `${times} clicks, ${found.size} run`
        : isNew
          ? "started"
          : "today's export is this one";
    follow(started[0].runId);
  } catch (error) {
    byId("answer").textContent = error.message;
  }
}

byId("export").addEventListener("click", () => click(1));
document.addEventListener("click", (event) => {
  if (event.target.id === "double-click") click(2);
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.submit();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) following?.abort();
  else if (panel.dataset.run) follow(panel.dataset.run);
});
addEventListener("pagehide", () => following?.abort());
if (panel.dataset.run && !document.hidden) follow(panel.dataset.run);
refresh("[data-once]");
keepFresh();
