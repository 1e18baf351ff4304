"""mitmproxy's traps, each in a real mitmdump (mitmproxy-traps 0, 1, 3).

Whatever breaks: nothing is relayed in clear that should not be, nothing is relayed
unread, and no client hangs.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtpguard.judges import INLINE_OCTETS
from tests.proxy.live import (
    Gateway,
    Sink,
    client,
    connected,
    free_port,
    read_all,
    send,
    wait_until,
)
from tests.proxy.peers import Authority


pytestmark = pytest.mark.slow

MIB = 2**20


LARGE = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * (INLINE_OCTETS // 72 + 1)
"""A message that is judged beside the loop."""


@pytest.fixture(scope="module")
def sink(authority: Authority) -> Iterator[Sink]:
    made = Sink(authority.folder / "mx.example.pem")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Gateway]:
    """A gateway for the tests that leave it as they found it."""
    made = Gateway(tmp_path_factory.mktemp("gateway"), sink.port)
    try:
        yield made.ready()
    finally:
        made.stop()


@pytest.fixture
def gateway(shared: Gateway) -> Iterator[Gateway]:
    shared.order("")
    yield shared
    shared.order("")


@pytest.fixture
def own(tmp_path: Path, sink: Sink) -> Iterator[Callable[..., Gateway]]:
    """Make gateways of a test's own."""
    made: list[Gateway] = []

    def make(*options: str, **how: str) -> Gateway:
        made.append(Gateway(tmp_path / str(len(made)), sink.port, *options, **how))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def arrived(sink: Sink) -> Callable[[], int]:
    """Return how many mails the upstream accepted since the test began."""
    before = len(sink.mails)
    return lambda: len(sink.mails) - before


def refused(gateway: Gateway) -> bytes:
    """Connect and return what is said until the gateway closes."""
    with connected(gateway) as raw:
        return read_all(raw)


def serves(gateway: Gateway) -> bool:
    try:
        with client(gateway) as made:
            return send(made) == 250
    except (OSError, smtplib.SMTPException):
        return False


# -- it works at all, else the rest proves nothing -------------------------------------


@pytest.mark.parametrize("tls", [True, False], ids=["starttls", "clear"])
def test_a_mail_passes(
    gateway: Gateway, sink: Sink, arrived: Callable[[], int], tls: bool
) -> None:
    with client(gateway, tls=tls) as made:
        assert send(made, b"Subject: whole\r\n\r\n.dot\r\n") == 250

    assert arrived() == 1
    assert sink.mails[-1] == b"Subject: whole\r\n\r\n.dot\r\n"


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
def test_smtp_behind_socks_is_read(
    own: Callable[..., Gateway],
    sink: Sink,
    arrived: Callable[[], int],
    strategy: str,
) -> None:
    """With ``lazy`` nobody would ever speak; the fault shows that it is judged."""
    gateway = own(
        *("--set", f"smtpguard_ports={sink.port}"),
        *("--set", f"connection_strategy={strategy}"),
        mode="socks5",
    ).ready()
    gateway.order("judge")
    with connected(gateway) as raw:
        raw.sendall(b"\x05\x01\x00")
        assert raw.recv(2) == b"\x05\x00"
        raw.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + sink.port.to_bytes(2))
        assert raw.recv(10) == b"\x05\x00\x00\x01" + bytes(6)
        assert raw.recv(1000).startswith(b"220 ")
        raw.sendall(b"HELO c\r\nMAIL FROM:<a@c.example>\r\n")
        raw.sendall(b"RCPT TO:<b@example.org>\r\nDATA\r\n")
        heard = b""
        while b"354 " not in heard:
            heard += raw.recv(1000)
        raw.sendall(b"x\r\n.\r\nQUIT\r\n")
        assert raw.recv(1000).startswith(b"451 4.3.0 ")

    assert arrived() == 0


# -- the script ------------------------------------------------------------------------


def test_a_script_that_breaks_lets_nobody_in(
    own: Callable[..., Gateway], sink: Sink, arrived: Callable[[], int]
) -> None:
    """Removed first, loaded then: in mitmproxy port 25 is a raw relay from there on."""
    gateway = own().ready()
    assert serves(gateway)
    seen = sink.connections
    gateway.script.write_text("def broken(:\n")
    gateway.wait_for("error in script")

    assert refused(gateway) == b""
    assert sink.connections == seen
    assert arrived() == 1


def test_a_script_that_is_mended_serves_again(own: Callable[..., Gateway]) -> None:
    gateway = own().ready()
    whole = gateway.script.read_text()
    gateway.script.write_text("def broken(:\n")
    gateway.wait_for("error in script")
    gateway.script.write_text(whole)
    gateway.wait_for("smtpguard is ready", times=2)

    assert serves(gateway)


