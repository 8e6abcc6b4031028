// Plots of figures over time: a plot for each figure, a line for each node.

import uPlot from "/status/uPlot.esm.js";

import { make } from "./dom.js";

const WINDOW_S = 300;
const HEIGHT = 160;
const COLORS = ["#4a80e8", "#dd7a1a", "#23a367", "#c2519f", "#8a6ce0", "#1199a8", "#d64d4d", "#94832a"];
const DASHES = [[], [6, 4], [2, 3]]; // when there are more nodes than colours

const look = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Past figures: times (seconds since 1970), and for each node a list of its values at these times. */
export class History {
  times = [];
  nodes = new Map(); // name -> {label, number, values: {figure: [...]}}

  constructor(figures) {
    this.figures = figures;
  }

  /** Add the figures of `time`: `seen` has `{label, values}` for each node that answered; other nodes get a gap. */
  add(time, seen) {
    for (const [name, { label }] of seen) {
      if (!this.nodes.has(name)) this.nodes.set(name, { number: this.#findNumber(), values: this.#fill() });
      this.nodes.get(name).label = label;
    }
    this.times.push(time);
    for (const [name, { values }] of this.nodes) {
      for (const figure of this.figures) values[figure].push(seen.get(name)?.values[figure] ?? null);
    }
    while (this.times[0] < time - WINDOW_S) this.#dropFirst();
  }

  /** Return the colour of the node's lines. */
  getColor(name) {
    return COLORS[this.nodes.get(name).number % COLORS.length];
  }

  /** Return the lowest free number: a few nodes then have different colours, however often they start again. */
  #findNumber() {
    const taken = new Set([...this.nodes.values()].map(({ number }) => number));
    let number = 0;
    while (taken.has(number)) number += 1;
    return number;
  }

  #fill() {
    return Object.fromEntries(this.figures.map((figure) => [figure, this.times.map(() => null)]));
  }

  #dropFirst() {
    this.times.shift();
    for (const [name, { values }] of this.nodes) {
      for (const list of Object.values(values)) list.shift();
      if (Object.values(values).every((list) => list.every((value) => value === null))) this.nodes.delete(name);
    }
  }
}

/** A plot of one figure, in a `figure` element of its own. */
export class Plot {
  #plot = null;
  #shown = ""; // the nodes that it has lines for

  constructor(history, figure, title, format) {
    Object.assign(this, { history, figure, title, format });
    this.output = make("output");
    this.area = make("div");
    this.element = make("figure", { className: "card", dataset: { figure } }, make("h2", { textContent: title }), this.area, this.output);
    new ResizeObserver(() => this.#plot?.setSize(this.#getSize())).observe(this.area);
  }

  /** Draw the history. */
  draw() {
    const nodes = [...this.history.nodes.values()];
    const data = [this.history.times, ...nodes.map(({ values }) => values[this.figure])];
    const shown = JSON.stringify(nodes.map(({ label, number }) => [label, number]));
    if (this.#plot === null || shown !== this.#shown) this.#create(nodes, data);
    else this.#plot.setData(data);
    this.#shown = shown;
  }

  /** Draw it again, in other colours. */
  restart() {
    this.#plot?.destroy();
    this.#plot = null;
    if (this.history.times.length) this.draw();
  }

  #create(nodes, data) {
    this.#plot?.destroy();
    const axis = { stroke: look("--quiet"), grid: { stroke: look("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const toTime = (time) => new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    const options = {
      ...this.#getSize(),
      legend: { show: false },
      cursor: { sync: { key: "farm" }, drag: { x: false, y: false }, y: false },
      scales: {
        x: { range: (_, low, high) => [high - WINDOW_S, high] },
        y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.1] },
      },
      axes: [{ ...axis, size: 30, space: 45, values: (_, times) => times.map(toTime) }, { ...axis, size: 60, values: (_, values) => values.map(this.format) }],
      series: [{}, ...nodes.map(({ label, number }) => ({
        label,
        stroke: COLORS[number % COLORS.length],
        dash: DASHES[Math.floor(number / COLORS.length) % DASHES.length],
        width: 2,
        points: { show: false },
      }))],
      hooks: { setCursor: [(plot) => this.#tell(plot)] },
    };
    this.#plot = new uPlot(options, data, this.area);
  }

  /** Show below the plot the values at the pointer. */
  #tell({ cursor: { idx }, data, series }) {
    if (idx === null || idx === undefined || data[0][idx] === undefined) {
      this.output.textContent = "";
      return;
    }
    const values = series.slice(1).map(({ label }, number) => [label, data[number + 1][idx]]);
    const texts = values.filter(([, value]) => value !== null).map(([label, value]) => `${label} ${this.format(value)}`);
    this.output.textContent = [new Date(data[0][idx] * 1000).toLocaleTimeString(), ...texts].join(" · ");
  }

  #getSize() {
    return { width: this.area.clientWidth, height: HEIGHT };
  }
}
