// The demo: sockets of one page on several workers, the path of a message between them, and a worker that is killed.

import { connect, getWorker, makeId, request, toText } from "../chat/connection.js";
import { readClock } from "./demo-clock.js";
import { Diagram } from "./demo-diagram.js";
import { End, getColor } from "./demo-end.js";
import { measure } from "./demo-hops.js";
import { Steady } from "./demo-steady.js";
import { $, make, perFrame, setChildren, setText } from "../chat/dom.js";

const COUNTS = [2, 3, 4, 6];
const LAST_USER = 50;
const FIRST = 5; // numbers, before a worker is killed
const BUTTONS = ["send", "send-user", "send-back", "broadcast", "steady"];
const runKey = document.querySelector("meta[name=run-key]")?.content;

const diagram = new Diagram($("diagram"));
const steady = new Steady({ onProgress: () => update(), onVerdict: showVerdict });
const rows = new Map(); // by worker
let ends = [];
let count = 0;
let crossing = null; // the message on its way, until all that wait for it have it

const update = perFrame(() => {
  diagram.draw(ends);
  const areConnected = ends.length > 1 && ends.every(({ isConnected }) => isConnected);
  for (const id of BUTTONS) $(id).disabled = !areConnected && id !== "steady";
  $("steady").disabled = !areConnected && !steady.isRunning;
  setText($("steady"), steady.isRunning ? "Stop" : "Start sending");
  setText($("progress"), steady.room ? `Sent ${steady.sent}, acknowledged ${steady.acknowledged}.` : "");
  if (areConnected) showNote();
  showWorkers();
});

function showNote() {
  const workers = new Set(ends.map(({ worker }) => worker));
  const note = workers.has("direct")
    ? "There is no HAProxy in front: all sockets talk to one worker directly. Messages are sent all the same."
    : `All sockets are on ${ends[0].worker}, so no message crosses from one worker to another; it is sent all the same.`;
  setText($("note"), workers.size === 1 ? note : "");
  $("note").hidden = workers.size > 1;
}

function showWorkers() {
  for (const worker of new Set(ends.map((end) => end.worker).filter(Boolean))) {
    if (!rows.has(worker)) rows.set(worker, makeRow(worker));
  }
  for (const [worker, row] of rows) {
    const here = ends.filter((end) => end.worker === worker);
    if (!here.length) rows.delete(worker);
    setText(row.querySelector(".users"), here.map(({ name, isConnected }) => (isConnected ? name : `${name} (lost)`)).join(", "));
    const button = row.querySelector("button");
    if (button) button.disabled = !here.some(({ isConnected }) => isConnected);
  }
  setChildren($("workers"), [...rows.keys()].sort().map((worker) => rows.get(worker)));
}

function makeRow(worker) {
  const chip = make("span", { className: "chip", textContent: worker, dataset: { color: getColor(worker) } });
  const row = make("li", { dataset: { worker } }, chip, make("span", { className: "users" }));
  if (runKey) {
    const button = make("button", { className: "small", textContent: "kill -9", ariaLabel: `kill -9 ${worker}` });
    button.addEventListener("click", () => kill(worker));
    row.append(button);
  }
  return row;
}

/** Kill a worker; numbers are sent meanwhile. */
async function kill(worker) {
  const losses = ends.filter((end) => end.worker === worker).map((end) => ({ end, before: end.loss }));
  const one = losses.find(({ end }) => end.isConnected);
  if (!steady.isRunning) {
    await startSteady();
    await steady.until(() => steady.acknowledged >= FIRST);
  }
  $("verdict").scrollIntoView({ block: "nearest" });
  const query = new URLSearchParams({ sid: one.end.socket.io.engine.id });
  const answer = await fetch(`/demo/kill?${query}`, { method: "POST", headers: { "X-Run-Key": runKey } }).catch(() => null);
  if (answer?.ok) await steady.judgeAfter(worker, losses);
  else showVerdict(false, `${worker} could not be killed: ${answer ? `the answer was ${answer.status}` : "there was no answer"}.`);
}

