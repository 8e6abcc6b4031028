"""What the chat page offers, feature by feature, in headless Chromium on two workers behind HAProxy."""

import os
import re
import subprocess
import sys
from functools import partial

import pytest
from playwright.sync_api import expect

from tests.kit.page import (
    HOOK,
    chat,
    choose,
    come_back,
    emit,
    fill,
    get_text,
    get_unread,
    join,
    lose_connection,
    send,
)
from tests.kit.paths import ROOT
from webfarm.testing import starting_farm, wait_until

pytestmark = pytest.mark.browser

PREFIX = "page"
MOST_SHOWN = 150
# How long the page did nothing else at most, in milliseconds, while `count` messages came.
FLOOD = """async ([room, count]) => {
    const log = document.getElementById("log");
    const seen = { longest: 0, entries: 0, came: 0 };
    sockets[0].on("message", () => (seen.came += 1));
    const sender = io({ forceNew: true, query: { userId: "flood" }, transports: ["websocket"] });
    await sender.emitWithAck("join", { room });
    sender.off();
    let last = performance.now();
    const watch = (now) => {
        seen.longest = Math.max(seen.longest, now - last);
        seen.entries = Math.max(seen.entries, log.children.length);
        last = now;
        requestAnimationFrame(watch);
    };
    requestAnimationFrame(watch);
    for (let n = 0; n < count; n += 1) {
        sender.emit("message", { room, text: `flood ${n}` });
        if (n % 500 === 499) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    while (seen.came < count) await new Promise((resolve) => setTimeout(resolve, 50));
    await new Promise(requestAnimationFrame);
    sender.close();
    return seen;
}"""


@pytest.fixture(scope="module")
def site(redis_server, tmp_path_factory):
    with starting_farm(redis_server.url, tmp_path_factory.mktemp("haproxy")) as start_farm:
        yield start_farm(2, WEBFARM_PREFIX=PREFIX)


@pytest.fixture
def open_page(open_page):
    return partial(open_page, script=HOOK)


@pytest.fixture
def kick(redis_server):
    def kick(user):
        environ = {"PATH": os.environ["PATH"], "REDIS_URL": redis_server.url, "WEBFARM_PREFIX": PREFIX}
        subprocess.run([sys.executable, "-m", "webfarm", "kick", user], cwd=ROOT, env=environ, check=True)

    return kick


def scroll_to(page, top):
    page.evaluate("top => (document.getElementById('scroller').scrollTop = top)", top)


def test_a_newcomer_writes_at_once_and_chooses_a_name_later(open_page):
    page = open_page("/")
    expect(page.locator("#title")).to_have_text("common")
    expect(page.locator("#message-input")).to_be_focused()
    page.keyboard.type("Hello!")
    page.keyboard.press("Enter")
    expect(page.locator("#log li[data-state=sent]")).to_contain_text("Hello!")
    assert re.fullmatch("guest-[0-9a-z]{7}", page.inner_text("#guest-name"))
    page.click("#choose-name")
    page.fill("#user-id", "nora")
    page.keyboard.press("Enter")
    expect(page.locator("#account-name")).to_have_text("nora")
    expect(page.locator("#account")).to_be_hidden()
    expect(page.locator("#choose-name")).to_be_hidden()
    page.goto(page.url)
    expect(page.locator("#people li").first).to_have_text("nora (you)")


def test_a_private_conversation_is_the_same_on_both_sides_in_all_tabs_and_after_a_reload(open_page, site):
    anna, bob = chat(open_page, "anna-c"), chat(open_page, "bob-c")
    anna.locator("#people button.name", has_text="bob-c").click()
    send(anna, "are you there?")
    expect(get_unread(bob, "anna-c", "user")).to_have_text("1")
    choose(bob, "anna-c", "user")
    expect(bob.locator("#subtitle")).to_have_text("Private · online")
    send(bob, "yes")
    other = anna.context.new_page()
    other.goto(f"{site.url}/?userId=anna-c")
    for page in (anna, other):
        choose(page, "bob-c", "user")
        expect(page.locator("#log .text")).to_have_text(["are you there?", "yes"])
    send(anna, "good")
    expect(get_text(anna, "good")).to_have_attribute("data-state", "sent")
    anna.goto(anna.url)
    choose(anna, "bob-c", "user")
    for page in (anna, other, bob):
        expect(page.locator("#log .text")).to_have_text(["are you there?", "yes", "good"])
    expect(anna.locator("#log .own .status")).to_have_text(["Sent", "Sent"])


