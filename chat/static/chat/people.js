// The people of the room that is open: oneself first, then by name.

import { make, perFrame, setChildren, setText } from "./dom.js";

const MOST = 300; // shown at once
const { compare } = new Intl.Collator();

export class People {
  /** `onPick(user)` is called when somebody's name is chosen. */
  constructor(section, onPick) {
    this.onPick = onPick;
    this.list = section.querySelector("ul");
    this.title = section.querySelector(".of");
    this.count = section.querySelector(".count");
    this.note = section.querySelector(".note");
    this.entries = new Map(); // by user
    this.update = perFrame(() => this.render());
  }

  /** Show who is there by `presence`, which may change at any time; then call `update`. */
  show(presence) {
    this.presence = presence;
    this.entries.clear();
    this.update();
  }

  render() {
    const { users, isMore, isKnown, problem, session, room } = this.presence;
    const others = [...users].filter((user) => user !== session.user).sort(compare);
    const shown = isKnown ? [session.user, ...others].slice(0, MOST) : [];
    const entries = new Map(shown.map((user) => [user, this.entries.get(user) ?? this.makeEntry(user, session.user)]));
    this.entries = entries;
    setChildren(this.list, [...entries.values()]);
    setText(this.title, room);
    setText(this.count, isKnown ? users.size.toLocaleString() + (isMore ? "+" : "") : "");
    setText(this.note, problem || (isMore || users.size > shown.length && isKnown ? "and more" : ""));
  }

  makeEntry(user, self) {
    const isSelf = user === self;
    const name = isSelf ? make("span", { className: "name" }, make("bdi", { textContent: user }), " (you)") : makeName(user, this.onPick);
    return make("li", { dataset: { user } }, name);
  }
}

/** Make a button with the name of `user`, which calls `onPick(user)`. */
export function makeName(user, onPick) {
  const title = `Write to ${user} in private`;
  const button = make("button", { type: "button", className: "name", dir: "auto", textContent: user, title });
  button.addEventListener("click", () => onPick(user));
  return button;
}
