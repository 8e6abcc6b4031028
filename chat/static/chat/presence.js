// Who is in a room, kept up to date by the server's word on who comes and goes.

export class Presence {
  /** `session` has `socket`, `user` and `request`; `onChange()` is called when something is different. */
  constructor(session, room, onChange) {
    Object.assign(this, { session, room, onChange });
    this.users = new Set([session.user]);
    this.isKnown = false;
    this.isMore = false; // people than were told
    this.problem = ""; // why it is not known
    this.question = null; // the newest one; answers to others are out of date
    this.listener = (change) => this.hear(change);
    session.socket.on("presence", this.listener);
    if (session.isConnected) this.ask();
  }

  /** Read anew who is there. Every connection needs it: what changed while there was none is not told later. */
  async ask() {
    const question = (this.question = { early: [] }); // what changes before the answer is there
    const { ok, users, more, error } = await this.session.request("who", { room: this.room, watch: true });
    if (question !== this.question) return;
    this.problem = ok ? "" : `Who is here could not be read: ${error.message}`;
    if (ok) {
      // Of very many users not all are told, and oneself may be missing.
      this.users = new Set([this.session.user, ...users.map(({ userId }) => userId)]);
      this.isMore = Boolean(more);
      this.isKnown = true;
    }
    for (const change of question.early) this.apply(change);
    question.early = null;
    this.onChange();
  }

  /** Ask for no more news, unless the room was left: then there are none. */
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