def test_who_is_offline_gets_it_later(open_page):
    anna, bob = chat(open_page, "anna-o"), chat(open_page, "bob-o")
    send(bob, "I have to go")
    get_text(anna, "I have to go").locator("button.name").click()
    bob.goto("about:blank")
    expect(anna.locator("#subtitle")).to_have_text("Private · offline; gets it later", timeout=15_000)
    expect(anna.locator("#privates .presence[data-online=false]")).to_have_count(1)
    send(anna, "see you")
    expect(anna.locator("#log li[data-state=sent]")).to_have_count(1)
    bob.go_back()
    expect(get_unread(bob, "anna-o", "user")).to_have_text("1")
    choose(bob, "anna-o", "user")
    expect(get_text(bob, "see you")).to_be_visible()


def test_what_is_unread_is_counted_by_room_and_known_after_a_reload(open_page):
    anna, bob = chat(open_page, "anna-u"), chat(open_page, "bob-u")
    for room in ("hall", "attic"):
        for page in (anna, bob):
            join(page, room)
    choose(bob, "common")
    send(anna, "one")
    send(anna, "two")
    choose(anna, "hall")
    send(anna, "three")
    for _ in range(2):
        expect(get_unread(bob, "attic")).to_have_text("2")
        expect(get_unread(bob, "hall")).to_have_text("1")
        expect(bob).to_have_title("(3) common – webfarm")  # noqa: RUF001 - the page's own dash
        bob.goto(bob.url)
    choose(bob, "attic")
    expect(get_unread(bob, "attic")).to_be_hidden()
    expect(bob).to_have_title("(1) attic – webfarm")  # noqa: RUF001


def test_history_is_read_as_one_scrolls_up_and_what_one_reads_stays_in_place(open_page):
    page = chat(open_page, "anna-h")
    fill(page, "long", 1, 230)
    join(page, "long")
    expect(get_text(page, "number 230")).to_be_visible()
    first = page.locator("#log li").first

    def scroll_up():
        page.evaluate("document.getElementById('scroller').scrollTop = 0")
        return page.inner_text("#earlier") == "This is the beginning."

    wait_until(scroll_up, "the beginning")
    expect(first).to_contain_text("number 1")
    assert page.locator("#log li").count() <= MOST_SHOWN
    scroll_to(page, 900)
    script = "() => [...document.querySelectorAll('#log li')].map((one) => one.getBoundingClientRect().top)"
    before = page.evaluate(script)
    fill(page, "long", 231, 240)
    expect(page.locator("#jump-count")).to_have_text("10 new")
    assert page.evaluate(script)[: len(before)] == before
    page.click("#jump")
    expect(get_text(page, "number 240")).to_be_visible()
    expect(page.locator("#jump")).to_be_hidden()


def test_who_is_writing_is_shown_in_rooms_and_in_private(open_page):
    pages = anna, bob = chat(open_page, "anna-y"), chat(open_page, "bob-y")
    for page in pages:
        join(page, "typing")
    anna.type("#message-input", "wait")
    expect(bob.locator("#typing")).to_have_text("anna-y is writing …")
    expect(anna.locator("#typing")).to_have_text("")
    anna.press("#message-input", "Enter")
    expect(bob.locator("#typing")).to_have_text("")
    bob.locator("#people button.name", has_text="anna-y").click()
    bob.type("#message-input", "psst")
    anna.locator("#people button.name", has_text="bob-y").click()
    expect(anna.locator("#typing")).to_have_text("bob-y is writing …")
    expect(anna.locator("#typing")).to_have_text("", timeout=10_000)


def test_a_message_is_marked_as_sending_and_sent_or_failed_and_can_be_tried_again(open_page, kick):
    anna, bob = chat(open_page, "anna-m"), chat(open_page, "bob-m")
    for page in (anna, bob):
        join(page, "marks")
    lose_connection(anna)
    send(anna, "first")
    status = get_text(anna, "first").locator(".status")
    expect(status).to_have_text("Sending …")
    come_back(anna)
    expect(status).to_have_text("Sent")
    kick("anna-m")
    expect(anna.locator("#line")).to_have_text("The server ended this connection.")
    send(anna, "second")
    status = get_text(anna, "second").locator(".status")
    expect(status).to_have_text("Not sent: There is no connection.")
    anna.click("#reconnect")
    expect(anna.locator("#state")).to_have_attribute("data-state", "connected")
    get_text(anna, "second").get_by_role("button", name="Try again").click()
    expect(status).to_have_text("Sent")
    expect(bob.locator("#log .text")).to_have_text(["first", "second"])


