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

  /** Take in what the server told; return `{conversation, item}` if it is new, else null. */
  receive(event, data, meta) {
    // A process that emits over Redis sends no meta; the argument may then be missing, or the message's offset.
    const known = typeof meta === "object" && meta !== null ? meta : {};
    const conversation = this.find(event, data, known);
    if (!conversation || !(event in KINDS)) return null;
    const item = {
      kind: KINDS[event],
      id: known.id ?? null,
      ownId: typeof data?.id === "string" ? data.id : null,
      from: known.from ?? null,
      at: known.at ?? Date.now(),
      text: toText(data),
      isOwn: known.from === this.user,
    };
    if (item.isOwn) item.state = "sent";
    const isNew = conversation.add(item);
    this.onChange();
    return isNew ? { conversation, item } : null;
  }

  find(event, data, { room, from }) {
    if (event === "message" && room !== undefined) return this.hasRoom(room) ? this.get("room", room) : null;
    if (event !== "privateMessage" || typeof from !== "string") return this.everybody;
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
