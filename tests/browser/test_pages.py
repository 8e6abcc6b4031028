"""The pages, in headless Chromium, on two workers behind HAProxy."""

import os
import re
import signal
from functools import partial

import pytest
import redis
from playwright.sync_api import expect

from tests.kit.front import Front
from tests.kit.offsets import get_keys
from tests.kit.page import HOOK, chat, choose, come_back, emit, get_text, join, lose_connection, send
from webfarm.auth import create_token
from webfarm.defaults import GRACE_S
from webfarm.nodes.directory import Directory
from webfarm.redis.blocking import list_shards
from webfarm.redis.keys import name_room
from webfarm.testing import SHARDS, starting_farm, starting_processes, wait_until

pytestmark = pytest.mark.browser

PREFIX = "browser"
SECRET = "a secret of the tests, of thirty-two bytes and more"
MARKUP = "<img src=x onerror=alert(1)> <b>text & more</b>"


@pytest.fixture(scope="module")
def site(redis_server, tmp_path_factory):
    with starting_farm(redis_server.url, tmp_path_factory.mktemp("haproxy")) as start_farm:
        yield start_farm(2, WEBFARM_PREFIX=PREFIX)


@pytest.fixture
def open_page(open_page):
    return partial(open_page, script=HOOK)


@pytest.fixture
def directory(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        yield Directory(list_shards(client, PREFIX, SHARDS))


@pytest.fixture(scope="module")
def tls(site, pem, tmp_path_factory):
    """An HAProxy that speaks TLS, in front of the same workers, and logs each request as it begins."""

    def edit(text):
        text = text.replace("log stderr format raw daemon notice", "log stderr format raw daemon info")
        return text.replace(
            "    log global\n", "    log global\n    option logasap\n    log-format '%HM %HU %HV %ST'\n"
        )

    with starting_processes(Front) as start:
        yield start(tmp_path_factory.mktemp("tls"), get_ranges(site), edit, tls_cert=pem)


def get_ranges(site):
    return [f"127.0.0.1:{site.workers.ports[0]}-{site.workers.ports[-1]}"]


def test_a_websocket_runs_over_http_2_and_survives_a_reload_of_haproxy(open_page, site, tls):
    """RFC 8441; HAProxy makes an upgrade of HTTP/1.1 of it for the worker."""
    anna = open_page("/?userId=anna-tls", tls.url, ignore_https_errors=True)
    expect(anna.locator("#state")).to_have_attribute("data-state", "connected")
    send(anna, "over HTTP/2")
    expect(anna.locator("#log li.message[data-state=sent]")).to_have_count(1)
    assert tls.wait_for_line("transport=websocket").endswith("HTTP/2.0 101")
    anna.wait_for_function("sockets[0].io.engine.transport.name === 'websocket'")
    tls.reload(get_ranges(site))
    send(anna, "after the reload")
    expect(anna.locator("#log li.message[data-state=sent]")).to_have_count(2)
    assert tls.output.count("transport=websocket") == 1


def expect_people(page, *names, timeout_s=5.0):
    """Wait until these are the people whom the page lists."""
    expect(page.locator("#people li")).to_have_text(list(names), timeout=timeout_s * 1000)
    expect(page.locator("#people .count")).to_have_text(str(len(names)))


def get_heard(page, room, *users):
    return [(user, online) for where, user, online in page.evaluate("heard") if where == room and user in users]


def enter(page, user, room):
    """Bring a user into a room, over a connection that is opened by the way in a page."""
    options = {"forceNew": True, "query": {"userId": user}, "transports": ["websocket"]}
    script = "([options, room]) => io(options).emitWithAck('join', { room })"
    assert page.evaluate(script, [options, room])["ok"]


def leave(page, user, room):
    script = "([user, room]) => sockets.find((one) => one.io.opts.query.userId === user).emitWithAck('leave', { room })"
    assert page.evaluate(script, [user, room])["ok"]


def test_the_demo_sends_a_private_message_from_one_worker_to_the_other(open_page):
    page = open_page("/demo")
    expect(page.locator("#path")).to_have_attribute("data-done", "true", timeout=15_000)
    panels = [page.locator(f"#socket-{number}") for number in (0, 1)]
    assert [panel.get_attribute("data-user") for panel in panels] == ["0", "1"]
    assert {panel.get_attribute("data-worker") for panel in panels} == {"webserver01", "webserver02"}
    expect(panels[1].locator(".received li")).to_have_count(1)
    expect(panels[0].locator(".received li")).to_have_count(0)
    page.click("#send")
    expect(panels[1].locator(".received li")).to_have_count(2)
    page.click("#send-back")
    expect(panels[0].locator(".received li")).to_have_count(1)
    page.click("#broadcast")
    expect(panels[0].locator(".received li")).to_have_count(2)
    expect(panels[1].locator(".received li")).to_have_count(3)

    def is_measured():  # of a busy worker, not every step is told in time
        if page.locator("#path").get_attribute("data-done") == "true":
            text = page.locator("#path").text_content()
            if all(one in text for one in ("webserver01", "webserver02", "HAProxy", "Redis")):
                return True
            page.click("#send")
        return False

    wait_until(is_measured, "a message of which each step was told")


def test_two_people_chat_and_markup_is_text(open_page):
    anna, bob = chat(open_page, "anna"), chat(open_page, "bob")
    send(anna, MARKUP)
    expect(anna.locator("#log li.message[data-state=sent]")).to_have_count(1)
    entry = bob.locator("#log li.message").last
    expect(entry).to_contain_text(MARKUP)
    expect(entry).to_contain_text("anna")
    assert bob.locator("#log img").count() == 0


def test_private_messages_to_a_socket_are_of_the_sender_s_conversation(open_page):
    anna, bob = chat(open_page, "anna-p"), chat(open_page, "bob-p")
    emit(anna, "privateMessage", {"to": bob.locator("#sid").text_content(), "text": "by socket"})
    choose(bob, "anna-p", "user")
    expect(get_text(bob, "by socket")).to_be_visible()


def test_rooms_and_announcements(open_page):
    anna, bob = chat(open_page, "anna-r"), chat(open_page, "bob-r")
    for page in (anna, bob):
        join(page, "kitchen")
    send(anna, "in the kitchen")
    expect(get_text(bob, "in the kitchen")).to_be_visible()
    for page in (anna, bob):
        choose(page, "Announcements", "everybody")
    send(anna, "to all")
    expect(bob.locator("#log li.broadcast")).to_contain_text("to all")
    expect(anna.locator("#log li.broadcast[data-state=sent]")).to_have_count(1)
    choose(anna, "kitchen")
    anna.click("#leave")
    expect(anna.locator("#title")).to_have_text("common")
    expect(anna.locator("#rooms button[data-room=kitchen]")).to_have_count(0)


def wait_for_silence(directory):
    """Wait until those of other tests have gone and are announced."""
    wait_until(lambda: not directory.get_users("common", is_watched=True), "those of other tests to be gone")


def test_tabs_on_two_workers_are_one_user_and_a_closed_or_reloaded_one_is_no_news(open_page, site, directory):
    """Redis announces who has gone in the order of their going: when the last one's is heard, all others' would be."""
    wait_for_silence(directory)
    others = ("anna-t", "carl-t", "dan-t", "erin-t")  # than bob
    bob, erin, carl = (chat(open_page, user) for user in ("bob-t", "erin-t", "carl-t"))
    tabs = {}
    for user in ("anna-t", "dan-t"):  # by HAProxy, and on the other worker's own port
        first = chat(open_page, user)
        other = site.workers.urls[2 - int(first.locator("#worker").text_content()[-2:])]
        tabs[user] = first, chat(open_page, user, url=other)
        expect(tabs[user][1].locator("#worker")).to_have_text("direct")
        assert len({client["node"] for client in directory.iterate_clients(user=user)}) == 2
    expect_people(bob, "bob-t (you)", *others)
    for tab in tabs["anna-t"]:
        expect_people(tab, "anna-t (you)", "bob-t", *others[1:])
    assert get_heard(bob, "common", *others) == [(one, True) for one in ("erin-t", "carl-t", "anna-t", "dan-t")]

    for page in (*tabs["dan-t"], tabs["anna-t"][1]):
        page.close()
    tabs["anna-t"][0].reload()
    erin.goto("about:blank")
    wait_until(lambda: directory.get_users("common") == {"anna-t": 1, "bob-t": 1, "carl-t": 1}, "three to be left")
    join(bob, "elsewhere")
    choose(bob, "common")
    expect_people(bob, "bob-t (you)", *others)  # nobody's going is announced yet
    erin.go_back()
    expect(erin.locator("#state")).to_have_attribute("data-state", "connected")
    carl.close()
    for page, user, other in (bob, "bob-t", "anna-t"), (tabs["anna-t"][0], "anna-t", "bob-t"):
        expect_people(page, f"{user} (you)", other, "erin-t", timeout_s=2 * GRACE_S)
    assert sorted(get_heard(bob, "common", *others)[4:]) == [("carl-t", False), ("dan-t", False)]


def test_a_name_in_the_list_starts_a_private_message(open_page):
    pages = anna, bob = chat(open_page, "anna-n"), chat(open_page, "bob-n")
    for page in pages:
        join(page, "names")
    expect_people(anna, "anna-n (you)", "bob-n")
    anna.locator("#people button.name").focus()
    anna.keyboard.press("Enter")
    anna.keyboard.type("psst")
    anna.keyboard.press("Enter")
    choose(bob, "anna-n", "user")
    expect(bob.locator("#log li.private")).to_contain_text("psst")


def test_the_list_is_of_the_open_room_and_others_are_watched_no_more(open_page):
    page = chat(open_page, "anna-w")
    enter(page, "bob-w", "first")
    join(page, "first")
    expect_people(page, "anna-w (you)", "bob-w")
    join(page, "second")
    expect_people(page, "anna-w (you)")
    enter(page, "carl-w", "first")
    enter(page, "dan-w", "second")
    expect_people(page, "anna-w (you)", "dan-w")
    choose(page, "first")
    expect_people(page, "anna-w (you)", "bob-w", "carl-w")
    assert get_heard(page, "first", "carl-w") == []


def test_after_a_lost_connection_the_list_is_read_anew_and_kept_up_to_date(open_page):
    page = chat(open_page, "anna-a")
    join(page, "again")
    enter(page, "bob-a", "again")
    expect_people(page, "anna-a (you)", "bob-a")
    for is_recovered, before, meanwhile, after in (
        (True, "bob-a", "carl-a", "dan-a"),
        (False, "dan-a", "erin-a", "fay-a"),
    ):
        lose_connection(page)
        leave(page, before, "again")
        enter(page, meanwhile, "again")
        if not is_recovered:
            leave(page, "carl-a", "again")
        come_back(page, is_recovered)
        expect_people(page, "anna-a (you)", meanwhile, timeout_s=2 * GRACE_S)
        enter(page, after, "again")
        expect_people(page, "anna-a (you)", meanwhile, after)
        assert get_heard(page, "again", after) == [(after, True)]


def test_of_a_large_room_a_part_is_listed(open_page, redis_server, directory):
    anna = chat(open_page, "anna-l")
    join(anna, "large")
    expect_people(anna, "anna-l (you)")
    [client] = directory.iterate_clients(user="anna-l")
    with redis.Redis.from_url(redis_server.url) as connection:
        members = get_keys(PREFIX, "large").members_of(client["node"]) + name_room("/", "large")
        assert connection.hlen(members) == 1
        connection.hset(members, mapping={f"user-{number}": 1 for number in range(1200)})
    choose(anna, "common")
    choose(anna, "large")
    expect(anna.locator("#people .note")).to_have_text("and more")
    expect(anna.locator("#people .count")).to_have_text(re.compile(r"^1,00[01]\+$"))  # she may be one of the others
    expect(anna.locator("#people li").first).to_have_text("anna-l (you)")


def test_a_member_of_a_private_room_invites_others(workers, open_page):
    url = workers(1, WEBFARM_SECRET=SECRET).urls[0]
    anna, bob = (open_page(f"/?userId={user}", url=url) for user in ("anna", "bob"))
    for page, user, rooms in (anna, "anna", ["private:den"]), (bob, "bob", []):
        expect(page.locator("#refusal")).to_have_text("This server wants a token.")
        page.fill("#token", create_token(user, SECRET, 60, rooms))
        page.click("#connect")
        expect(page.locator("#state")).to_have_attribute("data-state", "connected")
    nobody = open_page("/", url=url)
    expect(nobody.locator("#user-id")).to_be_focused()
    expect(nobody.locator("#user-id")).to_have_value("")
    bob.fill("#room-input", "private:den")
    bob.press("#room-input", "Enter")
    expect(bob.locator("#line")).to_contain_text("needs an invitation")
    expect(anna.locator("#invite-form")).to_be_hidden()
    join(anna, "private:den")
    anna.fill("#invite-input", "bob")
    anna.press("#invite-input", "Enter")
    expect(anna.locator("#line")).to_have_text("bob may join private:den now.")
    join(bob, "private:den")
    expect_people(anna, "anna (you)", "bob")


def test_the_page_comes_back_by_itself_when_its_worker_is_killed(open_page, site):
    page = chat(open_page, "dora")
    port = site.workers.ports[int(page.locator("#worker").text_content()[-2:]) - 1]
    os.kill(site.workers.get_worker(port), signal.SIGKILL)
    expect(page.locator("#state")).to_have_attribute("data-state", "reconnecting")
    send(page, "written meanwhile")
    expect(page.locator("#log li.message[data-state=sending]")).to_contain_text("written meanwhile")
    expect(page.locator("#state")).to_have_attribute("data-state", "connected", timeout=15_000)
    expect(page.locator("#line")).to_have_text("Connected again; nothing was missed.")
    expect(page.locator("#log li.message[data-state=sent]")).to_contain_text("written meanwhile")


@pytest.mark.parametrize("path", [f"/?userId={'W' * 128}", "/demo"], ids=["chat", "demo"])
def test_nothing_overflows_on_a_phone(open_page, path):
    page = open_page(path, viewport={"width": 360, "height": 740})
    expect(page.locator("[data-state=connected]").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
