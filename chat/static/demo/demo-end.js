// One socket of the demo: its connection, its panel, and its worker's clock.

import { connect, follow, getWorker, request, toText } from "../chat/connection.js";
import { $, make, setText } from "../chat/dom.js";
import { Clock, readClock } from "./demo-clock.js";
import { Numbers } from "./demo-numbers.js";

const MAX_RECEIVED = 5;
const ROUND_TRIPS = 8;
const COLORS = 8;
const STATE_WORDS = { connecting: "Connecting …", connected: "Connected", reconnecting: "Reconnecting …", refused: "Refused." };

/** The colour of a worker, by the number in its name. */
export const getColor = (worker) => (Number(/\d+$/.exec(worker)?.[0] ?? 1) - 1) % COLORS;

export class End {
  #lostAt = null;

  /** `handlers`: `onChange()` and `onEvent(end, event, data, meta, at)`. */
  constructor(number, handlers) {
    Object.assign(this, { number, handlers, numbers: new Numbers(), user: number, worker: "", loss: null, socket: null });
    this.panel = $("panel").content.firstElementChild.cloneNode(true);
    this.panel.id = `socket-${number}`;
    this.panel.setAttribute("aria-labelledby", `title-${number}`);
    this.find("h2").id = `title-${number}`;
    if (number === 1) this.find(".received").id = "received";
  }

  get isConnected() {
    return Boolean(this.socket?.connected);
  }

  get name() {
    return `user ${this.user}`;
  }

  find(selector) {
    return this.panel.querySelector(selector);
  }

  /** Connect as `user`, in place of what was; resolves once connected, or with false if refused. */
  open(user) {
    this.close();
    this.user = user;
    const socket = (this.socket = connect(String(user)));
    for (const event of ["message", "privateMessage", "broadcast"]) {
      socket.on(event, (data, meta) => this.handlers.onEvent(this, event, data, meta, readClock()));
    }
    return new Promise((resolve) => {
      follow(socket, (state, reason) => {
        if (state === "connected") this.#onConnected();
        if (state === "reconnecting" && this.worker) this.#lostAt ??= readClock();
        this.show(state, reason);
        if (state === "connected" || state === "refused") resolve(state === "connected");
      });
    });
  }

  close() {
    this.socket?.off().close();
  }

  #onConnected() {
    const { socket } = this;
    const before = this.worker;
    this.worker = getWorker(socket);
    if (this.#lostAt !== null) {
      this.loss = { ms: Math.round(readClock() - this.#lostAt), isRecovered: Boolean(socket.recovered), before, worker: this.worker };
      this.#lostAt = null;
    }
    socket.io.engine.on("upgrade", (transport) => this.write("transport", transport.name));
    this.clock = new Clock();
    this.ready = this.#askClock();
  }

  async #askClock() {
    for (let tries = 0; tries < ROUND_TRIPS; tries += 1) await this.trace();
  }

  /** What this socket's worker knows of a message, and the clock by which it says so. */
  async trace(id) {
    const { clock, socket } = this;
    const asked = readClock();
    const answer = await request(socket, "trace", { id });
    if (answer.ok) clock.add(asked, answer.now, readClock());
    return { name: this.name, worker: this.worker, clock, notes: answer };
  }

  show(state, reason) {
    const { dataset } = this.panel;
    const isConnected = state === "connected";
    dataset.state = isConnected || state === "connecting" ? state : "disconnected";
    dataset.user = this.user;
    dataset.worker = this.worker;
    this.write("user", this.user);
    this.write("state", [STATE_WORDS[state], isConnected ? "" : reason].join(" ").trim());
    this.find(".state").dataset.state = state;
    if (this.worker) dataset.color = getColor(this.worker);
    this.write("worker", this.worker);
    if (isConnected) {
      dataset.sid = this.socket.id;
      this.write("sid", this.socket.id);
      this.write("transport", this.socket.io.engine.transport.name);
    }
    this.#showLoss();
    this.handlers.onChange();
  }

  #showLoss() {
    if (!this.loss) return;
    const { ms, isRecovered, before, worker } = this.loss;
    const where = before === worker ? `on ${worker} again` : `from ${before} to ${worker}`;
    this.panel.dataset.recovered = isRecovered;
    this.write("loss", `back after ${ms.toLocaleString()} ms, recovered: ${isRecovered ? "yes" : "no"}, ${where}`);
  }

  showNumbers() {
    this.write("numbers", String(this.numbers));
  }

  showReceived(event, data, meta) {
    const list = this.find(".received");
    const at = new Date(meta?.at ?? Date.now()).toLocaleTimeString();
    list.prepend(make("li", { className: event }, make("span", { textContent: toText(data) }), make("time", { textContent: at })));
    while (list.children.length > MAX_RECEIVED) list.lastElementChild.remove();
  }

  write(name, text) {
    setText(this.find(`.${name}`), String(text));
  }
}
