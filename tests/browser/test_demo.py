"""The demo's page, in Chromium, on ``webfarm run``: who is on which worker, a message's path, and a worker that is killed."""

import re

import pytest
from playwright.sync_api import expect

from tests.kit.page import PHONE, check
from tests.kit.run import Run
from webfarm.testing import starting_processes

pytestmark = pytest.mark.browser

LOOKS = pytest.mark.parametrize("look", ["light", "dark"])
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
COUNT_CIRCLES = """
window.circles = 0;
const count = (node) => (circles += node.tagName === "circle");
new MutationObserver((all) => all.forEach(({ addedNodes }) => addedNodes.forEach(count))).observe(document, { childList: true, subtree: true });
"""
BACK_MS = 30_000  # for a worker that was killed to be replaced, and its clients to be back


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_processes(Run) as start:
        yield start(redis_server.url)


def open_demo(open_page, sockets=2, **options):
    """Open the page, and wait until the first message has arrived and all sockets are there."""
    page = open_page("/demo", **options)
    expect(page.locator("#path")).to_have_attribute("data-done", "true", timeout=15_000)
    if sockets != 2:
        page.select_option("#count", str(sockets))
    expect(page.locator("#panels > [data-state=connected]")).to_have_count(sockets)
    return page


def read_hops(page):
    """Return what the table says, once all is measured: ``{hop: milliseconds}``."""
    expect(page.locator("#path tbody td").first).to_have_text(re.compile(r"\d\.\d\d"))
    rows = [row.locator("th, td").all_text_contents() for row in page.locator("#path tbody tr").all()]
    return {name: float(ms) for name, ms, _ in rows}


def read_panels(page, name):
    return [panel.get_attribute(name) for panel in page.locator("#panels > section").all()]


def test_sockets_of_one_page_are_on_different_workers_each_in_its_colour(open_page):
    page = open_demo(open_page, 4)
    assert read_panels(page, "data-user") == ["0", "1", "2", "3"]
    workers = read_panels(page, "data-worker")
    assert set(workers) == {"webserver01", "webserver02"}
    colors = dict(zip(workers, read_panels(page, "data-color"), strict=True))
    assert len(set(colors.values())) == 2
    for number, worker in enumerate(workers):
        box = page.locator(f"#diagram .box[data-name='user {number}']")
        expect(box).to_have_attribute("data-color", colors[worker])
        expect(page.locator(f"#workers [data-worker={worker}] .users")).to_contain_text(f"user {number}")
    page.select_option("#count", "2")
    expect(page.locator("#panels > section")).to_have_count(2)
    expect(page.locator("#diagram .box")).to_have_count(4)


def test_the_times_of_a_private_message_add_up_to_what_the_browser_sees(open_page):
    page = open_demo(open_page)
    for button in ("send", "send-user"):
        page.click(f"#{button}")
        expect(page.locator("#result")).to_contain_text("from user 0 to user 1: arrived after")
        hops = read_hops(page)
        first, second = read_panels(page, "data-worker")
        total = hops.pop("in all, by the browser's clock alone")
        assert list(hops) == [
            f"user 0 → HAProxy → {first}", f"{first} → Redis", f"Redis → {second}", f"{second} → HAProxy → user 1",
        ]  # fmt: skip
        errors = [float(text) for text in page.locator("#path td:last-child").all_text_contents() if text]
        assert len(errors) == 2
        assert abs(sum(hops.values()) - total) <= sum(errors) + 0.1
        expect(page.locator("#diagram .labels text")).to_have_count(4)


