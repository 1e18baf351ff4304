"""The record of one transaction."""

from __future__ import annotations

import hashlib
import json

from smtpguard.model.decision import Action, TraceStep
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from tests.dialogue.peers import Rules, enveloped, greeted, session


def test_the_record_is_the_object_that_the_command_line_prints() -> None:
    said = Disposition(
        Outcome.REJECTED,
        Reply(550, (b"5.7.1 no",)),
        rule="filenames:3",
        action=Action.DENY,
        reason="an executable",
        trace=(TraceStep("filenames:3", matched=True, reason="*.exe", place="r:1"),),
        report={"parts": [], "ambiguous": False},
    )
    memory = enveloped(greeted(session(Rules(verdict=lambda *_: said))))
    memory.pass_time(1.23456)
    memory.from_client(b"DATA\r\nhello\r\n.\r\n")
    (record,) = memory.records
    assert json.loads(json.dumps(record.to_json())) == {
        "transaction": "s1.1",
        "session": "s1",
        "policy": "default",
        "disposition": "rejected",
        "reply": "550 5.7.1 no",
        "rule": "filenames:3",
        "action": "deny",
        "reason": "an executable",
        "in_doubt": "",
        "size": 7,
        "sha256": hashlib.sha256(b"hello\r\n").hexdigest(),
        "envelope": {
            "mail_from": "a@b.example",
            "rcpt_to": [
                {
                    "asked": "r0@d.example",
                    "address": "r0@d.example",
                    "reply": "250 ok",
                    "rule": "",
                    "action": "allow",
                }
            ],
        },
        "parts": [],
        "ambiguous": False,
        "trace": [
            {
                "rule": "filenames:3",
                "part": "",
                "matched": True,
                "reason": "*.exe",
                "place": "r:1",
            }
        ],
        "duration": 1.235,
        "client": "192.0.2.1",
        "tls": "clear/clear",
    }
