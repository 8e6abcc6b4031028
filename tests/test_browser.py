"""The pages, in headless Chromium, on two workers behind HAProxy."""

import os
import shutil
import signal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import Front, starting_farm, starting_processes

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror=alert(1)> <b>text & more</b>"


@pytest.fixture(scope="module")
def site(redis_server, tmp_path_factory):
    with starting_farm(redis_server.url, tmp_path_factory.mktemp("haproxy")) as start_farm:
        yield start_farm(2)


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, site):
    """Opens pages, each in a profile of its own; fails the test on an error in a page's console."""
    contexts, errors = [], []

    def open_page(path: str, url: str = site.url, **options) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def chat(open_page, user):
    page = open_page(f"/?userId={user}")
    expect(page.locator("#state")).to_have_attribute("data-state", "connected")
    return page


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
    tls.reload(get_ranges(site))
    send(anna, "after the reload")
    expect(anna.locator("#log li.message[data-state=sent]")).to_have_count(2)
    assert tls.output.count("transport=websocket") == 1


def send(page, text):
    page.fill("#message-input", text)
    page.press("#message-input", "Enter")


def test_the_demo_sends_a_private_message_from_one_worker_to_the_other(open_page):
    page = open_page("/demo")
    expect(page.locator("#path")).to_have_attribute("data-done", "true", timeout=15_000)
    panels = [page.locator(f"#socket-{number}") for number in (0, 1)]
    assert [panel.get_attribute("data-user") for panel in panels] == ["0", "1"]
    assert {panel.get_attribute("data-worker") for panel in panels} == {"webserver01", "webserver02"}
    expect(panels[1].locator(".received li")).to_have_count(1)
    expect(panels[0].locator(".received li")).to_have_count(0)
    for worker in ("webserver01", "webserver02", "HAProxy", "Redis"):
        expect(page.locator("#path")).to_contain_text(worker)
    page.click("#send")
    expect(panels[1].locator(".received li")).to_have_count(2)
    page.click("#send-back")
    expect(panels[0].locator(".received li")).to_have_count(1)
    page.click("#broadcast")
    expect(panels[0].locator(".received li")).to_have_count(2)
    expect(panels[1].locator(".received li")).to_have_count(3)


def test_two_people_chat_and_markup_is_text(open_page):
    anna, bob = chat(open_page, "anna"), chat(open_page, "bob")
    send(anna, MARKUP)
    expect(anna.locator("#log li.message[data-state=sent]")).to_have_count(1)
    entry = bob.locator("#log li.message:visible")
    expect(entry).to_contain_text(MARKUP)
    expect(entry).to_contain_text("anna")
    assert bob.locator("#log img").count() == 0


def test_private_messages_by_user_and_by_socket(open_page):
    anna, bob = chat(open_page, "anna-p"), chat(open_page, "bob-p")
    for kind, recipient in (("user", "bob-p"), ("socket", bob.inner_text("#sid"))):
        anna.select_option("#private-kind", kind)
        anna.fill("#private-to", recipient)
        anna.fill("#private-input", f"by {kind}")
        anna.press("#private-input", "Enter")
        expect(bob.locator("#log li.private:visible", has_text=f"by {kind}")).to_be_visible()


def test_a_refused_message_says_why(open_page):
    page = chat(open_page, "carl")
    page.select_option("#private-kind", "socket")
    page.fill("#private-to", "nobody at all")
    page.fill("#private-input", "hello?")
    page.press("#private-input", "Enter")
    expect(page.locator("#log li.private[data-state=failed]")).to_contain_text("Nobody by that id is connected.")


def test_rooms_and_broadcast(open_page):
    anna, bob = chat(open_page, "anna-r"), chat(open_page, "bob-r")
    for page in (anna, bob):
        page.fill("#room-input", "kitchen")
        page.press("#room-input", "Enter")
        expect(page.locator("#rooms")).to_contain_text("kitchen")
    send(anna, "in the kitchen")
    expect(bob.locator("#log li.message:visible")).to_contain_text("in the kitchen")
    anna.fill("#broadcast-input", "to all")
    anna.press("#broadcast-input", "Enter")
    expect(bob.locator("#log li.broadcast")).to_contain_text("to all")


def test_the_page_comes_back_by_itself_when_its_worker_is_killed(open_page, site):
    page = chat(open_page, "dora")
    port = site.workers.ports[int(page.inner_text("#worker")[-2:]) - 1]
    os.kill(site.workers.get_worker(port), signal.SIGKILL)
    expect(page.locator("#state")).to_have_attribute("data-state", "reconnecting")
    send(page, "written meanwhile")
    expect(page.locator("#log li.message[data-state=sending]")).to_contain_text("written meanwhile")
    expect(page.locator("#state")).to_have_attribute("data-state", "connected", timeout=15_000)
    expect(page.locator("#log")).to_contain_text("Connected again; nothing was missed.")
    expect(page.locator("#log li.message[data-state=sent]")).to_contain_text("written meanwhile")


@pytest.mark.parametrize("path", ["/?userId=anna", "/demo"])
def test_nothing_overflows_on_a_phone(open_page, path):
    page = open_page(path, viewport={"width": 360, "height": 740})
    expect(page.locator("[data-state=connected]").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
