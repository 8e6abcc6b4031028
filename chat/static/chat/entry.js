// How one message looks.

import { make, setText } from "./dom.js";
import { toNodes } from "./links.js";
import { makeName } from "./people.js";
import { isSameDay, writeDay, writeFull, writeTime } from "./times.js";

const TOGETHER_MS = 5 * 60 * 1000; // messages of one sender that stand closer have one head
const STATES = { sending: "Sending …", sent: "Sent", failed: "Not sent" };

/** Make the entry of a message. `actions`: `onPick(user)`, `onRetry(item)`. */
export function makeEntry(item, { onPick, onRetry }) {
  // What another process emitted has no user.
  const isUser = typeof item.from === "string" && !item.isOwn;
  const sender = isUser ? makeName(item.from, onPick) : make("span", { className: "name", textContent: item.isOwn ? "You" : "The server" });
  const text = make("p", { className: "text", dir: "auto" }, ...toNodes(item.text));
  const foot = make("p", { className: "foot" }, make("time"));
  const entry = make("li", { className: item.isOwn ? `${item.kind} own` : item.kind }, make("p", { className: "head" }, sender), text, foot);
  if (item.isOwn) {
    const retry = make("button", { type: "button", className: "retry small", textContent: "Try again" });
    retry.addEventListener("click", () => onRetry(item));
    foot.append(make("span", { className: "status" }), retry);
  }
  return entry;
}

/** Bring an entry up to date with its message, which stands between `before` and `after` (null: there is none). */
export function refresh(entry, item, before, after) {
  setData(entry, "day", before && isSameDay(item.at, before.at) ? null : writeDay(item.at));
  entry.classList.toggle("together", areTogether(before, item));
  entry.classList.toggle("followed", areTogether(item, after));
  if (entry.dataset.at !== String(item.at)) setTime(entry, item.at);
  if (!item.isOwn || (entry.dataset.state === item.state && entry.dataset.problem === (item.problem ?? ""))) return;
  entry.dataset.state = item.state;
  entry.dataset.problem = item.problem ?? "";
  setText(entry.querySelector(".status"), STATES[item.state] + (item.problem ? `: ${item.problem}` : ""));
  entry.querySelector(".retry").hidden = item.state !== "failed";
}

function areTogether(one, next) {
  const areBoth = one !== null && next !== null && one.from === next.from && isSameDay(one.at, next.at);
  return areBoth && Math.abs(next.at - one.at) < TOGETHER_MS;
}

function setTime(entry, at) {
  entry.dataset.at = at;
  const date = new Date(at);
  Object.assign(entry.querySelector("time"), { dateTime: date.toISOString(), textContent: writeTime(date), title: writeFull(date) });
}

function setData(element, name, value) {
  if (value === null) delete element.dataset[name];
  else if (element.dataset[name] !== value) element.dataset[name] = value;
}
