// The inspector: starts an export, follows its run, and keeps the rest of the page fresh.

const POLL = 1000;
const byId = (id) => document.getElementById(id);
const panel = byId("run");
let source;
let timer;

/** Start today's export; returns the run, or throws what the app says. */
async function startExport() {
  const answer = await fetch("/api/exports", { method: "POST" });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

/** Follow a run by server-sent events; when they break off, poll. */
function follow(run) {
  source?.close();
  clearTimeout(timer);
  panel.dataset.run = run;
  if (!window.EventSource || new URLSearchParams(location.search).has("poll")) return poll(run);
  byId("run-how").textContent = "live";
  source = new EventSource(`/api/exports/${run}/events`);
  source.onmessage = (event) => {
    if (show(JSON.parse(event.data))) source.close();
  };
  source.onerror = () => {
    source.close();
    poll(run);
  };
}

async function poll(run) {
  byId("run-how").textContent = "polling";
  try {
    const answer = await fetch(`/api/exports/${run}`);
    if (answer.status === 404) return;
    if (answer.ok && show(await answer.json())) return;
  } catch {
    // The app restarts; ask again.
  }
  timer = setTimeout(poll, POLL, run);
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
if (panel.dataset.run) follow(panel.dataset.run);
refresh("[data-once]");
keepFresh();
