// Node: socket.io with the Redis Streams adapter and connection state recovery, one process on one port.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const OK = { ok: true };

const client = createClient({ url: process.env.REDIS_URL });
client.on("error", (error) => console.error(error.message)); // without a listener it would end the process
await client.connect();

const http = createServer((request, response) => response.writeHead(request.url === "/readyz" ? 200 : 404).end());
const io = new Server(http, {
  adapter: createAdapter(client),
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
  serveClient: false,
});

io.on("connection", (socket) => {
  if (!socket.recovered) socket.join(["common", `user:${socket.handshake.query.userId}`]);
  socket.on("join", ({ room }, acknowledge) => {
    socket.join(room);
    acknowledge(OK);
  });
  socket.on("leave", ({ room }, acknowledge) => {
    socket.leave(room);
    acknowledge(OK);
  });
  socket.on("message", (data, acknowledge) => {
    io.to(data.room).emit("message", data);
    acknowledge(OK);
  });
  socket.on("privateMessage", (data, acknowledge) => {
    io.to(`user:${data.toUser}`).emit("privateMessage", data);
    acknowledge(OK);
  });
});

http.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
