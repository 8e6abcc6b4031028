// The users who are writing: the own user tells others, and others are shown for some seconds.

import { perFrame, setText } from "./dom.js";

const TELL_MS = 2500;
const SHOWN_MS = 6000;
const MOST_NAMES = 2;

export class Typing {
  constructor(line, user) {
    Object.assign(this, { line, user });
    this.writers = new Map(); // by conversation's key: timers by user
    this.toldAt = 0;
    this.update = perFrame(() => this.render());
  }

  /** The user is writing in `conversation`. */
  tell(socket, conversation) {
    if (!conversation.audience || !socket.connected || Date.now() - this.toldAt < TELL_MS) return;
    this.toldAt = Date.now();
    socket.volatile.emit("typing", conversation.audience);
  }

  /** The text was sent: tell others at the next word. */
  reset() {
    this.toldAt = 0;
  }

  hear({ userId, room, toUser }) {
    if (typeof userId !== "string" || userId === this.user) return;
    const key = toUser === undefined ? `room:${room}` : `user:${userId}`;
    this.forget(key, userId);
    if (!this.writers.has(key)) this.writers.set(key, new Map());
    this.writers.get(key).set(userId, setTimeout(() => this.forget(key, userId), SHOWN_MS));
    this.update();
  }

  /** Forget all users who are writing. */
  clear() {
    for (const [key, writers] of this.writers) for (const user of writers.keys()) this.forget(key, user);
  }

  /** `user` has stopped writing in the conversation `key`. */
  forget(key, user) {
    const writers = this.writers.get(key);
    if (!writers?.has(user)) return;
    clearTimeout(writers.get(user));
    writers.delete(user);
    if (writers.size === 0) this.writers.delete(key);
    this.update();
  }

  show(conversation) {
    this.key = conversation.key;
    this.update();
  }

  render() {
    const names = [...(this.writers.get(this.key)?.keys() ?? [])];
    const isMany = names.length > MOST_NAMES;
    const who = isMany ? "Several people" : names.join(" and ");
    setText(this.line, names.length ? `${who} ${names.length > 1 ? "are" : "is"} writing …` : "");
  }
}
