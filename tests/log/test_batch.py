"""What the store script is told of a batch, and what its answers mean."""

from webfarm import defaults
from webfarm.errors import NoRecipient, Unavailable
from webfarm.log.batch import Outgoing, decode_answer, describe_batch, join_batches
from webfarm.log.retention import Retention
from webfarm.log.shard_log import Stored
from webfarm.redis.keys import Keys

KEYS = Keys("t")
CLOCK = (KEYS.format, "fresh", "seen", "7")


def describe(*messages, number=1):
    return describe_batch(KEYS, Retention(5, 6, 7.5), CLOCK, "last", number, messages)


def test_a_batch_is_told_with_its_clock_and_its_rooms_limits():
    message = Outgoing("/", "room", (b"head", b"tail"))
    assert describe(message, number=9) == [
        *(1, KEYS.absent, KEYS.clock, "last", "1", "fresh", "seen", "7", 9, 5, 6, 7500, KEYS.users_sids),
        *("{t:0}:log:/,room", "{t:0}:room:/,room", KEYS.clock, KEYS.clock, 0, 0, b"head", b"tail"),
    ]
    assert message.size == 8


def test_what_is_stored_once_and_a_recipient_are_looked_up():
    arguments = describe(Outgoing("/", "sid", (b"head", b""), "key", 1.5, "sid"))
    assert arguments[15:19] == ["{t:0}:once:/,sid:key", "{t:0}:session:sid", 1500, 1]


def test_batches_are_joined_behind_their_number():
    one, other = describe(Outgoing("/", None, (b"1", b""))), describe()
    assert join_batches([one, other]) == [2, *one, *other]


def test_an_answer_is_a_place_or_a_refusal():
    assert decode_answer(b"17", 2) == Stored(17, 2)
    assert isinstance(decode_answer(b"", b"recipient"), NoRecipient)
    refused = decode_answer(b"", b"OOM command not allowed")
    assert isinstance(refused, Unavailable)
    assert "OOM" in str(refused)


def test_the_defaults_of_a_rooms_retention_are_those_of_the_settings():
    assert Retention() == (defaults.HISTORY_LENGTH, defaults.HISTORY_BYTES, defaults.HISTORY_TTL_S)
