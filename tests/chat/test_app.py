"""The chat is extended without a fork: by a subclass of its handlers, and by routes beside its own."""

import pytest
import requests

from webfarm.testing import starting_workers


@pytest.fixture(scope="module")
def site(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(1, app="tests.kit.my_chat:app")


def test_a_subclass_adds_an_event_beside_those_of_the_chat(site, connect):
    anna, ben = (connect(site.urls[0], query={"userId": user}) for user in ("anna", "ben"))
    assert anna.ask("shout", "hello")["ok"]
    assert ben.wait_for("message")[0][0] == "HELLO"
    assert anna.ask("shout", 1)["error"]["code"] == "bad_request"
    assert anna.ask("message", "as before")["ok"]
    assert anna.ask("trace", {})["now"]  # the demo's


def test_the_chats_policy_is_for_its_own_pages_and_unknown_ones(site):
    def get_policy(path):
        return requests.get(site.urls[0] + path, timeout=5).headers.get("Content-Security-Policy")

    assert get_policy("/mine") is None
    for path in ("/", "/index.html", "/demo", "/static/chat/chat.js", "/none", "/healthz"):
        assert "default-src 'none'" in get_policy(path), path


def test_the_chat_leaves_no_setting_unused(redis_server):
    settings = {"WEBFARM_MAX_ROOMS_PER_CLIENT": "3", "WEBFARM_HISTORY_TTL_S": "1000", "WEBFARM_API_KEY": "k" * 16}
    with starting_workers(redis_server.url) as start_workers:
        process = start_workers(1, **settings)
        assert "does not use it" not in process.output
