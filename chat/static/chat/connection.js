// What the chat and the demo need of a Socket.IO connection.

// What is not acknowledged in time is sent again; the server knows it by its id. Tries end after about a minute.
const DELIVERY = { ackTimeout: 5000, retries: 11 };

/** Open a connection of its own for `userId`; it tries again by itself until it is refused or closed. */
export function connect(userId, token, options = {}) {
  // Without forceNew the client would reuse a connection that was opened for another user.
  return window.io({ forceNew: true, ...DELIVERY, query: { userId }, auth: token ? { token } : {}, ...options });
}

/**
 * Tell `onChange(state, reason, code)` of every change: `connecting`, `connected`, `reconnecting`, or `refused`,
 * after which only a new connection helps.
 */
export function follow(socket, onChange) {
  onChange("connecting", "");
  socket.on("connect", () => onChange("connected", ""));
  socket.on("disconnect", (reason) => {
    if (reason === "io client disconnect") return;
    if (socket.active) onChange("reconnecting", "The connection was lost.");
    else onChange("refused", "The server ended this connection.");
  });
  socket.on("connect_error", (error) => {
    if (socket.active) onChange("reconnecting", "The server does not answer.");
    else onChange("refused", error.message, error.data?.code);
  });
}

/** The worker that serves `socket`: HAProxy's name for it, or "direct" where no HAProxy named it. */
export function getWorker(socket) {
  const id = socket.io.engine?.id ?? "";
  return id.includes(".") ? id.slice(0, id.indexOf(".")) : "direct";
}

/**
 * Emit and wait for the answer; what went wrong is an answer too: `{ok: false, error: {code, message}}`. While the
 * connection is lost it waits for the next one.
 */
export function request(socket, event, data) {
  if (!socket.active) return Promise.resolve(failure("offline", "There is no connection."));
  return new Promise((resolve) => {
    const giveUp = () => socket.active || resolve(failure("offline", "The server ended this connection."));
    socket.on("disconnect", giveUp).on("connect_error", giveUp);
    socket.emit(event, data, (error, answer) => {
      socket.off("disconnect", giveUp).off("connect_error", giveUp);
      if (error) resolve(failure("timeout", "The server did not answer; it may have arrived all the same."));
      else resolve(answer?.ok ? answer : failure(answer?.error?.code, answer?.error?.message));
    });
  });
}

/** An id that no other message has. (A page without TLS has no randomUUID.) */
export function makeId() {
  return crypto.getRandomValues(new BigUint64Array(2)).join("-");
}

function failure(code = "unknown", message = "The server refused it and did not say why.") {
  return { ok: false, error: { code, message } };
}

/** What to show of a message's data, which may be any JSON value. */
export function toText(data) {
  return typeof data?.text === "string" ? data.text : JSON.stringify(data) ?? "";
}