async function startSteady() {
  showVerdict(null, "");
  await steady.start(ends);
  update();
}

function showVerdict(isGood, text) {
  $("verdict").dataset.good = isGood ?? "";
  setText($("verdict"), text);
  update();
}

function onEvent(end, event, data, meta, at) {
  if (event === "message") return steady.receive(end, data, meta);
  end.showReceived(event, data, meta);
  // Other pages may run the same demo with the same words, so the sender's socket counts too.
  if (crossing?.event !== event || crossing.text !== toText(data) || crossing.sender.sid !== meta?.sid) return;
  crossing.arrived.set(end, at);
  if (crossing.arrived.size === crossing.receivers.length) finish(meta.id);
}

/** Emit an event of `sender`, and follow it to `receivers`. */
async function emit(sender, event, target, receivers, to) {
  const words = event === "broadcast" ? `Broadcast ${++count}` : `Message ${++count}`;
  const text = `${words} from ${sender.name}${to ? ` to ${to}` : ""}`;
  const mine = { event, text, receivers, arrived: new Map(), sender: { end: sender, sid: sender.socket.id, at: readClock() } };
  crossing = mine;
  showHops(getNames(sender, receivers));
  $("path").dataset.done = "false";
  $("result").textContent = `${text}: on its way …`;
  const { ok, error } = await request(sender.socket, event, { ...target, text, id: makeId() });
  if (!ok && crossing === mine) $("result").textContent = `${text}: failed. ${error.message}`;
}

/** The places that a message passes, before anything is known of times. */
function getNames(sender, receivers) {
  const workers = [...new Set(receivers.map(({ worker }) => worker))];
  return [
    { from: sender.name, to: sender.worker },
    { from: sender.worker, to: "Redis" },
    ...workers.map((to) => ({ from: "Redis", to })),
    ...receivers.map(({ worker, name }) => ({ from: worker, to: name })),
  ];
}

async function finish(id) {
  const { text, event, sender, receivers, arrived } = crossing;
  crossing = null;
  const ms = (Math.max(...arrived.values()) - sender.at).toFixed(1);
  const outcome = event === "broadcast" ? `all ${receivers.length} received it` : "arrived";
  $("result").textContent = `${text}: ${outcome} after ${ms} ms.`;
  $("path").dataset.done = "true";
  await Promise.all([sender.end, ...receivers].map(({ ready }) => ready));
  const origin = { ...(await sender.end.trace(id)), at: sender.at };
  const targets = [];
  for (const end of receivers) targets.push({ ...(await end.trace(id)), at: arrived.get(end) });
  if (crossing || ![sender.end, ...receivers].every((end) => ends.includes(end))) return; // there is another to be shown
  const hops = measure(Number(id), origin, targets);
  showHops(hops, targets.length === 1 ? targets[0].at - sender.at : null);
  const redis = describeRedis(origin.notes);
  $("path").caption.textContent = redis === "Redis" ? "" : `Stored in ${redis}.`;
  diagram.label(hops, redis);
  diagram.travel(sender.end, receivers, getShares(hops));
}

function describeRedis({ shard, shards, primary }) {
  if (!(shards > 1)) return "Redis";
  return `Redis: shard ${shard + 1} of ${shards}${primary ? `, on ${primary}` : ""}`;
}

/** The shares of the four hops: up, to Redis, back, down. */
function getShares(hops) {
  const get = (test) => Math.max(0, ...hops.filter(test).map(({ ms }) => ms));
  const times = [
    get(({ from }) => from.startsWith("user ")),
    get(({ to }) => to === "Redis"),
    get(({ from }) => from === "Redis"),
    get(({ to }) => to.startsWith("user ")),
  ];
  const total = times.reduce((sum, one) => sum + one, 0) || 1;
  return times.map((one) => one / total);
}

