"""The time that sessions have, by the sessions of one node."""

from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from webfarm.log.retention import Retention
from webfarm.log.shard_log import ShardLog
from webfarm.redis.client import connect
from webfarm.redis.keys import Keys
from webfarm.redis.pipeline import Pipeline
from webfarm.sessions.renewal import Renewal
from webfarm.sessions.store import SessionStore


@pytest.fixture
def sessions(redis_server):
    commands = Pipeline(connect(redis_server.url))
    return SessionStore(commands, ShardLog(commands, Keys("renewal"), Retention(), lambda: None), 120.0)


def test_of_many_sessions_that_expire_none_waits_for_another(sessions):
    for sid in ("slow", *map(str, range(150))):
        session = sessions.open(sid, "/", "")
        session.is_written, session.expires_ms = True, 1
    may_go_on, ended = Event(), []

    def end(session):
        if session.sid == "slow":
            may_go_on.wait()
        if session.sid == "0":
            raise RuntimeError("it can't be ended just now")
        ended.append(session.sid)
        sessions.evict(session)

    job = gevent.spawn(Renewal(sessions, SimpleNamespace(on_expired=end))._expire)
    try:
        with gevent.Timeout(10):
            while len(ended) < 149:
                gevent.sleep(0.01)
        may_go_on.set()
        with gevent.Timeout(10):
            while "slow" not in ended:
                gevent.sleep(0.01)
    finally:
        job.kill()
