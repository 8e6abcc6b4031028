"""The pages, as those use them who test them in Chromium."""

from playwright.sync_api import expect

from tests.kit.paths import ROOT

# What the page's sockets hear of presence, and the sockets themselves.
HOOK = """
window.sockets = [];
window.heard = [];
let io;
Object.defineProperty(window, "io", {
  get: () => io,
  set: (connect) => {
    io = (...args) => {
      const socket = connect(...args);
      socket.onAny((event, data) => event === "presence" && heard.push([data.room, data.userId, data.online]));
      sockets.push(socket);
      return socket;
    };
  },
});
"""
AXE = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text()
PHONE = {"viewport": {"width": 375, "height": 720}}


def check(page):
    """Fail if axe-core finds anything that it calls serious or critical."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    described = [(one["id"], [node["html"] for node in one["nodes"]]) for one in bad]
    assert described == [], described


def chat(open_page, user, **options):
    """Open the page as ``user``, and wait until it is connected."""
    page = open_page(f"/?userId={user}", **options)
    expect(page.locator("#state")).to_have_attribute("data-state", "connected")
    return page


def send(page, text):
    page.fill("#message-input", text)
    page.press("#message-input", "Enter")


def join(page, room):
    page.fill("#room-input", room)
    page.press("#room-input", "Enter")
    expect(page.locator("#title")).to_have_text(room)


def choose(page, name, kind="room"):
    """Open a conversation of the side list."""
    page.locator(f"#side button[data-{kind}='{name}']").click()
    expect(page.locator("#title")).to_have_text(name)


def get_unread(page, name, kind="room"):
    """Return where the number of unread messages of a conversation stands."""
    return page.locator(f"#side button[data-{kind}='{name}'] .number")


def get_text(page, text):
    """Return the message with a text in the open conversation."""
    return page.locator("#log li", has=page.get_by_text(text, exact=True))


def emit(page, event, data):
    """Have the page's own connection emit something."""
    answer = page.evaluate("([event, data]) => sockets.at(-1).emitWithAck(event, data)", [event, data])
    assert answer["ok"], answer


def fill(page, room, first, last):
    """Post numbered messages to a room, over a connection that is opened by the way in a page."""
    script = """async ([room, first, last]) => {
        const socket = io({ forceNew: true, query: { userId: "many" }, transports: ["websocket"] });
        await socket.emitWithAck("join", { room });
        const sent = [];
        for (let n = first; n <= last; n += 1) sent.push(socket.emitWithAck("message", { room, text: `number ${n}` }));
        await Promise.all(sent);
        socket.close();
        sockets.pop();
    }"""
    page.evaluate(script, [room, first, last])


def lose_connection(page):
    page.evaluate("sockets[0].io.reconnection(false); sockets[0].io.engine.close()")
    expect(page.locator("#state")).to_have_attribute("data-state", "reconnecting")


def come_back(page, is_recovered=True):
    page.evaluate("is_recovered => is_recovered || delete sockets[0]._pid", is_recovered)
    page.evaluate("sockets[0].io.reconnection(true); sockets[0].connect()")
    expect(page.locator("#state")).to_have_attribute("data-state", "connected")
    assert page.evaluate("sockets[0].recovered ?? false") is is_recovered