function showHops(hops, total = null) {
  const write = (value) => (value === undefined ? "…" : value.toFixed(2));
  const rows = hops.map(({ from, to, ms, error }) => makeHop(addProxy(from, to).join(" → "), write(ms), error ? write(error) : ""));
  if (total !== null) rows.push(makeHop("in all, by the browser's clock alone", write(total), "", "total"));
  $("path").tBodies[0].replaceChildren(...rows);
}

function makeHop(name, ms, error, className = "") {
  const cells = [ms, error].map((textContent) => make("td", { textContent }));
  return make("tr", { className }, make("th", { scope: "row", textContent: name }), ...cells);
}

/** A browser and a worker talk through HAProxy, if there is one. */
function addProxy(from, to) {
  const isOfUser = [from, to].some((name) => name.startsWith("user "));
  return isOfUser && ![from, to].includes("direct") ? [from, "HAProxy", to] : [from, to];
}

/** Have so many sockets. */
async function resize(number) {
  steady.pause();
  steady.room = "";
  showVerdict(null, "");
  for (const end of ends.splice(number)) {
    end.close();
    end.panel.remove();
  }
  while (ends.length < number) {
    const end = new End(ends.length, { onChange: () => onChange(end), onEvent });
    $("panels").append(end.panel);
    ends = [...ends, end];
    if (!(await openEnd(end))) return false;
  }
  fillSelects();
  return true;
}

function onChange(end) {
  if (end.isConnected && end.loss?.isRecovered === false) steady.rejoin(end);
  update();
}

/** Connect as the user of its number; the second as the next user whom HAProxy gives to another worker. */
async function openEnd(end) {
  const [first] = ends;
  // One after the other, so that HAProxy's choice for the second is not made in a rush with the first.
  if (!(await end.open(end.number < 2 ? end.number : ends.at(-2).user + 1))) return false;
  if (end.number !== 1 || end.worker === "direct" || end.worker !== first.worker) return true;
  for (let user = 2; user <= LAST_USER; user += 1) {
    $("result").textContent = `User ${user - 1} is on ${first.worker} too; trying the next one …`;
    if ((await findWorker(user)) !== first.worker) return end.open(user);
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

function fillSelects() {
  for (const [id, index] of [["from", 0], ["to", 1]]) {
    $(id).replaceChildren(...ends.map(({ name, number }) => make("option", { value: number, textContent: name })));
    $(id).selectedIndex = index;
  }
}

const getChosen = () => [ends[$("from").value], ends[$("to").value]];

function send(from, to) {
  return emit(from, "privateMessage", { to: to.socket.id }, [to], to.name);
}

function sendToUser(from, to) {
  return emit(from, "privateMessage", { toUser: String(to.user) }, [to], to.name);
}

async function start() {
  for (const number of COUNTS) $("count").append(make("option", { value: number, textContent: number }));
  $("kill-note").hidden = Boolean(runKey);
  if (!window.io) {
    $("result").textContent = "The Socket.IO client could not be loaded. Is the browser bundle installed (make setup)?";
  } else if (await resize(COUNTS[0])) send(...ends);
  else {
    for (const end of ends) if (!end.isConnected) end.show("refused");
    $("result").textContent = "The server refused a connection. The demo has no tokens: it needs a server in open mode.";
  }
}

$("send").addEventListener("click", () => send(...getChosen()));
$("send-user").addEventListener("click", () => sendToUser(...getChosen()));
$("send-back").addEventListener("click", () => send(...getChosen().reverse()));
$("broadcast").addEventListener("click", () => emit(getChosen()[0], "broadcast", {}, ends));
$("steady").addEventListener("click", () => (steady.isRunning ? steady.stop() : startSteady()));
$("count").addEventListener("change", async () => {
  $("count").disabled = true; // one after the other
  await resize(Number($("count").value));
  $("count").disabled = false;
});
start();
