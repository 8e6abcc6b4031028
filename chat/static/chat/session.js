// The connection of the chat page, and how its conversations are brought up to date over it.

import { connect, follow, request } from "./connection.js";
import { COMMON_ROOM } from "./conversations.js";

const TRIES = 10; // of what was too much at once
const WAIT_MS = 1000;
const EVENTS = ["message", "privateMessage", "broadcast"];

export class Session {
  /**
   * `handlers`: `onState(state, reason, code)`, `onConnect()` for what each connection needs, `onReady(outcome)` once all is up to date (`outcome` is "first",
   * "recovered", "read" or "gap"), `onLostRoom(room, reason)`.
   */
  constructor(user, token, conversations, history, handlers) {
    Object.assign(this, { user, conversations, history, handlers });
    this.wasConnected = false;
    this.socket = connect(user, token);
    follow(this.socket, (state, reason, code) => {
      handlers.onState(state, reason, code);
      if (state !== "connected") return;
      this.bringUpToDate();
      handlers.onConnect(); // after that, as it asks about rooms that are joined again just now
    });
  }

  /** Call `onMessage(event, data, meta)` with all that is said. */
  listen(onMessage) {
    for (const event of EVENTS) this.socket.on(event, (data, meta) => onMessage(event, data, meta));
  }

  get isConnected() {
    return this.socket.connected;
  }

  /** Emit and wait for the answer, as `request` does; what the server calls too much at once is sent again later. */
  async request(event, data) {
    for (let tries = 1; ; tries += 1) {
      const answer = await request(this.socket, event, data);
      if (answer.error?.code !== "rate_limited" || tries === TRIES) return answer;
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    }
  }

  close() {
    this.socket.off().close();
  }

  async bringUpToDate() {
    const { id, recovered } = this.socket;
    const isFirst = !this.wasConnected;
    this.wasConnected = true;
    if (!isFirst && recovered) return this.handlers.onReady("recovered");
    const { current } = this.conversations;
    const rooms = this.conversations.getAll("room").sort((a, b) => (b === current) - (a === current));
    let isRead = true;
    for (const { name } of rooms) isRead = (await this.enter(name)) && isRead; // not all at once: that may be too much
    isRead = (await this.history.catchUp(this.conversations.inbox)) && isRead;
    if (this.socket.id !== id) return; // lost again; the next connection does it all
    const outcome = isRead ? "read" : "gap";
    this.handlers.onReady(isFirst ? "first" : outcome);
  }

  /** Be in `room`, and have what was said there; return whether that is so. */
  async enter(room) {
    const { ok, error } = room === COMMON_ROOM ? { ok: true } : await this.request("join", { room });
    if (ok) return this.history.catchUp(room);
    this.handlers.onLostRoom(room, error.message);
    return true;
  }
}
