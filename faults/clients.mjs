// Users with the stock, unmodified client. The first argument says who they are (JSON); commands come as lines of
// JSON on stdin, and all that happens to them goes to stdout, a line of JSON each.
import { Agent, get } from "node:http";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const config = JSON.parse(process.argv[2]);
const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]];
const COMMON = "common";
const MAX_QUEUED = 50; // a user says no more while this much is unanswered

const users = new Map();
const filler = "x".repeat(config.pad);
let lines = [];

const say = (event, user, more) => lines.push(JSON.stringify({ event, client: user?.name, ...more }));
const flush = () => {
  if (lines.length) process.stdout.write(`${lines.join("\n")}\n`);
  lines = [];
};
setInterval(flush, 20);

class User {
  constructor(id, name, before) {
    Object.assign(this, { id, name, number: 0, waiting: 0, rooms: new Set(), isSilent: true, left: Infinity });
    const options = {
      query: { userId: id },
      transports: TRANSPORTS[Number(id) % 3],
      ackTimeout: config.ackTimeout,
      retries: config.retries,
      reconnectionDelay: config.delays[0],
      reconnectionDelayMax: config.delays[1],
      forceNew: true,
      agent: (this.agent = new Agent()),
      autoConnect: false,
    };
    const socket = (this.socket = io(config.urls[Number(id) % config.urls.length], options));
    if (before) Object.assign(socket, { _pid: before._pid, _lastOffset: before._lastOffset });
    socket.on("connect", () => this.onConnect());
    socket.on("disconnect", (reason) => {
      this.lostAt ??= Date.now();
      if (!socket.active) Object.assign(this, { waiting: 0, isSilent: true }); // sent away for good
      say("disconnect", this, { reason });
    });
    socket.on("connect_error", (error) => {
      if (!socket.active) say("refused", this, { reason: error.message });
    });
    socket.onAny((event, ...args) => this.onEvent(event, args));
    socket.connect();
  }

  get server() {
    return this.socket.io.engine.id.split(".")[0];
  }

  onConnect() {
    const { socket } = this;
    const ms = this.lostAt ? Date.now() - this.lostAt : null;
    say("connect", this, { recovered: Boolean(socket.recovered), ms, sid: socket.id, server: this.server });
    this.lostAt = null;
    this.left = this.again ?? Infinity; // events until it is cut again
    this.again = undefined;
    this.isSilent = this.name !== this.id; // a second tab only listens
    socket.io.reconnectionDelay(config.delays[0]);
    socket.io.reconnectionDelayMax(config.delays[1]);
    if (socket.recovered) return;
    this.rooms.clear();
    config.rooms.forEach((room) => this.join(room));
  }

  join(room) {
    this.waiting++;
    this.socket.timeout(config.ackTimeout).emit("join", { room }, (error, answer) => {
      this.waiting--;
      if (answer?.ok) this.rooms.add(room);
    });
  }

  onEvent(event, args) {
    // With recovery on, the last argument of what is in the log is its offset.
    if (this.socket._pid && typeof args.at(-1) === "string") args.pop();
    const [data, meta] = args;
    const { sender, number } = data;
    const room = getRoom(event, data);
    say("got", this, { sender, number, id: meta?.id ?? null, room });
    if (config.fresh && room.startsWith("fresh") && sender === this.id) this.socket.emit("leave", { room }, () => {});
    if (--this.left === 0) this.cut({});
  }

  /** The next message, as its number decides: to the common room, to one that was joined, or to another user. */
  talk() {
    if (this.isSilent || this.waiting >= MAX_QUEUED) return;
    const rooms = config.is_loyal ? this.listOwnRoom() : [COMMON, ...this.rooms];
    if (!rooms.length) return;
    if (config.fresh) {
      const fresh = `fresh-${this.id}-${this.number}`;
      this.socket.emit("join", { room: fresh }, () => {});
      this.send("message", { room: fresh });
    } else if (this.number % 5 === 4 && config.privates) {
      const other = (Number(this.id) - config.first + this.number + 1) % config.count;
      this.send("privateMessage", { toUser: String(config.first + other) });
    } else {
      this.send("message", { room: rooms[this.number % rooms.length] });
    }
  }

  listOwnRoom() {
    const own = config.rooms[Number(this.id) % config.rooms.length];
    return this.rooms.has(own) ? [own] : [];
  }

