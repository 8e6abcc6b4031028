// The steady sender: numbers to a room that all sockets are in, and what came of them when a worker was killed.

import { makeId, request } from "../chat/connection.js";
import { Numbers } from "./demo-numbers.js";

const EVERY_MS = 200;
const MOST = 1500; // five minutes
const MORE = 5; // numbers after all are back, until it is judged
const PATIENCE_MS = 30_000;

export class Steady {
  /** `onProgress()` at each step, and `onVerdict(isGood, text)`; isGood is null until it is known. */
  constructor(handlers) {
    Object.assign(this, { handlers, ends: [], room: "", sent: 0, acknowledged: 0 });
  }

  get isRunning() {
    return this.timer !== undefined;
  }

  /** Begin with 1, in a room that is new. */
  async start(ends) {
    Object.assign(this, { ends, room: `demo:${makeId()}`, sent: 0, acknowledged: 0 });
    for (const end of ends) {
      end.numbers = new Numbers();
      end.showNumbers();
    }
    this.timer = setInterval(() => this.#send(), EVERY_MS);
    for (const end of ends) await request(end.socket, "join", { room: this.room });
    this.areIn = true;
  }

  /** Send no more, and say what came of it. */
  async stop() {
    this.pause();
    await this.judge("Stopped.", this.sent);
    for (const { socket } of this.ends) request(socket, "leave", { room: this.room });
  }

  pause() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.areIn = false;
  }

  async #send() {
    if (!this.areIn) return;
    if (this.sent === MOST) return this.stop();
    const { room, ends } = this;
    const number = (this.sent += 1);
    this.handlers.onProgress();
    const { ok } = await request(ends[0].socket, "message", { room, number, id: makeId() });
    if (this.room !== room || !ok) return;
    this.acknowledged += 1;
    this.handlers.onProgress();
  }

  /** A message came to `end`. */
  receive(end, data, meta) {
    if (meta?.room !== this.room) return;
    end.numbers.add(data.number);
    end.showNumbers();
  }

  /** A socket is back that is in none of its rooms any more. */
  rejoin(end) {
    if (this.isRunning) request(end.socket, "join", { room: this.room });
  }

  /** A worker was killed: wait until all are back and have some more numbers, then say what came of it. */
  async judgeAfter(worker, losses) {
    const { room } = this;
    this.handlers.onVerdict(null, `${worker} was killed. Waiting until all sockets are back …`);
    const isBack = () => losses.every(({ end, before }) => end.isConnected && end.loss !== before);
    await this.until(() => this.room !== room || isBack());
    const last = this.sent + (this.isRunning ? MORE : 0);
    if (this.room !== room) return;
    const back = losses.map(({ end }) => end).filter((end) => end.isConnected && end.loss);
    const slowest = Math.max(0, ...back.map(({ loss }) => loss.ms)).toLocaleString();
    const recovered = back.filter(({ loss }) => loss.isRecovered).length;
    const sockets = `${losses.length} ${losses.length === 1 ? "socket" : "sockets"}`;
    await this.judge(`${worker} was killed: ${sockets} lost, ${recovered} recovered, within ${slowest} ms.`, last);
  }

  /** Wait until all have `last`, and say whether all have all. */
  async judge(why, last) {
    const { room, ends } = this;
    await this.until(() => this.room !== room || (this.acknowledged >= last && ends.every(({ numbers }) => numbers.last >= last)));
    if (this.room !== room) return;
    const reached = Math.min(last, this.sent);
    const faults = ends.map(({ name, numbers }) => [name, numbers.describeFaults(reached)]).filter(([, fault]) => fault);
    if (this.acknowledged < reached) faults.unshift([`${reached - this.acknowledged} of ${reached}`, "not acknowledged"]);
    const outcome = faults.length
      ? faults.map((fault) => fault.join(" ")).join("; ")
      : `Nothing was lost: all ${ends.length} sockets have 1 to ${reached}, complete, none twice, in order.`;
    this.handlers.onVerdict(faults.length === 0, `${why} ${outcome}`);
  }

  async until(condition) {
    const ends = performance.now() + PATIENCE_MS;
    while (!condition() && performance.now() < ends) await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
