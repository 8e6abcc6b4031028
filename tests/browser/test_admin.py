"""The official Admin UI and ``/status``, in headless Chromium, on two workers behind HAProxy."""

import os
import re
import signal

import pytest
from playwright.sync_api import expect

from tests.kit.clients import Client, opening
from webfarm.testing import starting_farm, wait_until

pytestmark = pytest.mark.browser

PASSWORD = "a password"
LOGIN = {"http_credentials": {"username": "admin", "password": PASSWORD}}


@pytest.fixture(scope="module")
def site(redis_server, tmp_path_factory):
    with starting_farm(redis_server.url, tmp_path_factory.mktemp("haproxy")) as start_farm:
        yield start_farm(2, WEBFARM_ADMIN_PASSWORD=PASSWORD)


@pytest.fixture
def clients(site):
    """One client on each worker."""
    with opening(Client) as open_client:
        yield [open_client(url, f"user{number}") for number, url in enumerate(site.workers.urls)]


def open_admin_ui(open_page):
    page = open_page("/admin-ui", **LOGIN)
    expect(page.get_by_text("connected", exact=True).first).to_be_visible(timeout=15_000)
    return page


def test_the_admin_ui_shows_the_farm_and_kicks_on_whichever_worker(open_page, clients):
    page = open_admin_ui(open_page)
    page.get_by_role("link", name="Servers").click()
    expect(page.get_by_text("Healthy", exact=True)).to_have_count(2)
    page.get_by_role("link", name="Rooms").click()
    expect(page.get_by_role("row", name=re.compile("^common "))).to_contain_text("2")
    for number, client in enumerate(clients):
        page.get_by_role("navigation").get_by_role("link", name="Sockets").click()
        row = page.get_by_role("row", name=client.sid)
        expect(row).to_contain_text(f"user{number}")
        row.get_by_role("button").click()
        client.get(1, "disconnect")
        expect(page.get_by_text("disconnected", exact=True).first).to_be_visible()  # a click shows the details, too


def test_a_room_is_joined_in_the_admin_ui(open_page, clients):
    page = open_admin_ui(open_page)
    page.get_by_role("link", name="Sockets").click()
    page.get_by_role("row", name=clients[1].sid).click()
    page.get_by_label("Join a room").fill("kitchen")
    page.get_by_label("Join a room").press("Enter")
    page.get_by_role("button").filter(has=page.locator(".mdi-tag-plus-outline")).click()
    wait_until(lambda: clients[1].call("message", {"room": "kitchen"})["ok"], "the client to be in the room")


def test_another_password_is_refused_by_the_admin_ui(open_page):
    page = open_admin_ui(open_page)
    page.get_by_role("button", name="Update").click()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("another")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text("Invalid credentials")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_label("Password")).to_be_hidden()
    expect(page.get_by_text("connected", exact=True).first).to_be_visible()


def test_the_status_shows_what_the_farm_does(open_page, clients, site):
    page = open_page("/status", **LOGIN)
    expect(page.locator("#state")).to_have_attribute("data-state", "connected")
    expect(page.locator("#nodes tbody tr")).to_have_count(2)
    expect(page.locator("[data-total=clients] dd")).to_have_text("2")
    expect(page.locator("#plots canvas")).to_have_count(6)

    def talk():
        for _ in range(5):
            clients[0].call("message", {"text": "hello"})
        return float(page.inner_text("[data-total=deliveries] dd").replace("\N{EN DASH}", "0")) > 0

    wait_until(talk, "deliveries to be counted")
    clients[1].cut()
    os.kill(site.workers.get_worker(site.workers.ports[1]), signal.SIGKILL)
    expect(page.locator("#nodes tr[data-state=gone]")).to_have_count(1, timeout=15_000)
    expect(page.locator("#nodes tr[data-state=good]")).to_have_count(2, timeout=15_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_status_fits_a_phone(open_page, scheme):
    page = open_page("/status", viewport={"width": 360, "height": 740}, color_scheme=scheme, **LOGIN)
    expect(page.locator("#plots canvas")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