  send(event, target, last = false) {
    const number = this.number++;
    const data = { ...target, sender: this.id, number };
    if (config.ids) data.id = `${this.id}-${number}`;
    if (filler && !last) data.filler = filler;
    say("sent", this, { number, room: getRoom(event, data), last });
    for (let time = 0; time < config.times; time++) {
      this.waiting++;
      this.socket.emit(event, data, (error, answer) => {
        this.waiting--;
        if (answer?.ok) say("acknowledged", this, { number, id: answer.id ?? null });
        else say("failed", this, { number, reason: error ? error.message : answer.error.code });
      });
    }
  }

  /** End the TCP connection as a network does that is gone; come back after `away` ms; again after `again` events. */
  cut({ away, again }) {
    if (away) {
      this.socket.io.reconnectionDelay(away);
      this.socket.io.reconnectionDelayMax(away);
    }
    Object.assign(this, { again, left: Infinity });
    const { engine } = this.socket.io;
    const polls = Object.values(this.agent.sockets).flat();
    [engine?.transport.ws?._socket, ...polls].forEach((wire) => wire?.resetAndDestroy());
    setTimeout(() => {
      if (engine === this.socket.io.engine && engine.readyState === "open") this.cut({ away, again }); // between two polls
    }, 20);
  }
}

const getRoom = (event, data) => (event === "privateMessage" ? `user ${data.toUser}` : data.room);

let timers = [];
let isVisited = false;
const kept = new Agent({ keepAlive: true });

/** Someone who comes, joins a room and goes, and then the next one; the first error of each is told. */
function visit(number) {
  const url = config.urls[number % config.urls.length];
  const options = { transports: TRANSPORTS[number % 3], reconnection: false, forceNew: true, agent: kept };
  const socket = io(url, { query: { userId: `visitor-${number}` }, ...options });
  let isOver = false;
  const end = (reason) => {
    if (isOver) return; // an answer that is missing is told after the connection's end
    isOver = true;
    socket.off().disconnect();
    say("visit", null, { reason });
    if (isVisited) setTimeout(visit, 20, number + config.visitors);
  };
  socket.on("connect_error", (error) => end(error.message));
  socket.on("disconnect", (reason) => end(reason));
  socket.on("connect", () => {
    socket.timeout(config.ackTimeout).emit("join", { room: "visitors" }, (error) => end(error ? error.message : null));
  });
}

/** One request after the other, on a connection that is kept for the next. */
function ask(url) {
  const end = (reason) => {
    say("asked", null, { reason });
    if (isVisited) setTimeout(ask, 5, url);
  };
  const request = get(url, { agent: kept }, (answer) => {
    answer.resume().on("close", () => end(answer.complete ? null : "cut"));
  });
  request.on("error", (error) => end(error.message));
}

const commands = {
  visit() {
    isVisited = true;
    for (let number = 0; number < config.visitors; number++) visit(number);
    for (let number = 0; number < config.visitors; number++) ask(config.urls[number % config.urls.length]);
  },
  leave() {
    isVisited = false;
  },
  start() {
    timers = [...users.values()].map((user) => setInterval(() => user.talk(), (1000 / config.rate) * (0.8 + 0.4 * Math.random())));
  },
  stop() {
    timers.forEach(clearInterval);
  },
  last() {
    for (const user of users.values()) if (!user.isSilent && user.socket.connected) user.send("message", { room: COMMON }, true);
  },
  cut({ away, again, server, clients }) {
    for (const user of users.values()) {
      const isMeant = clients ? clients.includes(user.name) : !server || (user.socket.connected && user.server === server);
      if (isMeant) user.cut({ away, again });
    }
  },
  join({ room, clients }) {
    clients.forEach((name) => users.get(name)?.join(room));
  },
  twin({ client }) {
    const user = users.get(client);
    if (user) users.set(`${client}'`, new User(user.id, `${client}'`, user.socket));
  },
  quit() {
    for (const user of users.values()) say("end", user, { connected: user.socket.connected });
    flush();
    process.stdout.write("", () => process.exit(0));
  },
};

setInterval(() => {
  say("waiting", null, { count: [...users.values()].reduce((sum, user) => sum + user.waiting, 0) });
}, 200);
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    commands[command.do](command);
  })
  .on("close", () => process.exit(0));
for (const id of config.users) users.set(id, new User(id, id));
