// The quiet line above the field: that the connection is lost, that it is back, or why something was not done.

import { setText } from "./dom.js";

const SHOWN_MS = 8000;

export class Line {
  constructor(element) {
    this.element = element;
    this.lasting = ["", ""];
    this.timer = null;
  }

  /** Say something for a while. */
  say(kind, text) {
    clearTimeout(this.timer);
    this.write(kind, text);
    this.timer = setTimeout(() => this.write(...this.lasting), SHOWN_MS);
  }

  /** Say something until there is something else to be said. */
  keep(kind, text) {
    clearTimeout(this.timer);
    this.lasting = [kind, text];
    this.write(kind, text);
  }

  write(kind, text) {
    this.element.dataset.kind = kind;
    setText(this.element, text);
  }
}