def test_back_from_one_to_the_other_and_to_everybody(open_page):
    page = open_demo(open_page, 3)
    page.select_option("#from", label="user 2")
    page.select_option("#to", label="user 0")
    page.click("#send-back")
    expect(page.locator("#result")).to_contain_text("from user 0 to user 2: arrived")
    expect(page.locator("#socket-2 .received li")).to_have_count(1)
    page.click("#broadcast")
    expect(page.locator("#result")).to_contain_text("from user 2: all 3 received it")
    hops = read_hops(page)
    assert len([name for name in hops if name.startswith("Redis →")]) == 2
    assert len([name for name in hops if re.search(r"HAProxy → user \d$", name)]) == 3


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_a_message_travels_unless_one_wants_it_still(open_page, motion):
    page = open_demo(open_page, reduced_motion=motion, script=COUNT_CIRCLES)
    expect(page.locator("#diagram .box.on")).to_have_count(2)
    assert page.evaluate("circles") == (0 if motion == "reduce" else 1)
    expect(page.locator("#diagram .message")).to_have_count(0)


def expect_all_is_back(page, sockets):
    """Wait for the verdict: all numbers are everywhere."""
    expect(page.locator("#verdict")).to_have_attribute("data-good", "true", timeout=BACK_MS)
    expect(page.locator("#verdict")).to_contain_text(f"Nothing was lost: all {sockets} sockets have 1 to ")
    for text in page.locator("#panels .numbers").all_text_contents():
        assert re.fullmatch(r"1.\d+: complete, none twice, in order", text)