def test_a_script_that_is_reloaded_goes_on_serving(own: Callable[..., Gateway]) -> None:
    gateway = own().ready()
    gateway.script.write_text(gateway.script.read_text() + "\n# a comment more\n")
    gateway.wait_for("smtpguard is ready", times=2)

    assert serves(gateway)


def test_a_script_that_is_moved_away_lets_nobody_in(
    own: Callable[..., Gateway], sink: Sink
) -> None:
    """Away for a second is away for good in mitmproxy."""
    gateway = own().ready()
    seen = sink.connections
    gateway.script.rename(gateway.script.with_suffix(".away"))
    gateway.wait_for("Removing script")

    assert refused(gateway) == b""
    assert sink.connections == seen


def test_a_session_whose_addon_went_away_relays_no_message_unread(
    own: Callable[..., Gateway], arrived: Callable[[], int]
) -> None:
    gateway = own().ready()
    with client(gateway) as made:
        gateway.script.rename(gateway.script.with_suffix(".away"))
        gateway.wait_for("Removing script")
        code = send(made)

    assert code == 451
    assert arrived() == 0


# -- exceptions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("rules", b"421 4.3.2 "),
        ("dialogue", b"421 4.3.0 "),
        ("nobody", b"421 4.3.2 "),
        ("smtp_start", b"421 4.3.2 "),
        ("chooser", b""),
    ],
)
def test_a_fault_at_the_beginning_ends_the_connection(
    gateway: Gateway, sink: Sink, fault: str, said: bytes
) -> None:
    seen = sink.connections
    gateway.order(fault)
    heard = refused(gateway)

    assert heard.startswith(said)
    assert heard.count(b"\n") == bool(said)
    assert sink.connections == seen
    gateway.order("")
    assert serves(gateway)


def test_a_fault_in_the_layer_ends_the_session(
    gateway: Gateway, arrived: Callable[[], int]
) -> None:
    with connected(gateway) as raw:
        assert raw.recv(1000).startswith(b"220 ")
        gateway.order("dialogue")
        raw.sendall(b"EHLO client.example\r\n")
        heard = read_all(raw)

    assert heard == b"421 4.3.0 Internal error, closing connection\r\n"
    assert arrived() == 0


def test_a_fault_in_the_tls_send_path_ends_the_session(gateway: Gateway) -> None:
    """There is no layer left to say a word; the sockets are closed all the same."""
    made = client(gateway)
    gateway.order("tls-send")
    with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
        made.noop()
    made.close()
    gateway.order("")

    assert serves(gateway)


@pytest.mark.parametrize("fault", ["judge", "undecided"])
def test_a_message_that_nobody_judged_is_deferred(
    gateway: Gateway, arrived: Callable[[], int], fault: str
) -> None:
    gateway.order(fault)
    with client(gateway) as made:
        assert send(made) == 451

    assert arrived() == 0


def test_a_large_message_whose_judge_raised_is_deferred(
    gateway: Gateway, arrived: Callable[[], int]
) -> None:
    gateway.order("judge")
    with client(gateway) as made:
        assert send(made, LARGE) == 451

    assert arrived() == 0


def test_another_addon_that_raises_does_not_decide(
    gateway: Gateway, arrived: Callable[[], int]
) -> None:
    """Ours has judged; its exception is mitmproxy's to log."""
    gateway.order("smtp_message")
    with client(gateway) as made:
        assert send(made) == 250

    assert arrived() == 1


def test_a_fault_in_tls_set_up_for_the_client_ends_the_connection(
    gateway: Gateway, arrived: Callable[[], int]
) -> None:
    """mitmproxy's own addon would mint a certificate in its place."""
    gateway.order("tls-client")
    with pytest.raises((ssl.SSLError, OSError)):
        client(gateway)

    assert arrived() == 0
    gateway.order("")
    assert serves(gateway)


def test_a_fault_in_tls_set_up_for_the_upstream_is_no_silent_clear_text(
    own: Callable[..., Gateway], arrived: Callable[[], int]
) -> None:
    """``required`` stays required: nothing goes up in clear."""
    gateway = own()
    gateway.rules.write_text(
        gateway.rules.read_text().replace(
            "    mail_from", "    tls: {server: {starttls: required}}\n    mail_from"
        )
    )
    gateway.ready()
    gateway.order("tls-server")
    code = 0
    refusals = contextlib.suppress(smtplib.SMTPException, OSError)
    with refusals, client(gateway, tls=False) as made:
        code = send(made)

    assert code != 250
    assert arrived() == 0


