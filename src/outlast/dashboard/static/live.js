// Keeps a page up to date: fetches it again and swaps <main>, unless the reader is busy in it.

const main = document.querySelector("main[data-live]");
const pause = document.querySelector("[data-pause]");

if (main && pause) {
  const seconds = Number(main.dataset.live);
  let paused = false;

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
  });

  const busy = () =>
    paused ||
    document.hidden ||
    main.contains(document.activeElement) ||
    !document.getSelection()?.isCollapsed;

  const refresh = async () => {
    if (busy()) return true;
    const reply = await fetch(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const fresh = page.querySelector("main");
    if (!reply.ok || !fresh || busy()) return true;
    main.replaceChildren(...fresh.childNodes);
    document.title = page.title;
    return "live" in fresh.dataset; // a run that ended stands still
  };

  const turn = async () => {
    const more = await refresh().catch(() => true);
    if (more) setTimeout(turn, seconds * 1000);
    else pause.hidden = true;
  };
  setTimeout(turn, seconds * 1000);
}
