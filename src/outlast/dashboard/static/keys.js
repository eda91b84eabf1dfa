// The keyboard: `?` lists what there is. A control with `data-key="c"` is pressed by c.

import { switchTheme } from "./forms.js";

const dialog = document.getElementById("keys");
const button = document.querySelector("[data-keys-button]");
let went = 0; // when `g` was pressed

if (button && dialog) {
  button.hidden = false;
  button.addEventListener("click", () => dialog.showModal());
}

const typing = (target) =>
  target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");

const step = (by) => {
  const rows = [...document.querySelectorAll("main [data-row]")].filter((row) => row.checkVisibility());
  if (!rows.length) return;
  const at = rows.findIndex((row) => row === document.activeElement || row.closest("tr")?.contains(document.activeElement));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
};

const actions = {
  "?": () => dialog?.showModal(),
  "/": () => {
    const search = document.getElementById("search");
    const menu = document.getElementById("menu");
    if (!search.checkVisibility()) menu.showPopover();
    search.focus();
    search.select();
  },
  j: () => step(1),
  k: () => step(-1),
  x: () => document.activeElement?.closest("tr")?.querySelector("input[type=checkbox]")?.click(),
  d: switchTheme,
  g: () => (went = Date.now()),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && typing(event.target)) event.target.blur();
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  const key = event.key;
  if (Date.now() - went < 1500 && key !== "g") {
    went = 0;
    const place = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
    if (place) {
      event.preventDefault();
      place.click();
      return;
    }
  }
  const control = document.querySelector(`main [data-key="${CSS.escape(key)}"]`);
  const action = control ? () => control.click() : Object.hasOwn(actions, key) ? actions[key] : null;
  if (!action) return;
  event.preventDefault();
  action();
});
