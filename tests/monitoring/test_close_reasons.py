"""Close reasons are the texts that python-engineio has for them, and two more."""

import engineio

from webfarm.monitoring.close_reasons import CloseReason


def test_they_equal_python_engineios():
    stock = {name: value for name, value in vars(engineio.Server.reason).items() if name.isupper()}
    assert {name: CloseReason[name] for name in stock} == stock
    assert set(CloseReason) - set(stock.values()) == {"slow client", "rate limited"}


def test_handlers_see_texts():
    reason = CloseReason.SLOW_CLIENT
    assert (f"{reason}", repr(reason), {reason: 1}["slow client"]) == ("slow client", "'slow client'", 1)
