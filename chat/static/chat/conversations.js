// All conversations of a user: rooms, private ones, and what goes to everybody; which message belongs to which.

import { toText } from "./connection.js";
import { Conversation } from "./conversation.js";

export const COMMON_ROOM = "common";
const EVERYBODY = "Announcements";
const KINDS = { message: "message", privateMessage: "private", broadcast: "broadcast" };

export class Conversations {
  /** `memory` knows what was read before; `onChange()` is called after every change. */
  constructor(user, memory, onChange) {
    Object.assign(this, { user, memory, onChange });
    this.all = new Map();
    this.everybody = this.get("everybody", EVERYBODY);
    this.current = this.get("room", COMMON_ROOM);
    for (const room of memory.rooms) this.get("room", room);
  }

  /** Return a conversation, which may be new. */
  get(kind, name) {
    const key = `${kind}:${name}`;
    if (!this.all.has(key)) {
      const source = { room: name, user: this.inbox, everybody: null }[kind];
      this.all.set(key, new Conversation(kind, name, source, this.memory.getRead(key) ?? (kind === "room" ? null : 0)));
      this.onChange();
    }
    return this.all.get(key);
  }

  /** The room of all that was sent to the user in private. */
  get inbox() {
    return `user:${this.user}`;
  }

  getAll(kind) {
    return [...this.all.values()].filter((one) => one.kind === kind);
  }

  getBySource(source) {
    return [...this.all.values()].filter((one) => one.source === source);
  }

  hasRoom(room) {
    return this.all.has(`room:${room}`);
  }

  remove(conversation) {
    this.all.delete(conversation.key);
    if (conversation === this.current) this.current = this.get("room", COMMON_ROOM);
    this.saveRooms();
    this.onChange();
  }

  saveRooms() {
    this.memory.rooms = this.getAll("room").map(({ name }) => name).filter((name) => name !== COMMON_ROOM);
  }

  /**
   * Take in an event of the server; with `only`, one that belongs to this conversation. Return `{conversation, item}` if
   * it is new, else null.
   */
  receive(event, data, meta, only = null) {
    const known = readMeta(meta);
    const conversation = Object.hasOwn(KINDS, event) ? this.find(event, data, known) : null;
    if (!conversation || (only && conversation !== only)) return null;
    const { id, from, at } = known;
    const ownId = typeof data?.id === "string" ? data.id : null;
    const item = { kind: KINDS[event], id, ownId, from, at, text: toText(data), isOwn: from === this.user };
    if (item.isOwn) item.state = "sent";
    const isNew = conversation.add(item);
    this.onChange();
    return isNew ? { conversation, item } : null;
  }

  find(event, data, { room, from }) {
    if (event === "message" && room !== null) return this.hasRoom(room) ? this.get("room", room) : null;
    if (event !== "privateMessage" || from === null) return this.everybody;
    // Of what the user has written in private, a copy goes to itself: `peer` is whom it was for.
    const isCopy = from === this.user && typeof data?.peer === "string";
    return this.get("user", isCopy ? data.peer : from);
  }

  /** Count `item` as unread; if it `isOld`, only if it was not read by then. */
  count(conversation, item, isOld = false) {
    const { lastRead } = conversation;
    if (item.isOwn || (isOld && (lastRead === null || Number(item.id) <= lastRead))) return;
    conversation.unread += 1;
    this.onChange();
  }

  markRead(conversation) {
    conversation.markRead();
    this.memory.setRead(conversation.key, conversation.lastRead);
    this.onChange();
  }

  get unread() {
    return [...this.all.values()].reduce((sum, { unread }) => sum + unread, 0);
  }
}

/** The server's word on a message. A process that emits over Redis sends none, or what it likes. */
function readMeta(meta) {
  const { id, from, at, room } = typeof meta === "object" && meta !== null ? meta : {};
  return {
    id: /^\d{1,16}$/.test(id) ? String(id) : null,
    from: typeof from === "string" ? from : null,
    at: Number.isNaN(new Date(at ?? NaN).getTime()) ? Date.now() : at,
    room: typeof room === "string" ? room : null,
  };
}
