// The chat page: where its parts meet.

import { Account } from "./account.js";
import { Announcer } from "./announcer.js";
import { Composer } from "./composer.js";
import { COMMON_ROOM, Conversations } from "./conversations.js";
import { $, perFrame, setText } from "./dom.js";
import { Drawer } from "./drawer.js";
import { History } from "./history.js";
import { Line } from "./line.js";
import { Log } from "./log.js";
import { Memory, recallName, storeName } from "./memory.js";
import { Outgoing } from "./outgoing.js";
import { People } from "./people.js";
import { Presence } from "./presence.js";
import { Session } from "./session.js";
import { Side } from "./side.js";
import { Typing } from "./typing.js";

const PRIVATE = "private:"; // what the names of rooms begin with that need an invitation
const GUEST = "guest-"; // what a name begins with that nobody has chosen
const STATE_WORDS = { connecting: "Connecting …", connected: "Connected", reconnecting: "Reconnecting …", refused: "Not connected" };
const OUTCOMES = {
  recovered: ["good", "Connected again; nothing was missed."],
  read: ["good", "Connected again. What was said meanwhile was read; announcements may be missing."],
  gap: ["bad", "Connected again, but not all that was said meanwhile could be read."],
};

const drawer = new Drawer($("side"), $("main"), $("open-side"), $("close-side"), $("shade"));
const account = new Account(open);
const announcer = new Announcer($("announcer"));
const line = new Line($("line"));
const people = new People($("people"), writeTo);
const side = new Side($("rooms"), $("privates"), { isOnline, onPick: choose });
const composer = new Composer($("message-form"), { onSend: send, onWrite: () => typing.tell(session.socket, conversations.current) });
const log = new Log($("scroller"), $("log"), {
  onPick: writeTo,
  onRetry: (item) => outgoing.try(conversations.current, item),
  onTop: () => session.isConnected && history.loadOlder(conversations.current),
  onEnd: () => update(),
});
const update = perFrame(render);

let conversations, history, outgoing, session, typing; // of the user
let here = null; // who is in the room that is open, or in the common one
let common = null; // who is in the common room

/** Connect as `user`, who may be another one than before. */
function open(user, token = "") {
  session?.close();
  if (conversations?.user !== user) become(user);
  else outgoing.giveUp();
  const onConnect = () => [...new Set([common, here])].forEach((one) => one.ask());
  session = new Session(user, token, conversations, history, { onState: showState, onConnect, onReady: welcome, onLostRoom: loseRoom });
  session.listen(receive);
  session.socket.on("typing", (told) => typing.hear(told));
  common = here = new Presence(session, COMMON_ROOM, showPeople);
  show(conversations.current);
}

function become(user) {
  storeName(user);
  account.setName(user, user.startsWith(GUEST));
  conversations = new Conversations(user, new Memory(user), update);
  const request = (event, data) => session.request(event, data);
  history = new History(conversations, request);
  outgoing = new Outgoing(conversations, request);
  typing = new Typing($("typing"), user);
  side.show(conversations);
}

function showState(state, reason, code) {
  const isConnected = state === "connected";
  $("state").dataset.state = state;
  setText($("state"), STATE_WORDS[state]);
  account.showConnection(session?.socket, isConnected);
  $("reconnect").hidden = state !== "refused";
  if (!isConnected) typing.clear();
  if (isConnected) line.keep("", "");
  else if (state === "reconnecting") line.keep("wait", `${reason} Trying again …`);
  else if (state === "refused") refuse(reason, code);
}

function refuse(reason, code) {
  line.keep("bad", reason);
  if (code === "unauthorized" && !account.token) reason = "This server wants a token.";
  if (code) account.ask(code === "unauthorized", reason);
}

function welcome(outcome) {
  if (outcome in OUTCOMES) line.say(...OUTCOMES[outcome]);
  else if (document.activeElement === document.body && !isTouch()) composer.focus();
}

function loseRoom(room, reason) {
  conversations.remove(conversations.get("room", room));
  show(conversations.current);
  line.say("bad", `You are no longer in ${room}: ${reason}`);
}

function receive(event, data, meta) {
  const news = conversations.receive(event, data, meta);
  if (!news) return;
  const { conversation, item } = news;
  if (typeof item.from === "string") typing.forget(conversation.key, item.from);
  conversations.count(conversation, item);
  const isOpen = conversation === conversations.current;
  conversation.trim(isOpen && !log.isAtEnd);
  if (!item.isOwn && (isOpen || conversation.kind !== "room")) announcer.say(item, isOpen ? "" : conversation.kind === "user" ? "in private" : "to everybody");
}

