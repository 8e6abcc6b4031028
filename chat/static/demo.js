import { connect, follow, getWorker, makeId, request, toText } from "./connection.js";
import { $, make } from "./dom.js";

const LAST_USER = 50;
const MAX_RECEIVED = 50;
const STATE_WORDS = { connecting: "Connecting …", connected: "Connected", reconnecting: "Reconnecting …", refused: "Refused." };

const ends = [0, 1].map((number) => ({ panel: $(`socket-${number}`), socket: null, user: number }));
let count = 0;
let crossing = null; // the message on its way, until all that wait for it have it

/** Connect `end` as `user`, in place of what it had; resolves once connected, or with false if refused. */
function open(end, user) {
  end.socket?.off().close();
  end.user = user;
  const socket = (end.socket = connect(String(user)));
  for (const event of ["privateMessage", "broadcast"]) {
    socket.on(event, (data, meta) => receive(end, event, data, meta));
  }
  return new Promise((resolve) => {
    follow(socket, (state, reason) => {
      show(end, state, reason);
      if (state === "connected") {
        socket.io.engine.on("upgrade", (transport) => write(end, "transport", transport.name));
        resolve(true);
      }
      if (state === "refused") resolve(false);
    });
  });
}

function show(end, state, reason) {
  const { panel, socket, user } = end;
  const isConnected = state === "connected";
  panel.dataset.state = isConnected || state === "connecting" ? state : "disconnected";
  panel.dataset.user = user;
  write(end, "user", user);
  write(end, "state", [STATE_WORDS[state], reason ?? ""].join(" ").trim());
  panel.querySelector(".state").dataset.state = state;
  if (isConnected) {
    panel.dataset.worker = getWorker(socket);
    panel.dataset.sid = socket.id;
    write(end, "worker", panel.dataset.worker);
    write(end, "sid", socket.id);
    write(end, "transport", socket.io.engine.transport.name);
  }
  showTogether();
}

function write(end, name, text) {
  end.panel.querySelector(`.${name}`).textContent = text;
}

function showTogether() {
  const areConnected = ends.every(({ socket }) => socket?.connected);
  for (const id of ["send", "send-back", "broadcast"]) $(id).disabled = !areConnected;
  const [worker, other] = ends.map(({ panel }) => panel.dataset.worker);
  const note =
    worker === "direct"
      ? "There is no HAProxy in front: both sockets talk to one worker directly. The message is sent all the same."
      : `Both sockets are on ${worker}, so no message crosses from one worker to another; it is sent all the same.`;
  $("note").textContent = areConnected && worker === other ? note : "";
  $("note").hidden = !$("note").textContent;
}

function showPath(from, receivers) {
  const first = from.panel.dataset.worker;
  const last = [...new Set(receivers.map(({ panel }) => panel.dataset.worker))].join(" + ");
  const users = receivers.map(({ user }) => `user ${user}`).join(" + ");
  const steps =
    first === "direct" ? ["the worker", "Redis", "the worker"] : ["HAProxy", first, "Redis", last, "HAProxy"];
  const texts = [`user ${from.user}`, ...steps, users];
  $("path").replaceChildren(...texts.map((textContent) => make("li", { textContent })));
  $("path").dataset.done = "false";
}

function send(from, to) {
  const text = `Message ${++count} from user ${from.user} to user ${to.user}`;
  emit(from, "privateMessage", { to: to.socket.id, text }, [to]);
}

function broadcast() {
  const text = `Broadcast ${++count} from user ${ends[0].user}`;
  emit(ends[0], "broadcast", { text }, ends);
}

async function emit(from, event, data, receivers) {
  const mine = { sid: from.socket.id, event, text: data.text, start: performance.now(), waiting: new Set(receivers) };
  crossing = mine;
  showPath(from, receivers);
  $("result").textContent = `${data.text}: on its way …`;
  const { ok, error } = await request(from.socket, event, { ...data, id: makeId() });
  if (!ok && crossing === mine) $("result").textContent = `${data.text}: failed. ${error.message}`;
}

function receive(end, event, data, meta) {
  const list = end.panel.querySelector(".received");
  const text = toText(data);
  const at = new Date(meta?.at ?? Date.now()).toLocaleTimeString();
  list.prepend(make("li", { className: event }, make("span", { textContent: text }), make("time", { textContent: at })));
  while (list.children.length > MAX_RECEIVED) list.lastElementChild.remove();
  // Other pages may run the same demo with the same words, so the sender's socket counts too.
  if (crossing?.event !== event || crossing.text !== text || crossing.sid !== meta?.sid) return;
  crossing.waiting.delete(end);
  if (crossing.waiting.size === 0) finish();
}

function finish() {
  const ms = (performance.now() - crossing.start).toFixed(1);
  const outcome = crossing.event === "broadcast" ? "both received it" : "arrived";
  $("result").textContent = `${crossing.text}: ${outcome} after ${ms} ms.`;
  $("path").dataset.done = "true";
  crossing = null;
}

/** Connect the second as user 1, or as the next user whom HAProxy gives to another worker. */
async function openSecond() {
  const [first, second] = ends;
  if (!(await open(second, 1))) return false;
  const { worker } = first.panel.dataset;
  if (worker === "direct" || worker !== second.panel.dataset.worker) return true;
  for (let user = 2; user <= LAST_USER; user += 1) {
    $("result").textContent = `User ${user - 1} is on ${worker} too; trying the next one …`;
    if ((await findWorker(user)) !== worker) return open(second, user);
  }
  return true;
}

/** The worker that HAProxy gives to `user`, whose id alone decides it. */
function findWorker(user) {
  // Websocket first: closed in the midst of polling or of an upgrade, the browser would complain of errors.
  const socket = connect(String(user), "", { transports: ["websocket", "polling"], tryAllTransports: true });
  return new Promise((resolve) => {
    socket.on("connect", () => {
      resolve(getWorker(socket));
      socket.close();
    });
    // Refused: the panel's own connection as this user will say why.
    socket.on("connect_error", () => socket.active || resolve(""));
  });
}

async function start() {
  if (!window.io) {
    $("result").textContent = "The Socket.IO client could not be loaded. Is the browser bundle installed (make setup)?";
    return;
  }
  // One after the other, so that HAProxy's choice for the second is not made in a rush with the first.
  if ((await open(ends[0], 0)) && (await openSecond())) send(...ends);
  else {
    for (const end of ends) if (!end.socket?.connected) show(end, "refused");
    $("result").textContent = "The server refused a connection. The demo has no tokens: it needs a server in open mode.";
  }
}

$("send").addEventListener("click", () => send(ends[0], ends[1]));
$("send-back").addEventListener("click", () => send(ends[1], ends[0]));
$("broadcast").addEventListener("click", broadcast);
start();
