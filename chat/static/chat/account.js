// The dialog in which one says who one is, and sees the details of the connection.

import { getWorker } from "./connection.js";
import { $, setText } from "./dom.js";

const COPIED_MS = 2000;

export class Account {
  /** `onOpen(name, token)` is called to connect as somebody. */
  constructor(onOpen) {
    this.dialog = $("account");
    for (const id of ["account-button", "choose-name"]) $(id).addEventListener("click", () => this.show());
    $("close-account").addEventListener("click", () => this.dialog.close());
    $("copy-sid").addEventListener("click", () => this.copySid());
    $("connect-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = $("user-id").value.trim();
      if (!name) return;
      onOpen(name, this.token);
    });
  }

  get token() {
    return $("token").value.trim();
  }

  /** Show who one is; `isGuest`: by a name that was not chosen. */
  setName(name, isGuest) {
    $("user-id").value = name;
    for (const id of ["account-name", "guest-name"]) setText($(id), name);
    $("choose-name").hidden = !isGuest;
  }

  show() {
    if (this.dialog.open) return;
    this.dialog.showModal();
    $("user-id").select();
  }

  /** The server refused: it wants another name, or a token. */
  ask(isTokenWanted, reason) {
    setText($("refusal"), reason);
    $("refusal").hidden = false;
    $("token-field").hidden = !isTokenWanted && !this.token;
    this.show();
    const isGuest = !$("choose-name").hidden;
    if (isTokenWanted && isGuest) $("user-id").value = ""; // a token has another name
    (isTokenWanted && !isGuest ? $("token") : $("user-id")).focus();
  }

  /** The connection is there, or not. */
  showConnection(socket, isConnected) {
    setText($("worker"), isConnected ? getWorker(socket) : "–");
    setText($("sid"), isConnected ? socket.id : "–");
    $("copy-sid").disabled = !isConnected;
    if (!isConnected) return;
    $("refusal").hidden = true;
    $("token-field").hidden = !this.token;
    if (this.dialog.open) this.dialog.close();
  }

  async copySid() {
    try {
      await navigator.clipboard.writeText($("sid").textContent);
      setText($("copy-sid"), "Copied");
    } catch {
      // Browsers give a page without TLS no clipboard.
      getSelection().selectAllChildren($("sid"));
      setText($("copy-sid"), "Press Ctrl+C");
    }
    setTimeout(() => setText($("copy-sid"), "Copy"), COPIED_MS);
  }
}
