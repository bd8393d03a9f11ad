"""How connections end, and what their receivers are told."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest

from tests.support.websocket_client import (
    CLOSE,
    DEFLATE,
    PING,
    TEXT,
    Client,
    Frame,
    client_frame,
    close_payload,
)
from tests.support.websocket_echo import LOOPS, Echo, ServerThread
from tidewire.ports.transport import Transport
from tidewire.transports.limits import SocketLimits


class Obedient(Echo):
    """Does to its transport what the messages say."""

    def message_received(self, payload: bytes, is_text: bool) -> None:
        if payload == b"close":
            self.transport.close(4001, "as told")
            self.transport.close(1000)
            self.transport.write(b"late")
        elif payload == b"abort":
            self.transport.abort()
            self.transport.write(b"late")
        elif payload == b"ping":
            self.transport.ping()
        elif payload == b"raise":
            raise ZeroDivisionError
        else:
            super().message_received(payload, is_text)


@pytest.fixture(params=sorted(LOOPS))
def server(request: pytest.FixtureRequest):
    limits = SocketLimits(close_timeout_s=0.3)
    with ServerThread(loop=request.param, limits=limits, make_receiver=Obedient) as running:
        yield running
        running.wait_for(lambda: running.connection_count == 0)
        assert running.errors == []


def told(server: ServerThread) -> list[int | None]:
    """What the one receiver was told at the end, once it was told."""
    receiver = server.receiver()
    server.wait_for(lambda: receiver.close_codes)
    return receiver.close_codes


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (client_frame(CLOSE, close_payload(1001, b"bye")), 1001),
        (client_frame(CLOSE), 1005),
        (client_frame(3), None),
    ],
    ids=["with-a-code", "without-a-code", "broken-frame"],
)
def test_the_peers_code_is_told_once_and_at_once(
    server: ServerThread, frame: bytes, code: int | None
) -> None:
    with Client(server.address) as client:
        client.upgrade()
        client.send(frame)
        assert told(server) == [code]
        client.frames_to_end()
    server.wait_for(lambda: server.connection_count == 0)
    assert told(server) == [code]


def test_an_end_without_a_close_frame_is_told_as_none(server: ServerThread) -> None:
    client = Client(server.address)
    client.upgrade()
    client.reset()
    assert told(server) == [None]


def test_a_peer_that_shuts_only_its_side_is_answered_and_ended(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        client.send(client_frame(TEXT, b"last words"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.frames_to_end() == [Frame(TEXT, b"last words")]
        assert told(server) == [None]


def test_our_close_waits_for_the_peers_and_sends_nothing_after_it(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        client.send(client_frame(TEXT, b"close") + client_frame(TEXT, b"ignored"))
        assert client.frame() == Frame(CLOSE, close_payload(4001, b"as told"))
        client.send(client_frame(TEXT, b"ignored") + client_frame(CLOSE, close_payload(4001)))
        assert client.frames_to_end() == []
        assert told(server) == [4001]


def test_a_peer_that_does_not_answer_our_close_is_cut(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        client.send(client_frame(TEXT, b"close"))
        assert [frame.opcode for frame in client.frames_to_end()] == [CLOSE]
        assert told(server) == [None]


def test_a_peer_that_goes_on_after_breaking_a_rule_is_cut(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        client.send(client_frame(3))
        assert client.frame() is not None
        began = time.monotonic()
        try:
            while time.monotonic() - began < 5:
                client.send(bytes(1000))
        except ConnectionError:
            pass
        else:
            pytest.fail("it was not cut")
        assert told(server) == [None]


def test_abort_ends_without_a_close_frame(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        client.send(client_frame(TEXT, b"abort") + client_frame(TEXT, b"ignored"))
        assert client.frames_to_end() == []
        assert told(server) == [None]


def test_a_ping_asks_and_anything_moves_last_heard(server: ServerThread) -> None:
    with Client(server.address) as client:
        client.upgrade()
        client.send(client_frame(TEXT, b"ping"))
        assert client.frame() == Frame(PING, b"")
        transport = server.receiver().transport
        before = server.call(lambda: transport.last_heard_s)
        time_now = server.call(server._loop.time)
        assert before <= time_now

        def heard_since() -> bool:
            client.send(client_frame(10))  # again: the loop's clock may tick in milliseconds
            return transport.last_heard_s > before

        server.wait_for(heard_since)
        client.send(client_frame(CLOSE))
        client.frames_to_end()


def test_a_receiver_that_raises_loses_its_own_connection_only(
    server: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(server.address) as failing, Client(server.address) as other:
        other.upgrade()
        failing.upgrade()
        failing.send(client_frame(TEXT, b"raise") + client_frame(TEXT, b"ignored"))
        assert failing.frames_to_end() == [Frame(CLOSE, close_payload(1011))]
        other.send(client_frame(TEXT, b"fine"))
        assert other.frame() == Frame(TEXT, b"fine")
        other.reset()
    assert [record.message for record in caplog.records] == ["a message was not taken"]


def test_everything_is_harmless_after_the_end(server: ServerThread) -> None:
    client = Client(server.address)
    client.upgrade()
    client.reset()
    told(server)

    def use(transport: Transport) -> None:
        for _ in range(20):
            transport.write(b"late")
            transport.ping()
            transport.close(1000)
            transport.abort()

    server.call(use, server.receiver().transport)


def test_draining_tells_every_peer_1012_and_cuts_the_silent(server: ServerThread) -> None:
    with Client(server.address) as polite, Client(server.address) as silent:
        with Client(server.address) as http, Client(server.address) as beginning:
            for client in (polite, silent):
                client.upgrade()
            http.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert http.response()[0] == "HTTP/1.1 200 OK"
            beginning.send(b"GET / HT")
            server.wait_for(lambda: server.connection_count == 4)
            server._loop.call_soon_threadsafe(server._stop.set)
            for client in (polite, silent):
                assert client.frame() == Frame(CLOSE, close_payload(1012))
            polite.send(client_frame(CLOSE, close_payload(1012)))
            assert polite.frames_to_end() == []
            assert silent.frames_to_end() == []
            assert beginning.receive_all().startswith(b"HTTP/1.1 503 ")
            http.receive_all()
        codes = [code for receiver in server.receivers for code in receiver.close_codes]
        assert sorted(codes, key=str) == [1012, None]
        server._thread.join(10)
        with pytest.raises(ConnectionRefusedError):
            Client(server.address)
    server.wait_for = lambda *_args, **_options: None  # type: ignore[method-assign]


# ------------------------------------------------------------------ TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_tls_carries_both_and_closes_in_order(loop: str, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with ServerThread(loop=loop, ssl_context=context) as server:
        with Client(server.address, tls=trusting) as http:
            http.send(b"GET /tls HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert http.receive_all().endswith(b"GET /tls 127.0.0.1 0")
        with Client(server.address, tls=trusting) as client:
            client.upgrade(extensions=DEFLATE)
            client.send(client_frame(TEXT, b"x" * 100_000) + client_frame(PING, b"p"))
            frame = client.frame()
            assert frame is not None
            assert frame.reserved == 4
            assert client.frame() == Frame(10, b"p")
            client.send(client_frame(CLOSE, close_payload(1000)))
            assert client.frames_to_end() == [Frame(CLOSE, close_payload(1000))]
            server.wait_for(lambda: server.receivers[0].close_codes == [1000])
        with Client(server.address, tls=trusting) as bad:
            bad.send(b"GET / HTTP/1.1\nHost: x\n\n")
            assert bad.receive_all().startswith(b"HTTP/1.1 400 ")
        server.wait_for(lambda: server.connection_count == 0)
        assert server.errors == []