# -- the start -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "smtpguard_record_auth=maybe",
        "smtpguard_record_limit=abc",
        "smtpguard_max_connections=",
        "smtpguard_max_connections_per_network=x",
    ],
)
def test_a_value_that_does_not_fit_its_option_ends_mitmdump(
    value: str, own: Callable[..., Gateway]
) -> None:
    """mitmproxy gives the script up then, and would go on as a relay."""
    gateway = own("--set", value)
    assert gateway.process.wait(20) == 1
    assert value.partition("=")[0] in gateway.log


def test_a_misspelt_option_ends_mitmdump(own: Callable[..., Gateway]) -> None:
    """mitmproxy keeps it silently for addons that may come; the default applies."""
    gateway = own("--set", "smtpguard_rulez=/nowhere")

    assert gateway.process.wait(20) == 1
    assert "no option is called smtpguard_rulez" in gateway.log
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("smtpguard_record=all", "smtpguard_record: 'all' is none of"),
        ("smtpguard_ports=x", "smtpguard_ports: not a list of ports"),
    ],
)
def test_an_option_that_makes_no_sense_ends_mitmdump(
    own: Callable[..., Gateway], option: str, told: str
) -> None:
    gateway = own("--set", option)

    assert gateway.process.wait(20) == 1
    assert told in gateway.log
    assert "Traceback" not in gateway.log


def test_rules_with_errors_end_mitmdump_with_a_line_for_each(
    own: Callable[..., Gateway],
) -> None:
    gateway = own()
    gateway.rules.write_text("version: 1\npolicies: [{name: x, nonsense: 1}]\n")

    assert gateway.process.wait(20) == 1
    assert f"{gateway.rules}:2:" in gateway.log
    assert "Traceback" not in gateway.log


# -- loops -----------------------------------------------------------------------------


def test_a_direct_connection_to_the_transparent_port_does_not_loop(
    own: Callable[..., Gateway],
) -> None:
    """One connection became 4,111 descriptors (traps 10)."""
    port = free_port()
    gateway = own(
        "--set",
        f"smtpguard_ports={port}",
        mode=f"transparent@{port}",
    ).ready()
    gateway.port = port
    before = gateway.descriptors
    heard = refused(gateway)

    assert heard == b"" or heard.startswith(b"554 5.4.6 ")
    assert gateway.descriptors <= before + 2


def test_a_reverse_target_that_is_our_own_port_does_not_loop(
    own: Callable[..., Gateway],
) -> None:
    port = free_port()
    gateway = own(mode=f"reverse:tcp://127.0.0.1:{port}@{port}").ready()
    gateway.port = port

    assert refused(gateway).startswith(b"554 5.4.6 ")


# -- the end ---------------------------------------------------------------------------


def test_sigterm_lets_a_message_under_judgement_end(
    own: Callable[..., Gateway], arrived: Callable[[], int]
) -> None:
    gateway = own().ready()
    idle = client(gateway)
    gateway.order("hang-judge")
    body = LARGE
    made = client(gateway)
    made.mail("a@client.example")
    made.rcpt("b@example.org")
    made.docmd("DATA")
    made.send(body + b".\r\n")
    gateway.wait_for("hanging: judge")
    gateway.terminate()
    wait_until(lambda: not listening(gateway.port))
    assert idle.getreply()[0] == 421
    assert gateway.process.poll() is None
    gateway.order("")
    assert made.getreply()[0] == 250
    assert made.getreply()[0] == 421
    idle.close()
    made.close()

    assert gateway.process.wait(15) == 0
    assert arrived() == 1


def test_sigterm_ends_an_idle_gateway_at_once(own: Callable[..., Gateway]) -> None:
    gateway = own().ready()
    idle = client(gateway)
    began = time.monotonic()
    gateway.terminate()

    assert gateway.process.wait(10) == 0
    assert time.monotonic() - began < 8
    idle.close()


def test_flows_of_sessions_cut_by_the_end_are_saved(
    own: Callable[..., Gateway],
) -> None:
    from mitmproxy import io

    gateway = own().ready()
    idle = client(gateway)
    gateway.terminate()
    assert gateway.process.wait(10) == 0
    idle.close()
    with (gateway.folder / "flows.mitm").open("rb") as file:
        flows = list(io.FlowReader(file).stream())

    assert len(flows) == 1
    assert "smtpguard_session" in flows[0].metadata


def listening(port: int) -> bool:
    wanted = f"0100007F:{port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[1] == wanted and row.split()[3] == "0A" for row in rows)


# -- bounds ----------------------------------------------------------------------------


