// The clock of a worker, as the page sees it over a connection: by the quickest of some round trips.

const KEPT_MS = 60_000; // so long an estimate counts; clocks drift

/** The page's clock: milliseconds since 1970. */
export const readClock = () => performance.timeOrigin + performance.now();

export class Clock {
  #samples = [];

  /** A worker read `now` (microseconds) between `asked` and `answered` by the page's clock. */
  add(asked, now, answered) {
    const sample = { at: answered, offset: now / 1000 - (asked + answered) / 2, error: (answered - asked) / 2 };
    this.#samples = [...this.#samples.filter(({ at }) => answered - at < KEPT_MS), sample];
  }

  get best() {
    return this.#samples.reduce((best, one) => (one.error < best.error ? one : best));
  }

  /** How far it may be off, in milliseconds. */
  get error() {
    return this.best.error;
  }

  get offset() {
    return this.best.offset;
  }

  /** A worker's microseconds, by the page's clock. */
  toPage(time) {
    return time / 1000 - this.best.offset;
  }
}
