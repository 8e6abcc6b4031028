"""Who may use the pages, and what the pages may do: accessibility by axe-core, the keyboard, and the pages' policy."""

import re
from functools import partial

import pytest
import requests
from playwright.sync_api import expect

from tests.kit.page import HOOK, PHONE, chat, check, choose, fill, get_text, join, lose_connection, send
from webfarm.testing import starting_farm

pytestmark = pytest.mark.browser

PASSWORD = "a password"
LOGIN = {"http_credentials": {"username": "admin", "password": PASSWORD}}
SIZES = {"desktop": {"viewport": {"width": 1280, "height": 800}}, "phone": PHONE}
LOOKS = pytest.mark.parametrize("look", ["light", "dark"])
ON = pytest.mark.parametrize("size", [*SIZES])


@pytest.fixture(scope="module")
def site(redis_server, tmp_path_factory):
    with starting_farm(redis_server.url, tmp_path_factory.mktemp("haproxy")) as start_farm:
        yield start_farm(2, WEBFARM_ADMIN_PASSWORD=PASSWORD)


@pytest.fixture
def open_page(open_page):
    return partial(open_page, script=HOOK)


@LOOKS
@ON
def test_the_chat_is_accessible_in_all_its_states(open_page, size, look):
    anna = chat(open_page, f"anna-{size}-{look}", color_scheme=look, **SIZES[size])
    bob = chat(open_page, f"bob-{size}-{look}")
    check(anna)
    send(bob, "hello, see https://example.org")
    send(anna, f"hi from a {size}, {look}")
    get_text(bob, f"hi from a {size}, {look}").locator("button.name").click()
    send(bob, "in private")
    if size == "phone":
        expect(anna.locator("#open-side")).to_have_accessible_name("Rooms and people 1 unread")
        anna.click("#open-side")
    expect(anna.locator("#privates .unread")).to_be_visible()
    check(anna)
    join(anna, f"private:{size}-{look}")
    expect(anna.locator("#invite-form")).to_be_visible()
    lose_connection(anna)
    send(anna, "not sent yet")
    expect(anna.locator("#line")).to_contain_text("lost")
    check(anna)
    if size == "phone":
        anna.click("#open-side")
    anna.click("#account-button")
    check(anna)


@LOOKS
@ON
def test_the_demo_is_accessible(open_page, size, look):
    page = open_page("/demo", color_scheme=look, **SIZES[size])
    expect(page.locator("#path")).to_have_attribute("data-done", "true", timeout=15_000)
    page.click("#broadcast")
    expect(page.locator("#received li")).to_have_count(2)
    check(page)


@LOOKS
@ON
def test_the_status_is_accessible(open_page, size, look):
    page = open_page("/status", color_scheme=look, **SIZES[size], **LOGIN)
    expect(page.locator("#nodes tbody tr")).to_have_count(2)
    expect(page.locator("#plots canvas")).to_have_count(6)
    check(page)


def test_everything_is_done_with_the_keyboard_alone(open_page):
    anna, bob = chat(open_page, "anna-k"), chat(open_page, "bob-k")
    page, press = anna, anna.keyboard.press
    expect(page.locator("#people button.name", has_text="bob-k")).to_be_visible()
    page.goto(page.url)
    expect(page.locator("#message-input")).to_be_focused()
    assert page.evaluate("document.querySelector('a, button, input').className") == "skip"
    page.locator(".skip").focus()
    press("Enter")
    expect(page.locator("#message-input")).to_be_focused()
    page.keyboard.type("by keyboard")
    press("Enter")
    expect(get_text(bob, "by keyboard")).to_be_visible()
    page.locator("#room-input").focus()
    page.keyboard.type("keys")
    press("Enter")
    expect(page.locator("#title")).to_have_text("keys")
    page.locator(".skip").focus()
    reached = set()
    for _ in range(25):
        press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.room || ''"))
        bare = "document.querySelector(':focus') && getComputedStyle(document.activeElement).outlineStyle === 'none'"
        assert not page.evaluate(bare), page.evaluate("document.activeElement.outerHTML")
    assert reached >= {"common", "keys", "room-input", "account-button", "leave", "scroller", "message-input"}


def test_the_drawer_of_a_phone_keeps_the_keyboard_inside_and_gives_it_back(open_page):
    page = chat(open_page, "anna-w", **PHONE)
    opener = page.get_by_role("button", name="Rooms and people")
    expect(opener).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#rooms")).to_be_hidden()
    opener.click()
    expect(page.get_by_role("button", name="Close the list")).to_be_focused()
    expect(page.locator("#main")).to_have_attribute("inert", "")
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(page.locator("#rooms")).to_be_hidden()
    opener.click()
    page.mouse.click(370, 400)
    expect(page.locator("#rooms")).to_be_hidden()
    opener.click()
    join(page, "from the drawer")
    expect(page.locator("#rooms")).to_be_hidden()


def test_a_screen_reader_hears_what_others_write_and_how_many_if_they_are_many(open_page):
    anna, bob = chat(open_page, "anna-s"), chat(open_page, "bob-s")
    for page in (anna, bob):
        join(page, "heard")
    send(bob, "hello")
    expect(anna.locator("#announcer[aria-live=polite]")).to_have_text("bob-s: hello")
    fill(bob, "heard", 1, 100)
    expect(anna.locator("#announcer")).to_have_text(re.compile(r"\d+ new messages"))
    send(anna, "quiet")
    expect(get_text(anna, "quiet")).to_be_visible()
    expect(anna.locator("#announcer")).not_to_contain_text("quiet")


def test_nothing_moves_for_those_who_want_it_still(open_page):
    page = chat(open_page, "anna-r", reduced_motion="reduce", **PHONE)
    assert page.evaluate("getComputedStyle(document.getElementById('side')).transitionProperty") == "none"


def test_names_and_words_of_any_length_and_direction_fit_a_phone(open_page):
    for user in ("W" * 120, "\N{HEBREW LETTER ALEF}" * 120):
        page = chat(open_page, user, **PHONE)
        page.click("#open-side")
        join(page, "room" * 30)
        send(page, "x" * 2000 + " \N{ARABIC LETTER AIN}\N{ARABIC LETTER BEH} \N{FAMILY}")
        page.click("#open-side")
        choose(page, "common")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        wide = "() => [...document.querySelectorAll('#main, #main *')].filter((one) => one.getBoundingClientRect().right > 376).length"
        assert page.evaluate(wide) == 0


@pytest.mark.parametrize("path", ["/", "/demo", "/status", "/nothing", "/static/chat/chat.js", "/healthz"])
def test_every_answer_forbids_scripts_and_styles_that_stand_in_a_page(site, path):
    answer = requests.get(site.url + path, auth=("admin", PASSWORD), timeout=5)
    policy = dict(rule.strip().split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    if "html" in answer.headers["Content-Type"]:
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", answer.text)
