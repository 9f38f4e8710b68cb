"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { summary, statistics, rows, colors } = data;
const place = id => document.getElementById(id);
let shown = [];

// Text is never parsed as HTML: names of files and classes are untrusted.
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function percent(share, digits = 2) {
  return share === null || share === undefined ? "" : (100 * share).toFixed(digits) + " %";
}

function meter(share, text) {
  const element = make("div", null, "meter"), track = make("div", null, "track"), bar = make("div", null, "bar");
  bar.style.width = Math.min(100, 100 * share).toFixed(1) + "%";
  track.append(bar);
  element.append(track, make("span", text, "value"));
  return element;
}

function className(name) {
  if (!Object.hasOwn(colors, name)) return make("span", name);
  const element = make("span"), square = make("span", null, "swatch");
  square.style.background = colors[name];
  element.append(square, name);
  return element;
}

function cellOf(value, share, isClass) {
  const cell = make("td");
  if (value instanceof Node) cell.append(value);
  else if (value === null) return cell;
  else if (share) cell.append(meter(value, percent(value)));
  else if (isClass) cell.append(className(value));
  else {
    cell.textContent = value;
    if (typeof value === "number") cell.className = "number";
  }
  return cell;
}

// `shares`: columns with numbers from 0 to 1. `classes`: whether the first column has names of classes.
function tableOf({ head, rows, shares = [], classes = false }) {
  const box = make("div", null, "scroll"), table = make("table");
  const first = table.createTHead().insertRow();
  const numeric = head.map((_, column) => !shares.includes(column) && rows.some(row => typeof row[column] === "number"));
  head.forEach((name, column) => first.append(make("th", name, numeric[column] ? "number" : "")));
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((value, column) => line.append(cellOf(value, shares.includes(column), classes && column === 0)));
  }
  box.append(table);
  return box;
}

function fill(section, table) {
  if (!table.rows.length) return;
  place(section).hidden = false;
  place(section).append(tableOf(table));
}

function facts(values) {
  const list = make("dl", null, "facts");
  for (const [name, value] of Object.entries(values)) list.append(make("dt", name), make("dd", value));
  return list;
}

function showSummary() {
  place("about").textContent = [data.facts.date, "vim-deploy " + data.facts["vim-deploy"], data.facts.engine].join(" · ");
  const tiles = [["images", summary.images]];
  if (summary.labeled) tiles.push(["top-1 accuracy", percent(summary.top1_accuracy)], ["top-5 accuracy", percent(summary.top5_accuracy)], ["images with a true class", summary.labeled]);
  tiles.push(...Object.entries(data.figures), ["failed", summary.failed]);
  if (summary.images_per_second) tiles.push(["images/s", summary.images_per_second.toFixed(1)]);
  tiles.push(["seconds", summary.seconds.toFixed(1)]);
  if (summary.resumed) tiles.push(["resumed rows", summary.resumed]);
  for (const [flag, count] of statistics.flags) tiles.push(["flag " + flag, count]);
  for (const [name, value] of tiles) {
    const tile = make("div", null, "tile");
    tile.append(make("b", value), make("span", name));
    place("tiles").append(tile);
  }
  for (const line of data.lines) place("lines").append(make("p", line));
  place("facts").append(facts(data.facts));
  place("options").append(facts(data.options));
}

function showTables() {
  fill("reasons", { head: ["images", "reason"], rows: Object.entries(summary.reasons).map(([reason, count]) => [count, reason]) });
  const total = statistics.predicted.reduce((sum, entry) => sum + entry[1], 0);
  fill("classes", { head: ["class", "images", "share"], rows: statistics.predicted.map(([name, count]) => [name, count, count / total]), shares: [2] });
  fill("per-class", {
    head: ["class", "images", "top-1", "top-5", "predicted"], shares: [2, 3],
    rows: statistics.per_class.map(([name, count, correct, correct5, predicted]) => [name, count, correct / count, correct5 / count, predicted]),
  });
  fill("mistakes", { head: ["true class", "predicted class", "images"], rows: statistics.mistakes });
  for (const table of data.tables) {
    if (!table.rows.length) continue;
    const section = make("section");
    section.append(make("h2", table.title), tableOf(table));
    place("tables").append(section);
  }
  if (statistics.confusion) showConfusion(statistics.confusion);
}

function showConfusion({ names, matrix }) {
  fill("confusion", { head: ["", ...names], rows: matrix.map((counts, index) => [names[index], ...counts]) });
  const table = place("confusion").querySelector("table");
  table.className = "confusion";
  [...table.tBodies[0].rows].forEach((line, row) => {
    const total = Math.max(1, matrix[row].reduce((sum, count) => sum + count, 0));
    [...line.cells].slice(1).forEach((cell, column) => {
      const share = matrix[row][column] / total;
      if (share) cell.style.background = column === row ? `rgba(46,139,87,${0.15 + 0.6 * share})` : `rgba(192,57,43,${0.15 + 0.6 * share})`;
    });
  });
}

