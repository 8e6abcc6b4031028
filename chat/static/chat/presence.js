// The users in a room, kept up to date by the server's `presence` events.

export class Presence {
  /** `session` has `socket`, `user` and `request`; `onChange()` is called after each change. */
  constructor(session, room, onChange) {
    Object.assign(this, { session, room, onChange });
    this.users = new Set([session.user]);
    this.isKnown = false;
    this.isMore = false; // users than the server named
    this.problem = ""; // why the list is unknown
    this.question = null; // the newest one; answers to older questions are out of date
    this.listener = (change) => this.hear(change);
    session.socket.on("presence", this.listener);
    if (session.isConnected) this.ask();
  }

  /** Read the list of users again. Each new connection needs it: the server does not repeat missed changes. */
  async ask() {
    const question = (this.question = { early: [] }); // the changes that come before the answer
    const { ok, users, more, error } = await this.session.request("who", { room: this.room, watch: true });
    if (question !== this.question) return;
    this.problem = ok ? "" : `Who is here could not be read: ${error.message}`;
    if (ok) {
      // The server names a part of very many users, and the own user may be missing.
      this.users = new Set([this.session.user, ...users.map(({ userId }) => userId)]);
      this.isMore = Boolean(more);
      this.isKnown = true;
    }
    for (const change of question.early) this.apply(change);
    question.early = null;
    this.onChange();
  }

  /** Stop watching the room; a room that was left sends no changes. */
  stop(isLeft = false) {
    this.question = null;
    this.session.socket.off("presence", this.listener);
    if (!isLeft && this.session.socket.active) this.session.request("who", { room: this.room, watch: false });
  }

  hear(change) {
    if (change.room !== this.room) return;
    this.question?.early?.push(change);
    this.apply(change);
    this.onChange();
  }

  apply({ userId, online }) {
    if (online) this.users.add(userId);
    else this.users.delete(userId);
  }
}
