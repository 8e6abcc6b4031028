// The farm at a glance: asks one of the workers every two seconds, as long as somebody looks.

import { $, make } from "./dom.js";
import { History, Plot } from "./plots.js";

const EVERY_MS = 2000;
const TIMEOUT_MS = 5000;
const GONE_MS = 60000; // for so long a node that is gone is listed

const count = (value) => (value >= 10_000 ? `${Math.round(value / 1000).toLocaleString()}k` : Math.round(value).toLocaleString());
const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : count(value));

/** Milliseconds, as people write them. */
function time(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const most = (values) => Math.max(...values);

// Each figure: its title, its format, how to combine the nodes' values, and how to get one from `now`, `before`
// and the seconds between.
const FIGURES = {
  clients: { title: "Clients", format: count, combine: sum, get: ({ clients }) => sum(Object.values(clients)) },
  messages: { title: "Messages stored /s", format: rate, combine: sum, get: grow("stored") },
  deliveries: { title: "Deliveries /s", format: rate, combine: sum, get: grow("deliveries") },
  storing: { title: "Storing, 99 %", format: time, combine: most, get: ({ store_p99_s }) => scale(store_p99_s) },
  recoveries: { title: "Recoveries /s", format: rate, combine: sum, get: grow("sessions_resumed") },
  lag: { title: "Loop lag", format: time, combine: most, get: ({ loop_lag_s }) => scale(loop_lag_s) },
};

const history = new History(Object.keys(FIGURES));
const plots = Object.entries(FIGURES).map(([name, { title, format }]) => new Plot(history, name, title, format));
const before = new Map(); // by node: its figures as they were last
const rows = new Map(); // by node: {row, cells, seenAt}

/** A figure that is the growth of a count, per second; nothing is known of it at first. */
function grow(name) {
  return (now, last) => (last && now.at > last.at ? Math.max(0, (now[name] - last[name]) / (now.at - last.at)) : null);
}

/** Seconds to milliseconds. */
function scale(seconds) {
  return seconds === null ? null : seconds * 1000;
}

function getLabel({ server, address }) {
  return server ?? address;
}

/** Return what is known of a node by now: `{label, values}`. */
function read(node) {
  const { node: name, figures } = node;
  const entries = Object.entries(FIGURES).map(([figure, { get }]) => [figure, get(figures, before.get(name))]);
  before.set(name, figures);
  return { label: getLabel(node), values: Object.fromEntries(entries) };
}

function write(figure, value) {
  return value === null || value === undefined ? "–" : FIGURES[figure].format(value);
}

function getState({ problem, draining, figures }) {
  if (problem) return ["bad", problem];
  if (draining) return ["wait", "draining"];
  return figures.unready ? ["bad", `not ready: ${figures.unready}`] : ["good", "serves"];
}

function createRow(name) {
  const cells = { label: make("span"), swatch: make("span", { className: "swatch" }), address: make("td"), state: make("td") };
  const figures = Object.keys(FIGURES).map((figure) => (cells[figure] = make("td")));
  const head = make("th", { scope: "row" }, cells.swatch, cells.label);
  const row = make("tr", { dataset: { node: name } }, head, cells.address, ...figures, cells.state);
  return { row, cells, seenAt: 0 };
}

function showNode(node, seen) {
  const name = node.node;
  if (!rows.has(name)) rows.set(name, createRow(name));
  const entry = rows.get(name);
  const [state, text] = getState(node);
  entry.seenAt = Date.now();
  entry.row.dataset.state = state;
  entry.cells.state.textContent = text;
  entry.cells.label.textContent = getLabel(node);
  entry.cells.address.textContent = node.address;
  if (history.nodes.has(name)) entry.cells.swatch.style.background = history.getColor(name);
  for (const figure of Object.keys(FIGURES)) entry.cells[figure].textContent = write(figure, seen?.values[figure]);
}

/** Nodes that are not listed any more are shown as gone for a while. */
function showGone(names) {
  for (const [name, { row, cells, seenAt }] of rows) {
    if (names.has(name)) continue;
    before.delete(name);
    row.dataset.state = "gone";
    cells.state.textContent = "gone";
    for (const figure of Object.keys(FIGURES)) cells[figure].textContent = "–";
    if (Date.now() - seenAt > GONE_MS) rows.delete(name);
  }
}

function showTotals(nodes, seen) {
  const totals = Object.entries(FIGURES).map(([figure, { title, combine }]) => {
    const values = [...seen.values()].map(({ values }) => values[figure]).filter((value) => value !== null);
    return [figure, title, values.length ? write(figure, combine(values)) : "–"];
  });
  const tiles = [["nodes", "Nodes", String(nodes.length)], ...totals].map(([name, title, text]) =>
    make("div", { dataset: { total: name } }, make("dt", { textContent: title }), make("dd", { textContent: text })),
  );
  $("totals").replaceChildren(...tiles);
}

function show(nodes) {
  const answering = nodes.filter(({ figures }) => figures);
  const seen = new Map(answering.map((node) => [node.node, read(node)]));
  history.add(Date.now() / 1000, seen);
  for (const node of nodes) showNode(node, seen.get(node.node));
  showGone(new Set(nodes.map(({ node }) => node)));
  const sorted = [...rows.values()].sort((a, b) => a.cells.label.textContent.localeCompare(b.cells.label.textContent));
  $("nodes").tBodies[0].replaceChildren(...sorted.map(({ row }) => row));
  showTotals(nodes, seen);
  const silent = nodes.length - answering.length;
  if (silent) say("reconnecting", `${silent} of ${nodes.length} nodes do not answer.`);
  else say("connected", "All nodes answer.");
}

function say(state, text) {
  $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
}

/** Ask once; return whether to ask again. */
async function ask() {
  try {
    const answer = await fetch("/status.json", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.status === 401 || answer.status === 429) {
      say("refused", "The password is not, or no longer, the admin's. Load this page again.");
      return false;
    }
    const body = await answer.json();
    if (answer.ok) show(body.nodes);
    else throw new Error(body.error.message);
  } catch (error) {
    history.add(Date.now() / 1000, new Map());
    say("refused", error.name === "Error" ? error.message : "The farm does not answer.");
  }
  for (const plot of plots) plot.draw();
  return true;
}

async function run() {
  while (!document.hidden) {
    const wait = new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (!(await ask())) return;
    await wait;
  }
  document.addEventListener("visibilitychange", run, { once: true });
}

for (const title of ["Node", "Address", ...Object.values(FIGURES).map(({ title }) => title), "State"]) {
  $("nodes").tHead.rows[0].append(make("th", { scope: "col", textContent: title }));
}
$("plots").append(...plots.map(({ element }) => element));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((plot) => plot.restart()));
run();
