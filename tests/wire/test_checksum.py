"""Messages that were changed on their way are refused, whatever bit it was; older peers send no checksum."""

import pytest

from janus_vit.errors import WireError
from janus_vit.planning.outcome import Answer
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.checksum import with_checksum
from janus_vit.wire.messages import (
    Greeting,
    Reply,
    Request,
    parse_greeting,
    parse_reply,
    parse_request,
    serialise_greeting,
    serialise_reply,
    serialise_request,
)

REQUEST = Request("abc", "jpeg90", 0, (1, 0), 0, 0, 0.25, "camera", bytes(range(40)))
REPLY = Reply(Answer((3, 1), (0.7, 0.2)), 0.01, 0.0, 0.0, 0.002, 0.0)
GREETING = Greeting("small", "abc", "{}", (0, 2))

MESSAGES = [
    pytest.param(serialise_request(REQUEST), parse_request, REQUEST, id="request"),
    pytest.param(serialise_reply(REPLY), lambda data: parse_reply(data, Outputs(10)), REPLY, id="reply"),
    pytest.param(serialise_greeting(GREETING), parse_greeting, GREETING, id="greeting"),
]


@pytest.mark.parametrize(("data", "parse", "message"), MESSAGES)
def test_a_message_with_a_checksum_and_one_of_an_older_peer_are_taken(data, parse, message):
    with_sum, without = parse(with_checksum(data)), parse(data)
    assert with_sum == without
    assert type(with_sum) is type(message)


@pytest.mark.parametrize(("data", "parse", "message"), MESSAGES)
def test_no_changed_bit_is_taken_for_another_message(data, parse, message):
    sent, right = with_checksum(data), parse(data)
    for bit in range(8 * len(sent)):
        changed = bytearray(sent)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            taken = parse(bytes(changed))
        except WireError:
            continue
        assert taken == right, bit  # the bit was in the tag of the checksum


def test_a_changed_answer_names_the_checksum():
    sent = bytearray(with_checksum(serialise_request(REQUEST)))
    sent[sent.index(bytes(range(40))) + 7] ^= 1
    with pytest.raises(WireError, match="checksum does not match: the message was changed on the way"):
        parse_request(bytes(sent))