def push(raw: socket.socket, octets: bytes, limit: int, stalled: float = 1.0) -> int:
    """Send until nothing is taken any more or the limit is reached; return how much."""
    raw.settimeout(stalled)
    sent = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        while sent < limit:
            sent += raw.send(octets)
    return sent


def test_what_is_pushed_during_a_verdict_stays_bounded(gateway: Gateway) -> None:
    """400 MiB were +397 MB in mitmproxy."""
    body = LARGE
    made = client(gateway, tls=False)
    gateway.order("hang-judge")
    made.mail("a@client.example")
    made.rcpt("b@example.org")
    made.docmd("DATA")
    made.send(body + b".\r\n")
    before = gateway.resident
    assert made.sock is not None
    sent = push(made.sock, b"NOOP\r\n" * 10_000, 400 * MIB)
    grown = gateway.resident - before
    gateway.order("")
    made.close()

    assert sent < 32 * MIB
    assert grown < 24 * MIB
    wait_until(lambda: serves(gateway))


def test_a_client_that_reads_no_replies_stays_bounded(gateway: Gateway) -> None:
    with connected(gateway) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert raw.recv(1000).startswith(b"220 ")
        before = gateway.resident
        sent = push(raw, b"NOOP\r\n" * 10_000, 400 * MIB)
        grown = gateway.resident - before

    assert sent < 64 * MIB
    assert grown < 32 * MIB
    assert serves(gateway)


def test_an_upstream_that_reads_nothing_stays_bounded(
    own: Callable[..., Gateway], tmp_path: Path
) -> None:
    """A large message waits on disk, not in mitmproxy's buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        gateway = own(mode=f"reverse:tcp://127.0.0.1:{port}").ready()
        with connected(gateway) as raw:
            upstream, _ = listener.accept()
            with upstream:
                upstream.sendall(b"220 mx.example\r\n")
                assert raw.recv(1000).startswith(b"220 ")
                script = [
                    (
                        b"EHLO c\r\n",
                        b"250-mx.example\r\n250 SIZE 60000000\r\n",
                        b"250 ",
                    ),
                    (b"MAIL FROM:<a@c.example>\r\n", b"250 ok\r\n", b"250 "),
                    (b"RCPT TO:<b@example.org>\r\n", b"250 ok\r\n", b"250 "),
                ]
                for asked, answer, heard in script:
                    raw.sendall(asked)
                    upstream.settimeout(10)
                    upstream.recv(1000)
                    upstream.sendall(answer)
                    assert heard in raw.recv(1000)
                raw.sendall(b"DATA\r\n")
                assert raw.recv(1000).startswith(b"354 ")
                before = gateway.resident
                raw.settimeout(30)
                for _ in range(40):
                    raw.sendall((b"y" * 62 + b"\r\n") * (MIB // 64))
                raw.sendall(b".\r\n")
                assert upstream.recv(1000) == b"DATA\r\n"
                upstream.sendall(b"354 go\r\n")
                wait_until(lambda: unread(upstream) > 100_000)
                time.sleep(0.5)  # what would flow on, flows now
                grown = gateway.resident - before

    assert grown < 24 * MIB


def unread(raw: socket.socket) -> int:
    """Return how many octets wait in a socket."""
    import fcntl
    import struct
    import termios

    found = fcntl.ioctl(raw.fileno(), termios.FIONREAD, struct.pack("i", 0))
    waiting: int = struct.unpack("i", found)[0]
    return waiting


def test_an_endless_client_hello_is_refused_at_its_bound(gateway: Gateway) -> None:
    """2 MiB of it took mitmproxy 2.7 s, in which nobody else was served.

    What is read up to the bound costs linear time (``test_hello``).
    """
    record = b"\x16\x03\x01\x03\xe8" + b"\x01\x00\xff\xf0" + bytes(996)
    with connected(gateway) as raw:
        assert raw.recv(1000).startswith(b"220 ")
        raw.sendall(b"EHLO client.example\r\n")
        while b"250 " not in raw.recv(1000):
            pass
        raw.sendall(b"STARTTLS\r\n")
        assert raw.recv(1000).startswith(b"220 ")
        push(raw, record + (b"\x16\x03\x01\x03\xe8" + bytes(1000)) * 100, 2 * MIB)
        heard = read_all(raw)

    assert heard == b""
    assert "ClientHello is longer than 65536 octets" in gateway.log
    assert serves(gateway)


def test_no_traceback_of_mitmproxys_was_logged_by_what_peers_did(
    gateway: Gateway,
) -> None:
    """Runs last: the faults above were planted, all of them are told by our words."""
    assert "mitmproxy has crashed" not in gateway.log
    assert "Unhandled error in task" not in gateway.log
