// Comforts around forms and text: copy, confirm, select all, the theme.

import { onFresh } from "./live.js";

const make = (name, attributes, text) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
};

onFresh((root) => {
  for (const box of root.querySelectorAll("[data-copy]:not(:has(> .copy))")) {
    box.append(make("button", { type: "button", class: "ghost copy" }, "Copy"));
  }
});

// What a column is called, for phones: there a row of a table is a paragraph.
onFresh((root) => {
  for (const table of root.querySelectorAll(".scroll > table")) {
    const names = [...table.querySelectorAll("thead th")].map((head) => (head.querySelector(".hidden") ? "" : head.textContent));
    for (const cell of table.querySelectorAll("tbody > tr > *")) cell.dataset.label = names[cell.cellIndex] ?? "";
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (button) {
    await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens)?.showModal();
});

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// A bar that acts on checked rows: it says how many, and shows itself only then.
document.addEventListener("change", (event) => {
  const form = event.target.form ?? event.target.closest("form");
  if (event.target.matches("[data-all]")) {
    for (const box of rows(event.target)) box.checked = event.target.checked;
  }
  if (form?.matches("[data-bulk]")) count(form);
});

const rows = (all) => all.closest("table").querySelectorAll("input[type=checkbox][name]");

const count = (form) => {
  const boxes = [...document.querySelectorAll("input[type=checkbox][name]")].filter((box) => box.form === form);
  const checked = boxes.filter((box) => box.checked).length;
  form.dataset.count = String(checked);
  const output = [...form.elements].find((element) => element.tagName === "OUTPUT");
  if (output) output.textContent = checked ? `${checked} selected` : "";
};

// The theme: the system's, until one is chosen here.
export const switchTheme = () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // not kept, then
  }
};

const themeButton = document.querySelector("[data-theme-button]");
if (themeButton) {
  themeButton.hidden = false;
  themeButton.addEventListener("click", switchTheme);
}
