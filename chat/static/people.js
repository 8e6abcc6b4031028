// The people of the room that is open, kept up to date by the server's word on who comes and goes.

import { make, request } from "./connection.js";

const MAX_SHOWN = 1000;
const { compare } = new Intl.Collator();

export class People {
  /** `onPick(user)` is called when somebody's name is chosen. */
  constructor(section, onPick) {
    this.onPick = onPick;
    this.list = section.querySelector("ul");
    this.count = section.querySelector(".count");
    this.note = section.querySelector(".note");
    this.entries = new Map(); // by user
    this.isMore = false; // people than are shown
    this.socket = null;
    this.user = "";
    this.room = "";
    this.question = null; // the newest one; answers to others are out of date
    this.problem = ""; // why there is no answer
  }

  /** From now on list what this connection of `user` is told; `ask` once it is there. */
  follow(socket, user) {
    this.socket = socket;
    this.user = user;
    this.clear();
    socket.on("presence", (change) => {
      this.question?.early?.push(change);
      this.apply(change);
    });
  }

  /** List the people of `room` instead. */
  enter(room) {
    const before = this.room;
    this.room = room;
    if (room !== before) {
      this.clear();
      if (before && this.socket) request(this.socket, "who", { room: before, watch: false });
    }
    if (this.socket?.connected) this.ask();
  }

  /** Read anew who is there. Every connection needs it: what changed while there was none is not told later. */
  async ask() {
    const question = (this.question = { early: [] }); // what changes before the answer is there
    const { ok, users, more, error } = await request(this.socket, "who", { room: this.room, watch: true });
    if (question !== this.question) return;
    this.problem = ok ? "" : `Who is here could not be read: ${error.message}`;
    // Of very many users not all are told, and oneself may be missing.
    if (ok) this.replace([{ userId: this.user }, ...users], more);
    else this.show();
    for (const change of question.early) this.apply(change);
    question.early = null;
  }

  apply({ userId, online, room }) {
    if (room !== this.room) return;
    if (online) this.add(userId);
    else this.remove(userId);
    this.show();
  }

  replace(users, isMore = false) {
    const names = new Set(users.map(({ userId }) => userId));
    for (const user of this.entries.keys()) if (!names.has(user)) this.remove(user);
    this.isMore = isMore;
    for (const user of names) this.add(user);
    this.show();
  }

  add(user) {
    if (this.entries.has(user)) return;
    if (this.entries.size >= MAX_SHOWN) {
      this.isMore = true;
      return;
    }
    const isSelf = user === this.user;
    const name = isSelf ? make("span", { textContent: `${user} (you)` }) : makeName(user, this.onPick);
    const entry = make("li", { dataset: { user } }, name);
    this.entries.set(user, entry);
    this.list.insertBefore(entry, this.list.children[this.findPlace(user)] ?? null);
  }

  remove(user) {
    const entry = this.entries.get(user);
    if (!entry) return;
    // Whoever stands on the name with the keyboard must not be thrown out.
    const next = entry.contains(document.activeElement) && (entry.nextElementSibling ?? entry.previousElementSibling);
    this.entries.delete(user);
    entry.remove();
    if (next) (next.querySelector("button") ?? this.list).focus();
  }

  clear() {
    this.question = null;
    this.problem = "";
    this.replace([]);
  }

  show() {
    const { size } = this.entries;
    this.count.textContent = size ? size.toLocaleString() + (this.isMore ? "+" : "") : "";
    this.note.textContent = this.problem || (this.isMore ? "and more" : "");
  }

  /** Where `user` belongs: oneself first, then by name. */
  findPlace(user) {
    const { children } = this.list;
    const isBefore = (other) => user !== this.user && (other === this.user || compare(other, user) < 0);
    let [low, high] = [0, children.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(children[middle].dataset.user)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Make a button with the name of `user`, which calls `onPick(user)`. */
export function makeName(user, onPick) {
  const title = `Write to ${user} in private`;
  const button = make("button", { type: "button", className: "name", textContent: user, title });
  button.addEventListener("click", () => onPick(user));
  return button;
}
