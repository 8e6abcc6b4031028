// Node: socket.io with the Redis adapter, one process on one port; or, with NODE_ADAPTER=streams, with the Redis Streams
// adapter and connection state recovery.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const COMMON = "common";
const OK = { ok: true };

const hasStreams = process.env.NODE_ADAPTER === "streams";
const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, {
  adapter: hasStreams ? createStreamsAdapter(publisher) : createAdapter(publisher, subscriber),
  ...(hasStreams && { connectionStateRecovery: {} }),
  serveClient: false,
  perMessageDeflate: false,
  pingInterval: 25000,
  maxHttpBufferSize: 1e6,
});

io.on("connection", (socket) => {
  socket.join(COMMON);
  socket.on("message", (data, acknowledge) => {
    io.to(COMMON).emit("message", data);
    acknowledge(OK);
  });
  socket.on("privateMessage", (data, acknowledge) => {
    io.to(data.to).emit("privateMessage", data);
    acknowledge(OK);
  });
  socket.on("list", async (acknowledge) => acknowledge((await io.fetchSockets()).length));
  socket.on("echo", (data, acknowledge) => acknowledge(OK));
  socket.on("sink", (data, acknowledge) => acknowledge(OK));
});

http.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 4096 });
