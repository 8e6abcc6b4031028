"""``Farm`` before a worker starts it: the functions that it takes, and what it refuses."""

from functools import partial

import pytest

from webfarm import Farm, Settings


class Caller:
    def __call__(self):
        pass


def tell():
    pass


@pytest.mark.parametrize(
    "function",
    [lambda: None, partial(tell), Caller(), None, tell()],
    ids=["lambda", "partial", "object", "nothing", "result"],
)
def test_what_runs_once_has_a_name_that_all_workers_know(function):
    with pytest.raises(
        TypeError, match=r"^Farm.run_once: all workers know the function by its name: use def, not .*\.$"
    ):
        Farm(settings=Settings()).run_once(function)


def test_a_function_runs_once_under_its_name():
    farm = Farm(settings=Settings())
    assert farm.run_once(tell) is tell
    farm.run_once(Caller().__call__)
    with pytest.raises(ValueError, match=r"two functions are called tests\.test_wiring\.tell"):
        farm.run_once(tell)
