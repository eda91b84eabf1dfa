// Live pages: the server sends the parts that changed; each is woven into the element of its id,
// so that focus, selection, scroll, open <details> and what was typed stay where they are.
// What is inside an element with `data-part` comes as a part of its own.

const watchers = [];

/** Call `watcher` with the document now, and with every part that is renewed. */
export const onFresh = (watcher) => {
  watchers.push(watcher);
  watcher(document);
};

const fresh = (root) => watchers.forEach((watcher) => watcher(root));

// ── weaving ─────────────────────────────────────────────────────────────────────────────────────

const KEPT = { DETAILS: ["open"], DIALOG: ["open"], INPUT: ["checked", "value"], OPTION: ["selected"] };
const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.id || null : null);

const attributes = (old, next) => {
  const kept = KEPT[old.tagName] ?? [];
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...next.attributes]) {
    if (!kept.includes(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
};

const weave = (old, next) => {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) {
    old.replaceWith(next);
  } else if (old.nodeType !== 1) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
  } else {
    attributes(old, next);
    if (old.nodeName !== "TEXTAREA" && !next.hasAttribute("data-part")) weaveChildren(old, next);
  }
};

/** Make the children of one element like those of another, moving as little as possible. */
export const weaveChildren = (old, next) => {
  const known = new Map();
  for (const child of old.children) if (keyOf(child)) known.set(keyOf(child), child);
  const wanted = new Set([...next.children].map(keyOf).filter(Boolean));
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    while (at && keyOf(at) && !wanted.has(keyOf(at))) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    const same = keyOf(child) ? known.get(keyOf(child)) : null;
    if (same) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      weave(same, child);
    } else if (at && !keyOf(at) && !keyOf(child)) {
      const following = at.nextSibling;
      weave(at, child);
      at = following;
    } else {
      old.insertBefore(child, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    if (!gone.classList?.contains("copy")) gone.remove();
  }
};

// ── the stream ──────────────────────────────────────────────────────────────────────────────────

const held = new Map(); // parts that wait until nobody works in them

let scrolling = 0; // weaving thousands of rows takes longer than a frame: not while they move

const busy = (element) =>
  scrolling ||
  (element.hasAttribute("data-hold") &&
    (element.matches(":hover") || element.querySelector("input:checked") !== null));

const renew = (id, html) => {
  const element = document.getElementById(id);
  if (!element) {
    if (held.size) held.set(id, html); // what makes its element may be among them
    return;
  }
  if (busy(element)) {
    held.set(id, html);
    element.toggleAttribute("data-held", element.hasAttribute("data-hold"));
    return;
  }
  held.delete(id);
  delete element.dataset.held;
  const template = document.createElement("template");
  template.innerHTML = html;
  const logs = [...element.querySelectorAll("[data-tail]")].filter(
    (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 40,
  );
  weaveChildren(element, template.content);
  logs.forEach((box) => (box.scrollTop = box.scrollHeight));
  fresh(element);
  tick(element);
};

/** Renew what was held, as much as fits into a frame at a time. */
const release = () => {
  const end = performance.now() + 8;
  for (const [id, html] of [...held]) {
    if (performance.now() > end) {
      requestAnimationFrame(release);
      return;
    }
    renew(id, html);
  }
};

let source = null;

const open = () => {
  if (source || document.hidden) return;
  source = new EventSource(location.href);
  source.addEventListener("part", (event) => {
    const { id, html } = JSON.parse(event.data);
    renew(id, html);
  });
  source.addEventListener("end", () => close(true));
};

let over = false;
const close = (forGood) => {
  over ||= forGood;
  source?.close();
  source = null;
};

if (document.body.hasAttribute("data-live")) {
  open();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close(false);
    else if (!over) open();
  });
  const rest = () => {
    scrolling = 0;
    release();
  };
  const scrolled = () => {
    clearTimeout(scrolling);
    scrolling = setTimeout(rest, 200);
  };
  document.addEventListener("scroll", scrolled, { capture: true, passive: true });
  document.addEventListener("pointerout", () => requestAnimationFrame(release));
  document.addEventListener("change", () => requestAnimationFrame(release));
  addEventListener("pagehide", () => close(false));
}

// ── times ───────────────────────────────────────────────────────────────────────────────────────

const coarse = (seconds) => {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
};

const span = (seconds) => {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days) return `${days} d ${hours % 24} h`;
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min ${Math.floor(seconds % 60)} s`;
};

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

function tick(root) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[data-ago]")) {
    const seconds = (now - Date.parse(element.dateTime)) / 1000;
    const text = coarse(Math.abs(seconds));
    write(element, text === "0 s" ? "now" : seconds > 0 ? `${text} ago` : `in ${text}`);
  }
  for (const element of root.querySelectorAll("time[data-since]")) {
    write(element, span((now - Date.parse(element.dateTime)) / 1000));
  }
}

setInterval(() => tick(document), 1000);
