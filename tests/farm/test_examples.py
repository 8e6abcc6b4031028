"""The apps in ``examples/`` do what they say. (Those that echo are what the protocols' tests run on.)"""

import re

import pytest
from playwright.sync_api import expect

from tests.kit.paths import ROOT

EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py"))


@pytest.fixture
def board(workers):
    return workers(2, app="examples.board:app")


def show(strokes):
    """Return what stands on the board after these strokes."""
    return {square: colour for square, colour, _ in strokes}


def test_two_workers_paint_one_board(board, connect):
    one, other = map(connect, board.urls)
    assert one.ask("watch") == other.ask("watch") == []
    for number in range(20):
        assert one.ask("paint", number % 7, "gold")
        assert other.ask("paint", number % 7, "crimson")
    strokes = one.wait_for("painted", 40)
    assert other.wait_for("painted", 40) == strokes
    assert connect(board.urls[1]).ask("watch") == strokes
    assert show(strokes) == dict.fromkeys(range(7), "crimson")
    for stroke in ((256, "gold"), (-1, "gold"), (True, "gold"), (1, "pink"), (1, ["gold"])):
        assert one.ask("paint", *stroke)["error"]["code"] == "bad_request"


def test_who_lost_its_worker_gets_the_strokes_that_it_missed_once(board, connect):
    one, other = map(connect, board.urls)
    other.ask("watch")
    one.ask("watch")
    id = other.id
    board.kill_worker(board.ports[1])
    for number in range(50):
        assert one.ask("paint", number, "black")
    strokes = one.wait_for("painted", 50)
    assert other.wait_for("painted", 50) == strokes
    assert other.is_recovered
    assert other.id == id


@pytest.mark.browser
def test_the_boards_page_shows_what_others_paint_and_what_was_painted_while_it_was_away(board, browser):
    pages = []
    for url in board.urls:
        page = browser.new_context().new_page()
        page.goto(url)
        expect(page.locator("#state")).to_have_text("connected")
        pages.append(page)
    one, other = pages
    one.get_by_label("Square 17", exact=True).click()
    gold = re.compile("gold")
    crimson = re.compile("crimson")
    expect(other.get_by_label("Square 17", exact=True)).to_have_attribute("style", crimson)
    board.kill_worker(board.ports[1])
    one.get_by_label("Colour").select_option("gold")
    one.get_by_label("Square 17", exact=True).click()
    expect(other.locator("#state")).to_have_text("back, with nothing missed", timeout=20_000)
    expect(other.get_by_label("Square 17", exact=True)).to_have_attribute("style", gold)
    late = browser.new_context().new_page()
    late.goto(board.urls[0])
    expect(late.get_by_label("Square 17", exact=True)).to_have_attribute("style", gold)
    for page in (*pages, late):
        page.context.close()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_stands_in_their_readme(path):
    assert f"`{path.name}`" in (ROOT / "examples" / "README.md").read_text()


def test_the_board_is_a_small_app():
    assert len((ROOT / "examples/board.py").read_text().splitlines()) <= 60
