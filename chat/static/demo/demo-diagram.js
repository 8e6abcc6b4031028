// The picture: sockets above, HAProxy, workers, Redis below, and a message that travels between them.

import { getColor } from "./demo-end.js";

const SVG = "http://www.w3.org/2000/svg";
const ROWS = { client: 4, proxy: 84, worker: 146, redis: 226 };
const HEIGHT = 30; // of a box
const GAP = 6;
const LETTER = 8.2; // about as wide
const FULL_MS = 2600; // a journey, however short it was
const LEAST = 0.12; // of it that each hop gets, to be seen
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

export class Diagram {
  constructor(svg) {
    Object.assign(this, { svg, ends: [], hops: [], redis: "Redis", drawn: "" });
    this.messages = this.#add("g", {});
    new ResizeObserver(() => this.draw(this.ends)).observe(svg);
  }

  /** Draw the sockets, their workers, and who is connected to whom, unless that is what is drawn. */
  draw(ends) {
    this.ends = ends;
    this.width = this.svg.clientWidth || 340;
    const state = [this.width, this.redis, this.hops, ends.map(({ name, worker, isConnected }) => [name, worker, isConnected])];
    if (JSON.stringify(state) === this.drawn) return;
    this.drawn = JSON.stringify(state);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${ROWS.redis + HEIGHT + 4}`);
    this.workers = [...new Set(ends.map(({ worker }) => worker).filter(Boolean))].sort();
    this.hasProxy = !this.workers.includes("direct");
    this.svg.replaceChildren();
    for (const end of ends) if (end.worker) this.#drawLink(end);
    for (const worker of this.workers) this.#line([this.#at(worker, "worker", HEIGHT), this.#at(worker, "redis")], worker, this.#isUp(worker));
    if (this.hasProxy) this.#bar("proxy", "HAProxy");
    this.#bar("redis", this.redis);
    for (const end of ends) this.#box(this.#at(end, "client"), ends.length, end.name, end.worker, end.isConnected);
    for (const worker of this.workers) this.#box(this.#at(worker, "worker"), this.workers.length, worker, worker, this.#isUp(worker));
    this.#drawLabels();
    this.svg.append(this.messages); // those that travel stay
  }

  /** Show the time of each hop beside its line, and which Redis it was. */
  label(hops, redis) {
    Object.assign(this, { hops, redis });
    this.draw(this.ends);
  }

  #drawLabels() {
    const labels = this.#add("g", { class: "labels" });
    const clients = new Map(this.ends.map((end) => [end.name, end]));
    for (const { from, to, ms } of this.hops) {
      const [client, worker] = [clients.get(from) ?? clients.get(to), this.workers.includes(from) ? from : to];
      const isDown = clients.has(from) || to === "Redis";
      // Between workers there is no one line; and some may be gone.
      if (!client && (![from, to].includes("Redis") || !this.workers.includes(worker))) continue;
      const [x, y] = client ? this.#at(client, "client", HEIGHT) : this.#at(worker, "worker", HEIGHT);
      const row = client ? [16, 34] : [20, 40];
      this.#text(x + 5, y + row[isDown ? 0 : 1] + 2, `${isDown ? "↓" : "↑"} ${ms.toFixed(1)}`, labels, "start");
    }
  }

  /** Let a message travel from one end to others; `shares` are those of its four hops in the time it took. */
  travel(sender, receivers, shares) {
    for (const receiver of receivers) this.#mark(sender, receiver);
    if (STILL.matches) return;
    for (const receiver of receivers) this.#animate(this.#getRoute(sender, receiver), shares);
  }

  #mark(...ends) {
    for (const { name } of ends) {
      const box = [...this.svg.querySelectorAll("g.box")].find(({ dataset }) => dataset.name === name);
      box?.classList.add("on");
    }
  }

  /** The points of a route, by hop. */
  #getRoute(sender, receiver) {
    const up = [this.#at(sender, "client", HEIGHT), this.#at(sender, "proxy", HEIGHT), this.#at(sender.worker, "worker")];
    const down = [this.#at(receiver.worker, "worker"), this.#at(receiver, "proxy", HEIGHT), this.#at(receiver, "client", HEIGHT)];
    const redis = [sender, receiver].map(({ worker }) => this.#at(worker, "redis", HEIGHT / 2));
    return [up, [up.at(-1), redis[0]], [...redis, down[0]], down];
  }

  #animate(route, shares) {
    const total = shares.reduce((sum, one) => sum + Math.max(one, LEAST), 0);
    let start = 0;
    const frames = route.flatMap((points, hop) => {
      const share = Math.max(shares[hop], LEAST) / total;
      const found = points.map(([x, y], index) => ({ transform: `translate(${x}px, ${y}px)`, offset: Math.min(1, start + (share * index) / (points.length - 1)) }));
      start += share;
      return found;
    });
    const dot = this.#add("circle", { r: 7, class: "message" }, this.messages);
    dot.animate(frames, { duration: FULL_MS }).finished.catch(() => {}).then(() => dot.remove());
  }

  /** Whether a worker serves one of the sockets. */
  #isUp(worker) {
    return this.ends.some((end) => end.worker === worker && end.isConnected);
  }

  /** Where an end or a worker meets a row. */
  #at(one, row, below = 0) {
    const all = typeof one === "string" ? this.workers : this.ends;
    return [(this.width * (all.indexOf(one) + 0.5)) / all.length, ROWS[row] + below];
  }

  #drawLink(end) {
    const middle = this.hasProxy ? [this.#at(end, "proxy"), this.#at(end, "proxy", HEIGHT)] : [];
    this.#line([this.#at(end, "client", HEIGHT), ...middle, this.#at(end.worker, "worker")], end.worker, end.isConnected);
  }

  #line(points, worker, isUp) {
    this.#add("polyline", { points: points.join(" "), class: isUp ? "link" : "link lost", "data-color": getColor(worker) });
  }

  #bar(row, text) {
    const group = this.#add("g", { class: `bar ${row}` });
    this.#add("rect", { x: 2, y: ROWS[row], width: this.width - 4, height: HEIGHT, rx: 6 }, group);
    this.#text(this.width / 2, ROWS[row] + 20, text, group);
  }

  #box([x, y], count, name, worker, isUp) {
    const width = Math.min(130, this.width / count - GAP);
    const group = this.#add("g", { class: isUp ? "box" : "box lost", "data-name": name });
    if (worker) group.dataset.color = getColor(worker);
    this.#add("rect", { x: x - width / 2, y, width, height: HEIGHT, rx: 6 }, group);
    const isWide = name.length * LETTER < width;
    this.#text(x, y + 20, isWide ? name : `…${name.slice(-2).trim()}`, group);
  }

  #text(x, y, textContent, parent, anchor = "middle") {
    this.#add("text", { x, y, "text-anchor": anchor }, parent).textContent = textContent;
  }

  #add(tag, attributes, parent = this.svg) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    parent.append(element);
    return element;
  }
}
