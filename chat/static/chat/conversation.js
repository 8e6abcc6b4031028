// One conversation: what was said in it, as far as it is known here, in the server's order; what is being sent comes last.

const KEPT = 1000; // messages, unless somebody reads further up
const MOST = 10_000;

export class Conversation {
  /**
   * `kind` is "room", "user" or "everybody", and `name` the room's or the user's name. `source` is the room with its
   * history, or null if there is none. `lastRead` is the id of the last message that was read, null if unknown.
   */
  constructor(kind, name, source, lastRead) {
    Object.assign(this, { kind, name, source, lastRead });
    this.key = `${kind}:${name}`;
    this.draft = "";
    this.stored = [];
    this.pending = [];
    this.unread = 0;
    this.cursor = null; // the id before which history was not read yet
    this.isComplete = this.source === null; // nothing older can be read
    this.isLoading = false;
    this.retryAt = 0; // when a page that could not be read may be asked for again
    this.ids = new Set();
    this.own = new Map(); // what was written here or elsewhere by this user, by the id that its page gave it
  }

  get items() {
    return this.pending.length ? [...this.stored, ...this.pending] : this.stored;
  }

  get newest() {
    return Number(this.stored.at(-1)?.id ?? 0);
  }

  /** Add what the server told; return whether it was unknown. */
  add(item) {
    if (item.id && this.ids.has(item.id)) return false;
    const known = item.isOwn && this.own.get(item.ownId);
    if (known) {
      this.confirm(known, item.id, item.at);
      return false;
    }
    this.insert(item);
    return true;
  }

  /** Add what is being sent. */
  addPending(item) {
    this.pending.push(item);
    this.own.set(item.ownId, item);
  }

  /** What was sent is stored under `id`: it takes its place among the others. */
  confirm(item, id, at = item.at) {
    const index = this.pending.indexOf(item);
    if (index < 0) return;
    this.pending.splice(index, 1);
    Object.assign(item, { id, at, state: "sent", problem: "" });
    this.insert(item);
  }

  insert(item) {
    if (item.id) this.ids.add(item.id);
    if (item.isOwn && item.ownId) this.own.set(item.ownId, item);
    let index = this.stored.length; // nearly always it is the newest
    if (item.id) while (index > 0 && Number(this.stored[index - 1].id ?? 0) > Number(item.id)) index -= 1;
    this.stored.splice(index, 0, item);
  }

  /** Forget the oldest of very many. `isRead` further up, far more are kept. */
  trim(isRead) {
    if (this.stored.length > (isRead ? MOST : 1.2 * KEPT)) this.forget(this.stored.length - (isRead ? MOST : KEPT));
  }

  /** Forget what stands up to the message `id`. */
  forgetUpTo(id) {
    this.forget(this.stored.filter((item) => Number(item.id) <= id).length);
  }

  /** Forget the `count` oldest messages; they can be read again. */
  forget(count) {
    for (const item of this.stored.splice(0, count)) {
      this.ids.delete(item.id);
      if (item.isOwn) this.own.delete(item.ownId);
    }
    if (this.source !== null) {
      this.cursor = this.stored.find((item) => item.id)?.id ?? null;
      this.isComplete = false;
    }
  }

  /** All of it has been seen. */
  markRead() {
    this.unread = 0;
    this.lastRead = Math.max(this.lastRead ?? 0, this.newest);
  }

  /** The event that says something here, and what its data needs for that. */
  get address() {
    if (this.kind === "room") return ["message", { room: this.name }];
    return this.kind === "user" ? ["privateMessage", { toUser: this.name }] : ["broadcast", {}];
  }

  /** What `typing` needs; null where nobody is told. */
  get audience() {
    return this.kind === "everybody" ? null : this.address[1];
  }
}