def test_a_message_that_is_sent_again_is_stored_and_shown_once(open_page):
    anna, bob = chat(open_page, "anna-i"), chat(open_page, "bob-i")
    for page in (anna, bob):
        join(page, "ids")
    for _ in range(2):
        emit(anna, "message", {"room": "ids", "text": "once", "id": "the same"})
    send(anna, "last")
    for page in (anna, bob):
        expect(page.locator("#log .text")).to_have_text(["once", "last"])


@pytest.mark.parametrize("count", [3, 700], ids=["few", "more than is read at once"])
@pytest.mark.parametrize("is_recovered", [True, False], ids=["recovered", "anew"])
def test_a_lost_connection_is_said_quietly_and_nothing_is_missing_after_it(open_page, is_recovered, count):
    room = f"lost-{is_recovered}-{count}"
    anna, bob = chat(open_page, "anna-q"), chat(open_page, "bob-q")
    for page in (anna, bob):
        join(page, room)
    send(bob, "before")
    expect(get_text(anna, "before")).to_be_visible()
    lose_connection(anna)
    expect(anna.locator("#line")).to_have_text("The connection was lost. Trying again …")
    fill(bob, room, 1, count)
    come_back(anna, is_recovered)
    word = "nothing was missed." if is_recovered else "What was said meanwhile was read"
    expect(anna.locator("#line")).to_contain_text(word)
    expect(get_text(anna, f"number {count}")).to_be_visible()
    numbers = set()

    def scroll_up():
        texts = anna.locator("#log .text").all_inner_texts()
        numbers.update(texts)
        anna.evaluate("document.getElementById('scroller').scrollTop = 0")
        return "before" in texts

    wait_until(scroll_up, "what was said before")
    assert numbers == {"before"} | {f"number {n}" for n in range(1, count + 1)}


def test_addresses_become_links_and_nothing_else_does(open_page):
    anna, bob = chat(open_page, "anna-a"), chat(open_page, "bob-a")
    for page in (anna, bob):
        join(page, "links")
    send(
        anna,
        "See https://example.org/a_(b)?c=d&e=%20, (http://example.com/x) or HTTPS://EXAMPLE.NET! javascript:alert(1)",
    )
    send(anna, "ftp://example.org data:text/html,x https:// //example.org https://<b>")
    links = bob.locator("#log .text a")
    expect(links).to_have_text(["https://example.org/a_(b)?c=d&e=%20", "http://example.com/x", "HTTPS://EXAMPLE.NET"])
    for link in links.all():
        assert "noopener" in link.get_attribute("rel")
        assert link.get_attribute("target") == "_blank"


def test_ten_thousand_messages_do_not_freeze_the_page(open_page):
    page = chat(open_page, "anna-f")
    join(page, "flood")
    seen = page.evaluate(FLOOD, ["flood", 10_000])
    print(seen)
    assert seen["entries"] <= MOST_SHOWN
    assert seen["longest"] < 1000
    expect(get_text(page, "flood 9999")).to_be_visible()


def test_what_is_written_is_kept_when_one_looks_elsewhere(open_page):
    page = chat(open_page, "anna-d")
    join(page, "drafts")
    page.fill("#message-input", "half a sen")
    choose(page, "common")
    expect(page.locator("#message-input")).to_have_value("")
    choose(page, "drafts")
    expect(page.locator("#message-input")).to_have_value("half a sen")
    page.press("#message-input", "Shift+Enter")
    page.keyboard.type("tence")
    page.press("#message-input", "Enter")
    expect(page.locator("#log .text")).to_have_text(re.compile("half a sen\ntence"))


def test_times_are_told_to_people_and_programs(open_page):
    page = chat(open_page, "anna-z", timezone_id="Europe/Berlin", locale="en-GB")
    join(page, "times")
    send(page, "now")
    time = page.locator("#log li[data-state=sent] time")
    expect(time).to_have_text(re.compile(r"\d\d:\d\d"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time.get_attribute("datetime"))
    expect(page.locator("#log li")).to_have_attribute("data-day", "Today")
