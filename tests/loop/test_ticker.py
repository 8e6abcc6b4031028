"""The beat: what is done again and again, all of it in one turn of the loop."""

import gevent

from webfarm.loop import ticker as beat_module
from webfarm.loop.ticker import TICK_S, Ticker


def test_one_that_fails_takes_no_other_with_it_and_some_are_done_less_often(monkeypatch, caplog):
    monkeypatch.setattr(beat_module, "TICK_S", TICK_S / 100)
    done, beat = [], Ticker()
    beat.add(lambda: done.append("each") or 1 / 0, TICK_S / 100)
    beat.add(lambda: done.append("third"), 3 * TICK_S / 100)
    beat.add(lambda: done.append("each, too"), TICK_S / 100)
    beat.start()
    with gevent.Timeout(10):
        while done.count("third") < 2:
            gevent.sleep(0.001)
    beat._timer.close()
    assert done[:8] == ["each", "each, too"] * 2 + ["each", "third", "each, too", "each"]
    assert "ZeroDivisionError" in caplog.text
