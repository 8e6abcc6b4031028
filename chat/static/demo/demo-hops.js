// From the times of a message to its hops. Only what two clocks that are known to agree have measured is a hop.

const CLOCK_MS = 0.1; // to which browsers round

/**
 * Return the hops of a message, `{from, to, ms, error}`, each between the names of two places.
 *
 * `id` is Redis' time (microseconds), `sender` is `{name, worker, clock, notes, at}`, and so is each of `receivers`.
 * `notes` has what its worker knows of the message. `at` is when it was sent or received, by the page's clock (milliseconds).
 */
export function measure(id, sender, receivers) {
  const up = sender.notes.handled && span(sender.name, sender.worker, sender.clock.toPage(sender.notes.handled) - sender.at, sender.clock.error);
  const down = receivers.map((one) => one.notes.delivered && span(one.worker, one.name, one.at - one.clock.toPage(one.notes.delivered), one.clock.error));
  const middle = doAgree(id, sender, receivers) ? measureRedis(id, sender, receivers) : receivers.map((one, index) => subtract(sender, one, up, down[index]));
  return [up, ...middle, ...down].filter(Boolean);
}

function span(from, to, ms, error = 0) {
  return { from, to, ms: Math.max(0, ms), error };
}

/** Whether what workers and Redis say fits one clock. */
function doAgree(id, { clock, notes }, receivers) {
  if (!(notes.handled <= id && id <= notes.acknowledged)) return false;
  return receivers.every((one) => {
    const most = clock.error + one.clock.error + CLOCK_MS;
    return id <= one.notes.delivered && Math.abs(clock.offset - one.clock.offset) <= most;
  });
}

function measureRedis(id, { worker, notes }, receivers) {
  const workers = new Map(receivers.map((one) => [one.worker, one.notes.delivered]));
  const back = [...workers].map(([name, delivered]) => span("Redis", name, (delivered - id) / 1000));
  return [span(worker, "Redis", (id - notes.handled) / 1000), ...back];
}

/** What lies between the workers: all that the rest has not taken. */
function subtract(sender, receiver, up, down) {
  if (!up || !down) return null;
  return span(sender.worker, receiver.worker, receiver.at - sender.at - up.ms - down.ms, up.error + down.error);
}