const isIncorrect = row => row.rank !== null && row.rank > 1;
const kindOf = row => row.status !== "ok" ? "error" : isIncorrect(row) ? "incorrect" : "ok";
const about = row => [row.size, row.label !== null ? "true class: " + row.label : "", row.remark, ...row.flags].filter(Boolean).join(", ");
const scores = row => row.details ? row.details.rows.slice(0, 5).map(line => line.slice(0, 2)) : row.top;

function picture(url, row) {
  const image = make("img");
  image.src = url;
  image.alt = row.path;
  return image;
}

function card(row, index) {
  const element = make("div", null, `row ${kindOf(row)}${data.drawn && row.image ? " drawn" : ""}`);
  if (row.image) {
    const button = make("button", null, "picture");
    button.type = "button";
    button.setAttribute("aria-label", "enlarge " + row.path);
    button.append(picture(row.drawing || row.image, row));
    button.addEventListener("click", () => enlarge(index));
    element.append(button);
  } else element.append(make("div", null, "none"));
  const text = make("div", null, "about");
  text.append(make("div", row.path, "path"));
  if (row.reason) text.append(make("div", row.reason, "reason"));
  text.append(make("div", about(row), "note"));
  for (const [name, value] of scores(row)) {
    const score = make("div", null, "score"), label = className(name);
    label.title = name;
    score.append(label, meter(value, percent(value, 1)));
    text.append(score);
  }
  element.append(text);
  return element;
}

let current = 0;

function figure(url, text, row) {
  const element = make("figure");
  element.append(picture(url, row), make("figcaption", text));
  return element;
}

function legendOf(row) {
  const legend = make("div", null, "legend");
  for (const name of new Set((row.details ? row.details.rows : []).map(line => line[0])))
    if (Object.hasOwn(colors, name)) legend.append(className(name));
  return legend;
}

function enlarge(index) {
  const row = shown[current = index];
  place("viewer-path").textContent = row.path;
  place("viewer-pair").replaceChildren(figure(row.image, "image", row), ...(row.drawing ? [figure(row.drawing, "prediction", row)] : []));
  const missing = data.drawn && !row.drawing ? "The prediction is not drawn: it was made before the run was resumed." : "";
  place("viewer-note").textContent = [about(row), missing].filter(Boolean).join(". ");
  const table = row.details || { head: ["class", "probability"], rows: row.top, shares: [1], classes: true };
  place("viewer-details").replaceChildren(...(row.details ? [legendOf(row), make("h2", table.title)] : []), ...(table.rows.length ? [tableOf(table)] : []));
  if (!place("viewer").open) place("viewer").showModal();
  place("viewer").scrollTop = 0;
}

function step(by) {
  for (let index = current + by; index >= 0 && index < shown.length; index += by)
    if (shown[index].image) return enlarge(index);
}

const largest = row => row.top.length ? row.top[0][1] : -1;
const best = row => row.top.length ? row.top[0][0] : "\uffff";
const rank = row => row.mistake !== null ? 0 : row.status !== "ok" ? 1 : 2;
const orders = {
  worst: (a, b) => rank(a) - rank(b) || (b.mistake || 0) - (a.mistake || 0) || a.number - b.number,
  order: null,
  path: (a, b) => a.path < b.path ? -1 : 1,
  confident: (a, b) => largest(b) - largest(a),
  uncertain: (a, b) => (largest(a) < 0) - (largest(b) < 0) || largest(a) - largest(b),
  class: (a, b) => best(a) === best(b) ? 0 : best(a) < best(b) ? -1 : 1,
};

function showRows() {
  const filter = place("filter").value, words = place("search").value.toLowerCase();
  shown = rows.filter(row =>
    (filter === "all" || (filter === "incorrect" ? isIncorrect(row) : row.status === filter)) &&
    (!words || [row.path, row.reason, row.label, ...row.top.map(entry => entry[0])].some(text => text && text.toLowerCase().includes(words))));
  const order = orders[place("sort").value];
  if (order) shown = [...shown].sort(order);
  place("rows").replaceChildren(...shown.map(card));
  const sample = rows.length < statistics.rows ? `; the run has ${statistics.rows}: the worst mistakes, the first failures and a random sample are here` : "";
  place("count").textContent = `${shown.length} of ${rows.length} images${sample}`;
}

showSummary();
showTables();
if (!rows.some(isIncorrect)) place("filter").querySelector("[value=incorrect]").remove();
for (const id of ["filter", "sort", "search"]) place(id).addEventListener("input", showRows);
place("close").addEventListener("click", () => place("viewer").close());
place("previous").addEventListener("click", () => step(-1));
place("next").addEventListener("click", () => step(1));
place("viewer").addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
place("viewer").addEventListener("click", event => { if (event.target === place("viewer")) place("viewer").close(); });
showRows();
