// The timeline of a run: a cursor that can be dragged through its time, and errors only.

import { onFresh } from "./live.js";

const box = document.getElementById("live_timeline");

if (box) {
  const scrub = document.querySelector("[data-scrub]");
  const errors = document.querySelector("[data-errors-only]");
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  document.querySelectorAll("[data-scripted]").forEach((control) => (control.hidden = false));

  const mark = (root) => {
    const shown = scrub.value / 10;
    for (const row of root.querySelectorAll("li")) row.classList.toggle("later", Number(row.dataset.at) > shown);
  };

  const show = () => {
    const share = scrub.value / 1000;
    const axis = box.querySelector(".axis");
    const track = axis.querySelector(".track");
    const all = share >= 1;
    box.classList.toggle("scrubbing", !all);
    box.classList.toggle("errors-only", errors.checked);
    scrub.nextElementSibling.textContent = all ? "all" : `${(share * Number(axis.dataset.seconds)).toFixed(2)} s`;
    mark(box);
    if (all) cursor.remove();
    else {
      box.append(cursor);
      cursor.style.left = `${track.offsetLeft + share * track.offsetWidth}px`;
      cursor.style.height = `${box.scrollHeight}px`;
    }
  };

  scrub.addEventListener("input", show);
  errors.addEventListener("change", show);
  box.addEventListener("click", (event) => {
    const track = event.target.closest(".track");
    if (!track) return;
    const { left, width } = track.getBoundingClientRect();
    scrub.value = String(Math.round(((event.clientX - left) / width) * 1000));
    show();
  });
  onFresh((root) => {
    if (root === box) show();
    else if (box.contains(root)) mark(root);
  });
}
