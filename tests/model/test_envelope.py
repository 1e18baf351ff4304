from __future__ import annotations

from smtpguard.model.decision import Action, Decision
from smtpguard.model.envelope import Envelope, Recipient
from smtpguard.model.mailbox import Mailbox, Path
from smtpguard.model.reply import Reply


ALLOWED = Decision(Action.ALLOW)


def recipient(name: str, reply: Reply | None) -> Recipient:
    path = Path(Mailbox(f"{name}@x.test".encode(), name, "x.test"))
    return Recipient(path, path, ALLOWED, reply)


def test_only_recipients_with_a_positive_reply_stand_in_the_clients_order() -> None:
    sent = Path(None)
    there = [
        recipient("a", Reply(250)),
        recipient("b", None),
        recipient("c", Reply(550)),
        recipient("d", Reply(451)),
        recipient("e", Reply(251)),
    ]
    envelope = Envelope(sent, sent, there)
    assert envelope.standing == [there[0], there[4]]
