from __future__ import annotations

import smtplib
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from smtpguard.demoupstream import REFUSED, Arrived, Upstream


if TYPE_CHECKING:
    from pathlib import Path


MAIL = b"Subject: x\r\n\r\n.dot\r\n"


def connect(upstream: Upstream) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", upstream.port, "client.test", 10)


def start_tls(client: smtplib.SMTP) -> None:
    client.starttls(context=ssl._create_unverified_context())


def test_what_arrives_is_kept_with_its_tls(tmp_path: Path) -> None:
    with Upstream(tmp_path) as upstream:
        with connect(upstream) as client:
            start_tls(client)
            client.sendmail("a@x.test", ["b@demo.test", "c@demo.test"], MAIL)
        with connect(upstream) as client:
            client.sendmail("", ["b@demo.test"], MAIL)
    assert upstream.arrived == [
        Arrived("a@x.test", ("b@demo.test", "c@demo.test"), MAIL, "TLSv1.3"),
        Arrived("", ("b@demo.test",), MAIL, "clear"),
    ]


def test_one_recipient_is_refused(tmp_path: Path) -> None:
    with Upstream(tmp_path) as upstream, connect(upstream) as client:
        client.ehlo()
        client.mail("a@x.test")
        assert client.rcpt(REFUSED) == (550, b"5.2.1 Mailbox disabled")
        assert client.rcpt("b@demo.test")[0] == 250


def test_nothing_is_left_when_it_stops(tmp_path: Path) -> None:
    before = threading.active_count()
    with Upstream(tmp_path) as upstream:
        port = upstream.port
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", port, timeout=5)


def test_its_key_is_secret(tmp_path: Path) -> None:
    with Upstream(tmp_path):
        assert (tmp_path / "upstream.pem").stat().st_mode & 0o077 == 0
