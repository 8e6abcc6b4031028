// The field in which one writes: it grows with the text, and keeps what was begun in each conversation.

import { setText } from "./dom.js";

export class Composer {
  /** `actions`: `onSend(text)`, `onWrite()`. */
  constructor(form, { onSend, onWrite }) {
    Object.assign(this, { form, onSend });
    this.input = form.querySelector("textarea");
    this.label = form.querySelector("label");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.input.addEventListener("keydown", (event) => {
      // On a phone's keyboard Enter is the only way to a new line.
      const isNewLine = event.shiftKey || matchMedia("(pointer: coarse)").matches;
      if (event.key !== "Enter" || event.isComposing || isNewLine) return;
      event.preventDefault();
      this.send();
    });
    this.input.addEventListener("input", () => {
      this.conversation.draft = this.input.value;
      this.fit();
      if (this.input.value.trim()) onWrite();
    });
  }

  show(conversation) {
    this.conversation = conversation;
    this.input.value = conversation.draft;
    const words = { room: `Message to ${conversation.name}`, user: `Private message to ${conversation.name}` };
    const text = words[conversation.kind] ?? "Announcement to everybody";
    setText(this.label, text);
    this.input.placeholder = text;
    this.fit();
  }

  send() {
    const text = this.input.value.trim();
    if (!text) return;
    this.input.value = this.conversation.draft = "";
    this.fit();
    this.onSend(text);
    this.input.focus();
  }

  focus() {
    this.input.focus();
  }

  fit() {
    this.input.style.height = "auto";
    if (this.input.value) this.input.style.height = `${this.input.scrollHeight + 2}px`;
  }
}
