"""How many arguments a handler takes is known by its signature, of whatever kind it is."""

from functools import partial

import pytest

from webfarm.socketio.signatures import fit, takes


class Handlers:
    def method(self, sid, data=None): ...

    @classmethod
    def of_class(cls, sid): ...

    @staticmethod
    def static(sid): ...

    def __call__(self, sid, *more): ...


def keyword_only(sid, *, key): ...


@pytest.mark.parametrize(
    ("handler", "counts"),
    [
        (Handlers().method, {1, 2}),
        (Handlers().of_class, {1}),
        (Handlers().static, {1}),
        (Handlers(), {1, 2, 3}),
        (lambda sid, environ: None, {2}),
        (partial(Handlers().method, "sid"), {0, 1}),
        (keyword_only, set()),
    ],
)
def test_a_handler_takes_as_many_as_its_signature_says(handler, counts):
    for _ in range(2):  # the second time from the cache
        assert {count for count in range(4) if takes(handler, count)} == counts


def test_a_handler_without_a_signature_takes_any_number():
    assert takes(min, 5)


def test_a_connect_handler_may_leave_the_last_argument_out():
    assert fit(lambda sid, environ, auth: None, ("sid", {}, None)) == ("sid", {}, None)
    assert fit(lambda sid, environ: None, ("sid", {}, None)) == ("sid", {})
    assert fit(lambda *args: None, ("sid", "reason")) == ("sid", "reason")
