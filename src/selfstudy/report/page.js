"use strict";
// Charts start as still pictures. Each comes alive when it nears the window, so a long page opens at once.
const views = [];

function focusRow(row) {
  for (const view of views) {
    if (view.getState().signals.focus !== undefined) view.signal("focus", row).runAsync();
  }
}

let pressed = "";
function press(row) {
  pressed = pressed === row ? "" : row;
  for (const button of document.querySelectorAll(".key button")) {
    button.setAttribute("aria-pressed", String(pressed !== "" && button.dataset.row === pressed));
  }
  focusRow(pressed);
}

for (const button of document.querySelectorAll(".key button")) {
  button.addEventListener("click", () => press(button.dataset.row));
  button.addEventListener("pointerenter", () => focusRow(button.dataset.row));
  button.addEventListener("pointerleave", () => focusRow(pressed));
  button.addEventListener("focus", () => focusRow(button.dataset.row));
  button.addEventListener("blur", () => focusRow(pressed));
}

// What a mark says when it is pointed at: its words in two columns and, where it stands for an image, the image.
function words(value, sanitize) {
  if (typeof value !== "object") return sanitize(value);
  const lines = Object.entries(value).filter(([name, text]) => name !== "picture" && text !== null && text !== undefined);
  const table = `<table>${lines.map(([name, text]) => `<tr><td class="key">${sanitize(name)}</td><td class="value">${sanitize(text)}</td></tr>`).join("")}</table>`;
  const place = Number(String(value.picture ?? "").replaceAll(",", ""));
  if (value.picture === undefined || Number.isNaN(place)) return table;
  const columns = Number(getComputedStyle(document.documentElement).getPropertyValue("--thumbnail-columns"));
  return `<div class="thumbnail" style="background-position: calc(var(--side) * -${place % columns}) calc(var(--side) * -${Math.floor(place / columns)})"></div>${table}`;
}

async function enliven(chart) {
  const specification = JSON.parse(chart.nextElementSibling.textContent);
  const place = document.createElement("div");
  place.className = "chart";
  place.setAttribute("aria-label", chart.getAttribute("aria-label"));
  // role "img" would hide a chart's own controls from a screen reader
  place.setAttribute("role", specification.params?.some((param) => param.bind) ? "group" : "img");
  chart.style.minHeight = `${chart.offsetHeight}px`;
  place.style.minHeight = chart.style.minHeight;
  chart.replaceWith(place);
  const embedded = await vegaEmbed(place, specification, {
    renderer: "svg",
    actions: false,
    defaultStyle: false,
    tooltip: { theme: "custom", disableDefaultStyle: true, formatTooltip: words },
  });
  place.style.minHeight = "";
  place.prepend(...place.querySelectorAll(".vega-bindings"));
  place.dataset.alive = "";
  views.push(embedded.view);
}

const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    nearby.unobserve(entry.target);
    enliven(entry.target);
  }
}, { rootMargin: "800px" });
for (const script of document.querySelectorAll('.chart + script[type="application/json"]')) nearby.observe(script.previousElementSibling);

// Rows: an address that names one opens it; all can be opened at once; a recipe can be copied.
function openNamed() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("details.row");
  if (!found || found.open) return;
  found.open = true;
  found.scrollIntoView();
}
addEventListener("hashchange", openNamed);
openNamed();
for (const button of document.querySelectorAll("button[data-open]")) {
  button.addEventListener("click", () => {
    for (const row of document.querySelectorAll("details.row")) row.open = button.dataset.open === "true";
  });
}
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("code");
    const status = button.parentElement.querySelector("[role=status]");
    getSelection().selectAllChildren(text); // where a page from the disk may not write to the clipboard, it is selected
    try {
      await navigator.clipboard.writeText(text.textContent);
      status.textContent = "Copied";
    } catch {
      status.textContent = "Selected: copy it with the keyboard";
    }
  });
}

// What is wider than its place says so: a shade alone is easily overlooked.
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) target.toggleAttribute("data-wide", target.scrollWidth > target.clientWidth + 1);
});
for (const box of document.querySelectorAll(".scroll")) widths.observe(box);

// Tables: click a heading to sort, type words to filter.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const numbers = header.classList.contains("number") || [...body.rows].every((row) => key(row) !== "" && !Number.isNaN(Number(key(row))));
    const compare = numbers ? (a, b) => Number(key(a)) - Number(key(b)) : (a, b) => key(a).localeCompare(key(b));
    body.append(...[...body.rows].sort((a, b) => direction * compare(a, b)));
  }));
  if (body.rows.length < 12) continue;
  const label = document.createElement("label");
  label.className = "filter";
  label.innerHTML = 'Show lines with <input type="search" placeholder="one or more words"> <output></output>';
  const [input, output] = [label.querySelector("input"), label.querySelector("output")];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    output.textContent = words.length ? `${shown} of ${body.rows.length}` : "";
  });
  table.closest(".scroll").before(label);
}
