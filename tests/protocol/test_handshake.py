"""A websocket's opening handshake: RFC 6455, section 4.2."""

import pytest

from webfarm.protocol.handshake import HandshakeError, answer_handshake

PROPER = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_CONNECTION": "keep-alive, Upgrade",
    "HTTP_UPGRADE": "websocket",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_the_example_of_the_rfc():
    head = answer_handshake(PROPER)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"REQUEST_METHOD": "POST"}, "400"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, "400"),
        ({"HTTP_CONNECTION": "keep-alive"}, "400"),
        ({"HTTP_CONNECTION": "not-upgrade"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, "426"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": None}, "426"),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "c2hvcnQ="}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "not base64"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ"}, "400"),
    ],
)
def test_an_improper_one_is_refused_with_a_sentence(changed, status):
    environ = {key: value for key, value in (PROPER | changed).items() if value is not None}
    with pytest.raises(HandshakeError) as refused:
        answer_handshake(environ)
    assert refused.value.status.startswith(status)
    assert str(refused.value).endswith(".\n")
    if status == "426":
        assert ("Sec-WebSocket-Version", "13") in refused.value.headers
