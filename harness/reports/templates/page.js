"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const body = at("matrix").tBodies[0];
  const original = [...body.rows];
  const datasets = original.filter((row) => row.dataset.kind === "dataset");
  const headers = [...at("matrix").tHead.rows[0].cells];
  const cellsOf = (row) => [...row.cells].slice(1);
  const cellAt = (td) => data.cells[td.firstElementChild.dataset.cell];

  // Every text reaches the page through here, as text.
  const make = (tag, text = "", properties = {}) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.textContent = text;
    return element;
  };
  const draw = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };

  // -- dark and light ------------------------------------------------------------------------------------
  const root = document.documentElement;
  const stored = (() => { try { return localStorage.getItem("harness-theme"); } catch { return null; } })();
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const nameTheme = () => { at("theme").textContent = isDark() ? "Light colours" : "Dark colours"; };
  at("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("harness-theme", root.dataset.theme); } catch { /* for this visit only */ }
    nameTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  nameTheme();

  // -- sort ----------------------------------------------------------------------------------------------
  let sorted = { column: null, direction: 0 };
  const value = (row, column) =>
    column < 0 ? row.cells[0].textContent : cellAt(row.cells[column + 1])[at("measure").value];
  const compare = (one, other) => {
    const [a, b] = [value(one, sorted.column), value(other, sorted.column)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sorted.direction * (typeof a === "string" ? a.localeCompare(b) : a - b);
  };
  const arrange = () => {
    headers.forEach((header, place) => {
      if (sorted.direction && place === sorted.column + 1) {
        header.setAttribute("aria-sort", sorted.direction > 0 ? "ascending" : "descending");
      } else header.removeAttribute("aria-sort");
    });
    const rest = original.filter((row) => row.dataset.kind !== "dataset");
    body.append(...(sorted.direction ? [...[...datasets].sort(compare), ...rest] : original));
    filter();
  };
  for (const header of headers) {
    header.firstElementChild.addEventListener("click", (event) => {
      const column = Number(event.currentTarget.dataset.sort);
      const first = column < 0 ? 1 : -1;
      if (sorted.column !== column) sorted = { column, direction: first };
      else sorted.direction = sorted.direction === first ? -first : sorted.direction === -first ? 0 : first;
      arrange();
    });
  }
  at("measure").addEventListener("change", arrange);

  // -- filter --------------------------------------------------------------------------------------------
  const chips = [...document.querySelectorAll("[data-verdict]")];
  const filter = () => {
    const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const names = data.columns.map((column) => column.toLowerCase());
    const ofColumns = words.filter((word) => names.some((name) => name.includes(word)));
    const ofRows = words.filter((word) => !ofColumns.includes(word));
    const wanted = new Set(chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.verdict));
    const shownColumn = names.map((name) => !ofColumns.length || ofColumns.some((word) => name.includes(word)));
    headers.slice(1).forEach((header, place) => { header.hidden = !shownColumn[place]; });
    const groups = new Set();
    let shown = 0;
    for (const row of original) {
      if (row.dataset.kind === "group") continue;
      let hits = 0;
      cellsOf(row).forEach((td, place) => {
        const hit = !wanted.size || wanted.has(cellAt(td).kind);
        td.hidden = !shownColumn[place];
        td.classList.toggle("dim", !hit);
        if (hit && shownColumn[place]) hits += 1;
      });
      const text = `${row.cells[0].textContent} ${row.dataset.group}`.toLowerCase();
      if (row.dataset.kind === "dataset") {
        row.hidden = !hits || !ofRows.every((word) => text.includes(word));
        if (!row.hidden) { shown += 1; groups.add(row.dataset.group); }
      } else row.hidden = Boolean(wanted.size || ofRows.length);
    }
    for (const row of original.filter((row) => row.dataset.kind === "group")) {
      row.hidden = Boolean(sorted.direction) || !groups.has(row.dataset.group);
    }
    at("shown").textContent = `${shown} of ${datasets.length} datasets shown`;
  };
  at("filter").addEventListener("input", filter);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.ariaPressed = String(chip.ariaPressed !== "true");
      filter();
    });
  }

  // -- one cell ------------------------------------------------------------------------------------------
  const facts = (pairs) => {
    const list = make("dl");
    for (const [name, text] of pairs) list.append(make("dt", name), make("dd", text));
    return list;
  };
  const style = (place) => `seed-${place % 4}`;
  const key = (place) => {
    const svg = draw("svg", { class: "key", viewBox: "0 0 36 10", "aria-hidden": "true" });
    svg.append(draw("line", { x1: 0, x2: 36, y1: 5, y2: 5, class: style(place) }));
    return svg;
  };
  const seedTable = (seeds) => {
    const table = make("table");
    const names = ["Seed", "Score", "Run", "Wall time", "Environment"];
    table.createTHead().insertRow().append(...names.map((name) => make("th", name, { scope: "col" })));
    const rows = table.createTBody();
    seeds.forEach((seed, place) => {
      const row = rows.insertRow();
      const head = make("th", String(seed.seed), { scope: "row" });
      if (seed.scores.length > 1) head.prepend(key(place));
      row.append(head, ...[seed.score, seed.status, seed.wall, seed.environment].map((text) => make("td", text)));
    });
    return table;
  };
  const short = (step) => (step >= 1e6 ? `${step / 1e6}M` : step >= 1e3 ? `${step / 1e3}k` : `${step}`);
  const curve = (cell) => {
    const lines = cell.seeds.map((seed, place) => ({ place, xs: data.grids[seed.grid], ys: seed.scores }));
    const drawn = lines.filter((line) => line.ys.length > 1);
    const levels = drawn.flatMap((line) => line.ys).concat(cell.published ?? []);
    const right = Math.max(...drawn.flatMap((line) => line.xs));
    const [low, high] = [Math.min(...levels), Math.max(...levels)];
    const [width, height, left, margin, bottom] = [640, 240, 44, 44, 24];
    const x = (step) => left + (step / right) * (width - left - margin);
    const y = (level) => 10 + ((high - level) / (high - low || 1)) * (height - bottom - 20);
    const svg = draw("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", `Normalised score over ${cell.axis}, from ${low.toFixed(1)} to ${high.toFixed(1)}`);
    for (const level of [low, (low + high) / 2, high]) {
      svg.append(draw("line", { x1: left, x2: width - margin, y1: y(level), y2: y(level) }));
      svg.append(draw("text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" }, level.toFixed(1)));
    }
    for (const step of [0, right / 2, right]) {
      svg.append(draw("text", { x: x(step), y: height - 6, "text-anchor": step === right ? "end" : "middle" }, short(step)));
    }
    svg.append(draw("text", { x: x(right / 4), y: height - 6, "text-anchor": "middle" }, cell.axis));
    if (cell.published !== null) {
      const level = y(cell.published);
      svg.append(draw("line", { class: "published", x1: left, x2: width - margin, y1: level, y2: level }));
      svg.append(draw("text", { x: width - margin + 4, y: level + 4 }, "paper"));
    }
    for (const line of drawn) {
      const points = line.ys.map((level, place) => `${x(line.xs[place]).toFixed(1)},${y(level).toFixed(1)}`);
      svg.append(draw("polyline", { class: style(line.place), points: points.join(" ") }));
    }
    return svg;
  };
  const dialog = at("dialog");
  const show = (cell) => {
    at("dialog-title").textContent = `${cell.row}, ${cell.column}`;
    at("dialog-bar").className = `bar ${cell.style}`;
    const parts = [facts(cell.facts)];
    const section = (title, ...inner) => parts.push(make("h3", title), ...inner);
    if (cell.notes.length) {
      const list = make("ul");
      list.append(...cell.notes.map((note) => make("li", note)));
      section("Notes", list);
    }
    if (cell.seeds.length) section("Seeds", seedTable(cell.seeds));
    if (cell.seeds.some((seed) => seed.scores.length > 1)) {
      section("Learning curve", curve(cell));
      if (cell.thinned) parts.push(make("p", cell.thinned, { className: "quiet" }));
    }
    if (cell.command) section("Reproduce this cell", make("pre", cell.command));
    for (const name of new Set(cell.seeds.map((seed) => seed.environment).filter((name) => data.environments[name]))) {
      section(`Provenance: environment ${name}`, facts(data.environments[name]));
    }
    at("dialog-body").replaceChildren(...parts);
    dialog.showModal();
    dialog.scrollTop = 0;
    history.replaceState(null, "", `#${encodeURIComponent(cell.id)}`);
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest("[data-cell]");
    if (button) show(data.cells[button.dataset.cell]);
  });
  at("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));

  at("tools").hidden = at("theme").hidden = false;
  filter();
  let linked = "";
  try { linked = decodeURIComponent(location.hash.slice(1)); } catch { /* not a link of ours */ }
  const target = data.cells.find((cell) => cell.id === linked);
  if (target) show(target);
})();