function send(text) {
  typing.reset();
  outgoing.send(conversations.current, text);
  log.showEnd();
}

/** Open a conversation that was chosen. */
function choose(conversation) {
  drawer.close();
  show(conversation);
  if (!isTouch()) composer.focus(); // which would bring up a keyboard over what is to be read
}

function writeTo(user) {
  choose(conversations.get("user", user));
}

function show(conversation) {
  conversations.current = conversation;
  log.show(conversation);
  composer.show(conversation);
  typing.show(conversation);
  watch(conversation.kind === "room" ? conversation.name : COMMON_ROOM);
  update();
}

/** List the people of `room`; those of the common room are always known. */
function watch(room) {
  if (here.room !== room) {
    if (here !== common) here.stop(!conversations.hasRoom(here.room));
    here = room === COMMON_ROOM ? common : new Presence(session, room, showPeople);
  }
  people.show(here);
}

function showPeople() {
  people.update();
  update();
}

function isOnline(user) {
  if (!common.isKnown || !session.isConnected) return null;
  return common.users.has(user) || (common.isMore ? null : false);
}

function render() {
  const { current } = conversations;
  const isSeen = log.isAtEnd && !document.hidden && current.lastRead !== null;
  if (isSeen && (current.unread || current.newest > current.lastRead)) conversations.markRead(current);
  side.update();
  log.update();
  showBar(current);
  const elsewhere = conversations.unread - current.unread;
  $("elsewhere").hidden = elsewhere === 0;
  setText($("elsewhere-count"), String(elsewhere));
  const isEmpty = current.items.length === 0 && current.isComplete;
  $("empty").hidden = !isEmpty;
  setText($("earlier"), current.isLoading ? "Reading earlier messages …" : current.isComplete && !isEmpty && current.source ? "This is the beginning." : "");
  $("jump").hidden = log.isAtEnd;
  setText($("jump-count"), current.unread ? `${current.unread} new` : "Newest");
}

function showBar({ kind, name }) {
  setText($("title"), name);
  setText($("subtitle"), getSubtitle(kind, name));
  $("leave").hidden = kind !== "room" || name === COMMON_ROOM;
  $("invite-form").hidden = kind !== "room" || !name.startsWith(PRIVATE);
}

function getSubtitle(kind, name) {
  if (kind === "everybody") return "Everybody who is connected reads this";
  if (kind === "user") return { true: "Private · online", false: "Private · offline; gets it later", null: "Private" }[isOnline(name)];
  const { size } = here.users;
  return here.isKnown ? `${size.toLocaleString()}${here.isMore ? "+" : ""} ${size === 1 ? "person" : "people"} here` : "";
}

async function join(room) {
  if (!conversations.hasRoom(room)) {
    const { ok, error } = await session.request("join", { room });
    if (!ok) return line.say("bad", `Room ${room} was not joined: ${error.message}`);
    const conversation = conversations.get("room", room);
    conversations.saveRooms();
    history.catchUp(conversation.source);
  }
  choose(conversations.get("room", room));
}

async function leave() {
  const { current } = conversations;
  const { ok, error } = await session.request("leave", { room: current.name });
  if (!ok) return line.say("bad", `Room ${current.name} was not left: ${error.message}`);
  conversations.remove(current);
  choose(conversations.current);
}

async function invite(userId) {
  const room = conversations.current.name;
  const { ok, error } = await session.request("invite", { room, userId });
  line.say(ok ? "good" : "bad", ok ? `${userId} may join ${room} now.` : `${userId} was not invited: ${error.message}`);
}

/** Call `handle` with the text of `input` when `form` is sent, unless there is none; then empty the input. */
function onSubmit(form, input, handle) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $(input).value.trim();
    if (text) handle(text);
    $(input).value = "";
  });
}

function isTouch() {
  return matchMedia("(pointer: coarse)").matches;
}

/** A name for somebody who has chosen none. */
function makeGuestName() {
  return `${GUEST}${crypto.getRandomValues(new Uint32Array(1))[0].toString(36).padStart(7, "0")}`;
}

onSubmit("room-form", "room-input", join);
onSubmit("invite-form", "invite-input", invite);
$("reconnect").addEventListener("click", () => open(conversations.user, account.token));
$("leave").addEventListener("click", leave);
$("jump").addEventListener("click", () => log.showEnd());
document.addEventListener("visibilitychange", update);
if (window.io) open(new URLSearchParams(location.search).get("userId")?.trim() || recallName() || makeGuestName());
else setText($("state"), "The Socket.IO client could not be loaded. Is the browser bundle installed (make setup)?");
