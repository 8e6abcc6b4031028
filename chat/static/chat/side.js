// The side list: rooms and private conversations, with what is unread and who is there.

import { make, perFrame, setChildren, setText } from "./dom.js";

const MOST = 300; // private conversations shown
const MANY = 99;

export class Side {
  /** `isOnline(user)` is true, false, or null if that is not known; `onPick(conversation)` is called when one is chosen. */
  constructor(rooms, privates, { isOnline, onPick }) {
    Object.assign(this, { rooms, privates, isOnline, onPick });
    this.entries = new WeakMap(); // by conversation
    this.update = perFrame(() => this.render());
  }

  show(conversations) {
    this.conversations = conversations;
    this.update();
  }

  render() {
    const { conversations } = this;
    const newest = conversations.getAll("user").sort((a, b) => b.newest - a.newest).slice(0, MOST);
    setChildren(this.rooms, [...conversations.getAll("room"), conversations.everybody].map((one) => this.getEntry(one)));
    setChildren(this.privates, newest.map((one) => this.getEntry(one)));
    document.title = `${conversations.unread ? `(${conversations.unread}) ` : ""}${conversations.current.name} – webfarm`;
  }

  getEntry(conversation) {
    if (!this.entries.has(conversation)) this.entries.set(conversation, this.makeEntry(conversation));
    const { entry, button, badge, count, state } = this.entries.get(conversation);
    const { unread } = conversation;
    if (conversation === this.conversations.current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    badge.hidden = unread === 0;
    setText(count, unread > MANY ? `${MANY}+` : String(unread));
    if (state) showOnline(state, this.isOnline(conversation.name));
    return entry;
  }

  makeEntry(conversation) {
    const { kind, name } = conversation;
    const count = make("span", { className: "number" });
    const badge = make("span", { className: "unread" }, count, make("span", { className: "unseen", textContent: " unread" }));
    const label = make("span", { className: "label", dir: "auto", textContent: name });
    const button = make("button", { type: "button", dataset: { [kind]: name } });
    const state = kind === "user" ? make("span", { className: "presence" }, make("span", { className: "unseen" })) : null;
    button.append(state ?? make("span", { className: "sign", ariaHidden: "true", textContent: kind === "room" ? "#" : "*" }), label, badge);
    button.addEventListener("click", () => this.onPick(conversation));
    return { entry: make("li", {}, button), button, badge, count, state };
  }
}

function showOnline(element, isOnline) {
  element.dataset.online = isOnline;
  setText(element.firstElementChild, isOnline === null ? "" : isOnline ? "online: " : "offline: ");
}
