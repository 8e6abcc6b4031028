// What a screen reader says of new messages: each by itself if they are few, else how many they are.

const WAIT_MS = 500;
const MOST = 3;

export class Announcer {
  constructor(region) {
    this.region = region;
    this.waiting = [];
  }

  /** Say what `from` has written; `where` is set if that is not the open conversation. */
  say({ from, text }, where) {
    this.waiting.push(`${from ?? "The server"}${where ? `, ${where}` : ""}: ${text}`);
    if (this.waiting.length === 1) setTimeout(() => this.flush(), WAIT_MS);
  }

  flush() {
    const { waiting } = this;
    this.waiting = [];
    this.region.textContent = waiting.length > MOST ? `${waiting.length.toLocaleString()} new messages` : waiting.join(". ");
  }
}
