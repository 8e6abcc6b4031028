// What the user writes: on its way, stored, or failed and to be tried again.

import { makeId } from "./connection.js";

const KINDS = { room: "message", user: "private", everybody: "broadcast" };

export class Outgoing {
  constructor(conversations, request) {
    Object.assign(this, { conversations, request });
  }

  /** Send a text. The id goes with every try, so that the server stores it once. */
  send(conversation, text) {
    const { user } = this.conversations;
    const item = { kind: KINDS[conversation.kind], id: null, ownId: makeId(), from: user, at: Date.now(), text, isOwn: true };
    conversation.addPending(item);
    this.try(conversation, item);
  }

  async try(conversation, item) {
    Object.assign(item, { state: "sending", problem: "" });
    this.conversations.onChange();
    const [event, address] = conversation.address;
    const data = { ...address, text: item.text, id: item.ownId };
    const { ok, id, error } = await this.deliver(event, data);
    if (ok && conversation.kind === "user") await this.keepCopy(conversation.name, data);
    if (ok) conversation.confirm(item, id);
    else if (item.state === "sending") Object.assign(item, { state: "failed", problem: error.message });
    this.conversations.onChange();
  }

  /** Nothing on its way will be answered any more. */
  giveUp() {
    const pending = [...this.conversations.all.values()].flatMap((one) => one.pending);
    for (const item of pending) if (item.state === "sending") Object.assign(item, { state: "failed", problem: "The connection was closed." });
    this.conversations.onChange();
  }

  async deliver(event, data) {
    const answer = await this.request(event, data);
    if (answer.error?.code !== "not_in_room" || !this.conversations.hasRoom(data.room)) return answer;
    // It was written without a connection, and went out before the room was joined again.
    await this.request("join", { room: data.room });
    return this.request(event, data);
  }

  /** A private message reaches its recipient alone: what was written is kept, and shown in other tabs, by a copy to oneself. */
  async keepCopy(peer, { text, id }) {
    const { user } = this.conversations;
    if (peer !== user) await this.request("privateMessage", { toUser: user, peer, text, id });
  }
}
