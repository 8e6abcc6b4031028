import { connect, follow, getWorker, make, makeId, request } from "./connection.js";
import { Log } from "./log.js";
import { People } from "./people.js";

const COMMON_ROOM = "common";
const PRIVATE = "private:"; // what the names of rooms begin with that need an invitation
const STATE_WORDS = {
  connecting: "Connecting …",
  connected: "Connected",
  reconnecting: "Reconnecting …",
  refused: "Refused.",
};

const $ = (id) => document.getElementById(id);
const rooms = new Map([[COMMON_ROOM, 0]]); // each with its number of unread messages
const log = new Log($("log"), writeTo);
const people = new People($("people"), writeTo);
let current = COMMON_ROOM;
let socket = null;
let user = "";
let wasConnected = false;
let newest = 0; // the id of the newest message that came
const newestIn = new Map(); // the same by room, as rooms may be behind each other

function open() {
  const name = $("user-id").value.trim();
  if (!name) return;
  user = name;
  wasConnected = false;
  store(name);
  socket?.off().close();
  socket = connect(name, $("token").value.trim());
  follow(socket, showState);
  people.follow(socket, name);
  for (const event of ["message", "privateMessage", "broadcast"]) {
    socket.on(event, (data, meta) => receive(event, data, meta));
  }
}

function showState(state, reason, code) {
  if (code === "unauthorized" && !$("token").value) reason = "This server wants a token.";
  $("state").dataset.state = state;
  $("state").textContent = [STATE_WORDS[state], reason].join(" ").trim();
  const isConnected = state === "connected";
  $("worker").textContent = isConnected ? getWorker(socket) : "–";
  $("sid").textContent = isConnected ? socket.id : "–";
  $("copy-sid").disabled = !isConnected;
  $("connect").textContent = isConnected ? "Change name" : "Connect";
  if (isConnected) welcome();
  if (code === "unauthorized") askForToken();
}

function welcome() {
  if (!wasConnected) log.addNotice(`Connected as ${user}.`);
  else if (socket.recovered) log.addNotice("Connected again; nothing was missed.");
  else log.addNotice("Connected again. What was said in your rooms meanwhile follows, private messages too.");
  wasConnected = true;
  if (document.activeElement.form === $("connect-form")) $("message-input").focus();
  $("token-field").hidden = !$("token").value;
  if (!socket.recovered) for (const room of rooms.keys()) rejoin(room, newestIn.get(room) ?? newest);
  people.ask();
}

/** Join `room` again on a new connection, and read what was said since the message `since`. */
async function rejoin(room, since) {
  const { ok, error } = room === COMMON_ROOM ? { ok: true } : await request(socket, "join", { room });
  if (!ok) {
    log.addNotice(`Room ${room} could not be joined again: ${error.message}`);
    return forget(room);
  }
  if (!since) return;
  const { messages = [] } = await request(socket, "history", { room });
  for (const { id, event, data, meta } of messages) if (Number(id) > since) receive(event, data, meta);
}

function askForToken() {
  $("token-field").hidden = false;
  $("token").focus();
}

function receive(event, data, meta) {
  // A process that emits over Redis sends no meta; the argument may then be missing, or the message's offset.
  const known = typeof meta === "object" && meta !== null ? meta : {};
  if (known.room !== undefined && !rooms.has(known.room)) return; // left a moment ago
  if (log.has(event, known)) return; // a private message may come twice
  newest = Math.max(newest, Number(known.id) || 0);
  newestIn.set(known.room, Math.max(newestIn.get(known.room) ?? 0, Number(known.id) || 0));
  log.addIncoming(event, data, known, known.sid === socket.id);
  if (known.room !== undefined && known.room !== current) {
    rooms.set(known.room, rooms.get(known.room) + 1);
    showRooms();
  }
}

function send(event, content) {
  const data = { ...content, id: makeId() };
  log.addOutgoing(event, data, user, deliver(event, data));
}

async function deliver(event, data) {
  const answer = await request(socket, event, data);
  if (answer.error?.code !== "not_in_room" || !rooms.has(data.room)) return answer;
  // It was written without a connection, and went out before the room was joined again.
  await request(socket, "join", { room: data.room });
  return request(socket, event, data);
}

