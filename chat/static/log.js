// The chat page's log: one entry per message or notice, those of other rooms hidden.

import { make, toText } from "./connection.js";
import { makeName } from "./people.js";

const MAX_ENTRIES = 500;

export class Log {
  /** `onPickUser(user)` is called when the name of a sender is chosen. */
  constructor(list, onPickUser) {
    this.list = list;
    this.onPickUser = onPickUser;
    this.room = "";
    this.own = []; // sent from here and not yet seen coming back
    this.ids = new Set(); // of messages that came in
  }

  /** Show what belongs to `room`, and what belongs to none. */
  showRoom(room) {
    this.room = room;
    for (const entry of this.list.children) entry.hidden = this.isElsewhere(entry);
    this.list.scrollTop = this.list.scrollHeight;
  }

  addNotice(text) {
    this.append(make("li", { className: "notice" }, make("p", { textContent: text })));
  }

  has(event, meta) {
    return this.ids.has(getId(event, meta));
  }

  /** What came in. Our own, coming back, takes the place in the order that the server gave it. */
  addIncoming(event, data, meta, isOwn) {
    const kind = event === "privateMessage" ? "private" : event;
    const key = getKey(event, data);
    if (meta.id) this.ids.add(getId(event, meta));
    if (this.ids.size > 2 * MAX_ENTRIES) this.ids = new Set([...this.ids].slice(-MAX_ENTRIES));
    const index = isOwn ? this.own.findIndex((one) => one.key === key) : -1;
    if (index >= 0) {
      const [{ entry }] = this.own.splice(index, 1);
      this.finish(entry, meta.at);
      // Moved only if need be: a screen reader reads it again.
      if (entry !== this.list.lastElementChild) this.append(entry);
    } else {
      this.append(this.makeEntry(kind, toText(data), { from: meta.from, room: meta.room, at: meta.at, label: kind }));
    }
  }

  /** What is being sent; `answer`, a promise, decides what becomes of it. */
  addOutgoing(event, data, from, answer) {
    const kind = event === "privateMessage" ? "private" : event;
    const label = kind === "private" ? `private to ${data.toUser ?? `socket ${data.to}`}` : kind;
    const entry = this.makeEntry(kind, data.text, { from, room: data.room, label });
    entry.classList.add("own");
    entry.dataset.state = "sending";
    entry.append(make("p", { className: "status", textContent: "sending" }));
    if (kind !== "private") this.own.push({ entry, key: getKey(event, data) });
    this.append(entry, true);
    answer.then(({ ok, error }) => {
      if (ok) this.finish(entry);
      else if (entry.dataset.state === "sending") setState(entry, "failed", `failed: ${error.message}`);
    });
  }

  finish(entry, at) {
    setState(entry, "sent", "sent");
    if (at) setTime(entry.querySelector("time"), at);
  }

  makeEntry(kind, text, { from, room, at = Date.now(), label }) {
    const time = make("time");
    setTime(time, at);
    const head = make("p", { className: "head" }, this.makeSender(from), time);
    if (kind !== "message") head.insertBefore(make("span", { className: "tag", textContent: label }), time);
    const body = make("p", { className: "text", textContent: text });
    return make("li", { className: kind, dataset: room ? { room } : {} }, head, body);
  }

  makeSender(from) {
    // What another process emitted has no user.
    if (typeof from !== "string") return make("span", { className: "name", textContent: "the server" });
    return makeName(from, this.onPickUser);
  }

  append(entry, follow = false) {
    const { list } = this;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    entry.hidden = this.isElsewhere(entry);
    list.append(entry);
    while (list.children.length > MAX_ENTRIES) list.firstElementChild.remove();
    this.own = this.own.filter((one) => one.entry.isConnected);
    // Whoever reads further up is left in peace.
    if (isAtEnd || follow) list.scrollTop = list.scrollHeight;
  }

  isElsewhere(entry) {
    return "room" in entry.dataset && entry.dataset.room !== this.room;
  }
}

// An echo may come before its acknowledgement, so it is known by what it says; the server returns data as sent.
function getKey(event, data) {
  return JSON.stringify([event, data]);
}

/** Ids of different rooms may be the same. */
function getId(event, meta) {
  return JSON.stringify([event, meta.room, meta.id]);
}

function setState(entry, state, text) {
  entry.dataset.state = state;
  entry.querySelector(".status").textContent = text;
}

function setTime(element, at) {
  const date = new Date(at);
  element.dateTime = date.toISOString();
  element.textContent = date.toLocaleTimeString();
}
