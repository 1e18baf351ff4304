from __future__ import annotations

from smtpguard.model.session import Leg, SessionFacts, TlsFacts


def test_each_leg_has_facts_of_its_own() -> None:
    session = SessionFacts("s", ("192.0.2.1", 1), ("192.0.2.2", 25))
    session.leg(Leg.CLIENT).tls = TlsFacts("TLSv1.3", "AES", "mx.test", "ok")
    session.leg(Leg.UPSTREAM).history.append("clear: not offered")
    assert session.client_leg.to_json() == {
        "tls": {
            "version": "TLSv1.3",
            "cipher": "AES",
            "name": "mx.test",
            "verified": "ok",
        },
        "history": [],
    }
    assert session.upstream_leg.to_json() == {
        "tls": None,
        "history": ["clear: not offered"],
    }