async function join(room) {
  if (!rooms.has(room)) {
    const { ok, error } = await request(socket, "join", { room });
    if (!ok) return log.addNotice(`Room ${room} was not joined: ${error.message}`);
    rooms.set(room, 0);
  }
  enter(room);
}

async function leave(room) {
  const { ok, error } = await request(socket, "leave", { room });
  if (!ok) return log.addNotice(`Room ${room} was not left: ${error.message}`);
  forget(room);
  $("rooms").querySelector("[aria-current]").focus();
}

async function invite(userId) {
  const room = current;
  const { ok, error } = await request(socket, "invite", { room, userId });
  log.addNotice(ok ? `${userId} may join ${room} now.` : `${userId} was not invited: ${error.message}`);
}

function forget(room) {
  rooms.delete(room);
  newestIn.delete(room);
  if (room === current) enter(COMMON_ROOM);
  else showRooms();
}

function enter(room) {
  current = room;
  rooms.set(room, 0);
  showRooms();
  log.showRoom(room);
  people.enter(room);
  $("invite-form").hidden = !room.startsWith(PRIVATE);
  $("message-label").textContent = `Message to ${room}`;
}

function showRooms() {
  const getButtons = () => [...$("rooms").querySelectorAll("button")];
  // The buttons are new ones: whoever stood on one with the keyboard must not be thrown out.
  const index = getButtons().indexOf(document.activeElement);
  $("rooms").replaceChildren(...[...rooms].map(makeRoom));
  getButtons()[index]?.focus();
}

function makeRoom([room, unread]) {
  const tab = make("button", { type: "button", textContent: room, dataset: { room } });
  if (room === current) tab.setAttribute("aria-current", "true");
  if (unread) tab.append(" ", make("span", { className: "unread", textContent: unread, title: `${unread} unread` }));
  tab.addEventListener("click", () => enter(room));
  const item = make("li", {}, tab);
  if (room !== COMMON_ROOM) {
    const close = make("button", { type: "button", className: "leave", textContent: "×", ariaLabel: `Leave room ${room}` });
    close.addEventListener("click", () => leave(room));
    item.append(close);
  }
  return item;
}

function writeTo(name) {
  $("private-kind").value = "user";
  $("private-to").value = name;
  $("private-input").focus();
}

async function copySid() {
  try {
    await navigator.clipboard.writeText($("sid").textContent);
    $("copy-sid").textContent = "Copied";
  } catch {
    // Browsers give a page without TLS no clipboard.
    getSelection().selectAllChildren($("sid"));
    $("copy-sid").textContent = "Press Ctrl+C";
  }
  setTimeout(() => ($("copy-sid").textContent = "Copy"), 2000);
}

/** Call `handle` with the text of `input` when `form` is sent, unless there is none; then empty the input. */
function onSubmit(form, input, handle) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $(input).value.trim();
    if (!text) return;
    handle(text);
    $(input).value = "";
  });
}

function store(name) {
  try {
    localStorage.setItem("userId", name);
  } catch {
    // Storage may be forbidden; then the name is asked for again.
  }
}

function recall() {
  try {
    return localStorage.getItem("userId") ?? "";
  } catch {
    return "";
  }
}

onSubmit("message-form", "message-input", (text) => send("message", { room: current, text }));
onSubmit("broadcast-form", "broadcast-input", (text) => send("broadcast", { text }));
onSubmit("private-form", "private-input", (text) => {
  const key = $("private-kind").value === "user" ? "toUser" : "to";
  send("privateMessage", { [key]: $("private-to").value.trim(), text });
});
onSubmit("room-form", "room-input", join);
onSubmit("invite-form", "invite-input", invite);
$("copy-sid").addEventListener("click", copySid);
$("connect-form").addEventListener("submit", (event) => {
  event.preventDefault();
  open();
});

enter(COMMON_ROOM);
$("user-id").value = new URLSearchParams(location.search).get("userId") ?? recall();
if (!window.io) {
  $("state").textContent = "The Socket.IO client could not be loaded. Is the browser bundle installed (make setup)?";
} else if ($("user-id").value) {
  open();
} else {
  log.addNotice("Choose a name and connect.");
  $("user-id").focus();
}
