// The messages of the open conversation. Of very many only those around the reader are in the page.

import { perFrame, setChildren } from "./dom.js";
import { makeEntry, refresh } from "./entry.js";

const MOST = 150; // in the page
const STEP = 50; // more, when one comes near the end of what is there
const NEAR = 600; // pixels
const AT_END = 40;

export class Log {
  /**
   * `actions`: those of an entry, `onTop()` when the oldest known message is near, and `onEnd(isAtEnd)` when the reader
   * comes to the end or leaves it.
   */
  constructor(scroller, list, actions) {
    Object.assign(this, { scroller, list, actions });
    this.entries = new WeakMap(); // by message
    this.shown = []; // messages in the page
    this.isAtEnd = true;
    this.update = perFrame(() => this.render());
    scroller.addEventListener("scroll", () => this.onScroll(), { passive: true });
    new ResizeObserver(() => this.isAtEnd && this.goToEnd()).observe(scroller);
  }

  /** Show another conversation, from its end. */
  show(conversation) {
    this.conversation = conversation;
    this.shown = [];
    this.setAtEnd(true);
    this.update();
  }

  /** Go to the newest message. */
  showEnd() {
    this.setAtEnd(true);
    this.update();
  }

  render(shift = 0) {
    const { items } = this.conversation;
    const first = this.findStart(items, shift);
    const anchor = this.isAtEnd ? null : this.findAnchor();
    this.shown = items.slice(first, first + MOST);
    setChildren(this.list, this.shown.map((item, index) => this.getEntry(item, items[first + index - 1] ?? null, items[first + index + 1] ?? null)));
    this.start = first;
    this.isLast = first + this.shown.length === items.length; // of what there was by then; more may have come
    if (this.isAtEnd) this.goToEnd();
    else if (anchor?.entry.isConnected) this.scroller.scrollTop += anchor.entry.offsetTop - anchor.top;
    if (first === 0 && this.scroller.scrollTop < NEAR) this.actions.onTop();
  }

  findStart(items, shift) {
    const last = Math.max(0, items.length - MOST);
    if (this.isAtEnd) return last;
    // The first one may be gone, or no longer stand where it stood.
    const index = this.shown.map((item) => items.indexOf(item)).find((one) => one >= 0) ?? 0;
    const grown = index > 0 && this.start === 0 && !shift ? index - STEP : index; // older ones were read just now
    return Math.min(last, Math.max(0, grown + shift));
  }

  /** The first entry that the reader sees; it must stay where it is. */
  findAnchor() {
    const { scrollTop } = this.scroller;
    const entry = [...this.list.children].find((one) => one.offsetTop + one.offsetHeight > scrollTop);
    return entry && { entry, top: entry.offsetTop };
  }

  getEntry(item, before, after) {
    if (!this.entries.has(item)) this.entries.set(item, makeEntry(item, this.actions));
    const entry = this.entries.get(item);
    refresh(entry, item, before, after);
    return entry;
  }

  onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const below = scrollHeight - scrollTop - clientHeight;
    this.setAtEnd(this.isLast && below < AT_END);
    if (scrollTop < NEAR && this.start > 0) this.render(-STEP);
    else if (scrollTop < NEAR) this.actions.onTop();
    else if (below < NEAR && !this.isLast) this.render(STEP);
  }

  setAtEnd(isAtEnd) {
    if (isAtEnd === this.isAtEnd) return;
    this.isAtEnd = isAtEnd;
    this.actions.onEnd(isAtEnd);
  }

  goToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}