@LOOKS
@pytest.mark.parametrize("options", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_killed_worker_loses_nothing_and_the_page_stays_accessible(open_page, site, look, options):
    page = open_demo(open_page, color_scheme=look, **options)
    before = site.find_workers()
    page.click("#steady")
    expect(page.locator("#progress")).to_have_text(re.compile(r"Sent \d+, acknowledged [1-9]"))
    page.get_by_role("button", name="kill -9 webserver02").focus()
    page.keyboard.press("Enter")
    lost = page.locator("#panels [data-worker=webserver02]")
    expect(lost).to_have_attribute("data-state", "disconnected")
    expect(page.locator("#workers [data-worker=webserver02]")).to_contain_text("(lost)")
    expect(page.locator("#diagram .box.lost")).to_have_count(2)
    check(page)
    expect_all_is_back(page, 2)
    expect(page.locator("#verdict")).to_contain_text("webserver02 was killed: 1 socket lost, 1 recovered, within ")
    expect(lost.locator(".loss")).to_have_text(
        re.compile("back after [0-9,]+ ms, recovered: yes, on webserver02 again")
    )
    assert page.locator("#panels [data-worker=webserver01] .loss").text_content() == "never"
    after = site.find_workers()
    assert [after[port] == before[port] for port in site.ports] == [True, False]
    page.click("#steady")
    expect(page.locator("#verdict")).to_contain_text("Stopped. Nothing was lost")
    check(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]


def test_the_sender_s_own_worker_may_be_killed_and_then_the_other_one(open_page):
    """The numbers that it could not send, or of which it does not know, are sent again, and are there once."""
    page = open_demo(open_page, 3)
    for worker in ("webserver01", "webserver02"):
        page.locator(f"#workers [data-worker={worker}] button").click()
        expect(page.locator("#verdict")).to_contain_text(f"{worker} was killed: ", timeout=BACK_MS)
        expect_all_is_back(page, 3)


def test_without_recovery_the_page_says_what_is_missing(open_page, redis_server):
    with starting_processes(Run) as start:
        url = start(redis_server.url, WEBFARM_RECOVERY_WINDOW_S="0").url
        page = open_demo(open_page, url=url)
        page.locator("#workers [data-worker=webserver02] button").click()
        expect(page.locator("#verdict")).to_have_attribute("data-good", "false", timeout=BACK_MS)
        expect(page.locator("#verdict")).to_contain_text(re.compile(r"1 socket lost, 0 recovered.* user 1 misses \d"))
        expect(page.locator("#panels [data-recovered=false] .loss")).to_contain_text("recovered: no")
        page.close()


def test_on_workers_alone_nothing_can_be_killed_and_the_path_has_no_haproxy(workers, open_page):
    page = open_demo(open_page, url=workers(1).urls[0])
    expect(page.locator("#note")).to_contain_text("There is no HAProxy in front")
    assert set(read_hops(page)) >= {"user 0 → direct", "direct → Redis", "Redis → direct", "direct → user 1"}
    expect(page.locator("#workers button")).to_have_count(0)
    expect(page.locator("#kill-note")).to_be_visible()
    expect(page.locator("#diagram .bar")).to_have_count(1)


def test_in_a_cluster_the_page_says_which_primary_a_message_went_over(redis_cluster, workers, open_page):
    page = open_demo(
        open_page, url=workers(1, url=redis_cluster.url, WEBFARM_SHARDS="8", WEBFARM_RUN_KEY="a key").urls[0]
    )
    shard = re.compile(r"Redis: shard [1-8] of 8, on [\d.]+:\d+")
    expect(page.locator("#path caption")).to_have_text(shard)
    expect(page.locator("#diagram .redis text")).to_have_text(shard)


@pytest.mark.parametrize(
    ("added", "last", "faults"),
    [
        ([1, 2, 3], 3, ""),
        ([], 2, "misses 1\N{EN DASH}2"),
        ([1, 3, 4, 7], 7, "misses 2, 5\N{EN DASH}6"),
        ([1, 2, 2, 3], 3, "has twice 2"),
        ([1, 3, 2], 3, "has too late 2"),
        ([2, 2, 1], 4, "misses 3\N{EN DASH}4, has twice 2, has too late 1"),
    ],
)
def test_numbers_that_are_missing_doubled_or_late_are_told(open_page, added, last, faults):
    script = """async ([added, last]) => {
      const { Numbers } = await import("/static/demo/demo-numbers.js");
      const numbers = new Numbers();
      added.forEach((number) => numbers.add(number));
      return numbers.describeFaults(last);
    }"""
    assert open_page("/").evaluate(script, [added, last]) == faults


MEASURE = """async ({ skew, handled, delivered }) => {
  const { measure } = await import("/static/demo/demo-hops.js");
  const { Clock } = await import("/static/demo/demo-clock.js");
  const end = (name, worker, offset, at, notes) => {
    const clock = new Clock();
    clock.add(0, (1 + offset) * 1000, 2);
    clock.add(0, (90 + offset) * 1000, 100);
    return { name, worker, clock, notes, at };
  };
  const sender = end("user 0", "a", 0, 10, handled ? { handled, acknowledged: 14_500 } : {});
  const receiver = end("user 1", "b", skew, 20, delivered ? { delivered: delivered + skew * 1000 } : {});
  return measure(14_000, sender, [receiver]).map(({ from, to, ms, error }) => [from, to, ms, error]);
}"""


@pytest.mark.parametrize(
    ("times", "hops"),
    [
        ({}, [["user 0", "a", 3, 1], ["a", "Redis", 1, 0], ["Redis", "b", 2, 0], ["b", "user 1", 4, 1]]),
        ({"skew": 500}, [["user 0", "a", 3, 1], ["a", "b", 3, 2], ["b", "user 1", 4, 1]]),
        ({"handled": 14_200}, [["user 0", "a", 4.2, 1], ["a", "b", 1.8, 2], ["b", "user 1", 4, 1]]),
        ({"delivered": None}, [["user 0", "a", 3, 1]]),
        ({"handled": None}, [["b", "user 1", 4, 1]]),
    ],
    ids=["one clock", "a worker's is another", "Redis' is another", "nobody knows", "repeated"],
)
def test_what_can_not_be_measured_is_not_shown(open_page, times, hops):
    found = open_page("/").evaluate(MEASURE, {"skew": 0, "handled": 13_000, "delivered": 16_000} | times)
    assert [hop[:2] for hop in found] == [hop[:2] for hop in hops]
    assert [pytest.approx(hop[2:]) for hop in found] == [hop[2:] for hop in hops]
