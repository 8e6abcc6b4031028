// How times and days are written.

const TIME = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const FULL = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "medium" });

export const writeTime = (at) => TIME.format(at);
export const writeFull = (at) => FULL.format(at);

/** "Today", "Yesterday", or which day it was. */
export function writeDay(at) {
  if (isSameDay(at, Date.now())) return "Today";
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  return isSameDay(at, yesterday) ? "Yesterday" : DAY.format(at);
}

export function isSameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}
