// The stock JavaScript client, told what to do by lines of JSON on stdin; what happens goes to stdout, a line each.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();
const say = (message) => console.log(JSON.stringify(message));

// JSON has no bytes: {"hex": "..."} stands for a Buffer, both ways.
const revive = (value) => JSON.parse(JSON.stringify(value), (_, v) => (v && v.hex !== undefined ? Buffer.from(v.hex, "hex") : v));
const show = (value) => {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(show);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, show(v)]));
  return value;
};

function open({ name, url, options }) {
  const socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
  sockets.set(name, socket);
  const tell = (event, ...args) => say({ name, event, args: args.map(show) });
  socket.on("connect", () => {
    const engine = socket.io.engine;
    const { id, recovered } = socket;
    tell("connect", { sid: id, recovered, engine: engine.id, transport: engine.transport.name });
  });
  socket.io.on("open", () => socket.io.engine.on("upgrade", (transport) => tell("upgrade", transport.name)));
  socket.on("disconnect", (reason) => tell("disconnect", reason));
  socket.on("connect_error", (error) => tell("connect_error", { message: error.message, data: error.data ?? null }));
  socket.onAny((event, ...args) => {
    // What the server asks is answered with what it has sent, if the test wants that.
    if (options.answers && typeof args.at(-1) === "function") args.pop()(...args);
    // With recovery on, the last argument of what is in the log is its offset.
    else if (socket._pid && typeof args.at(-1) === "string") args.pop();
    tell(event, ...args);
  });
}

function call({ number, name, event, args, binary, timeout }) {
  sockets.get(name).timeout(timeout).emit(event, ...(binary ? revive(args) : args), (error, answer) => {
    say({ number, answer: error ? null : show(answer) });
  });
}

/** End the transport as a network does that is gone. */
function cut(engine) {
  const { transport } = engine;
  if (transport.ws?._socket) transport.ws._socket.destroy();
  else engine._onClose("transport error");
}

const commands = {
  open,
  call,
  emit: ({ name, event, args, binary }) => sockets.get(name).emit(event, ...(binary ? revive(args) : args)),
  close: ({ name }) => sockets.get(name).close(),
  cut: ({ name }) => cut(sockets.get(name).io.engine),
};

const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
input.on("close", () => process.exit(0));
say({ ready: true });
