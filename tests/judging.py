"""Rules, sessions and mails for tests of what stands on the pipeline."""

from __future__ import annotations

import base64
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime

from smtpguard import policy
from smtpguard.model.content import MemorySpool
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition
from smtpguard.model.envelope import Envelope, Recipient
from smtpguard.model.mailbox import Path
from smtpguard.model.scan import Question, Questions, Verdicts
from smtpguard.model.scannerspec import ScannerSpec
from smtpguard.model.session import SessionFacts
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.pipeline import Pipeline, TransactionJudge
from smtpguard.policy.scannersreader import VIRUS_TYPES
from smtpguard.wire import parse_mailbox, replies


NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""A Monday."""
ALLOW = '{match: "*", action: allow}'


def clean(_: str, question: Question) -> Verdict:
    """Return the verdict of a scanner that finds nothing."""
    spec = question.scanners[0]
    kind = VerdictKind.CLEAN if spec.type in VIRUS_TYPES else VerdictKind.SCORED
    score = None if kind is VerdictKind.CLEAN else 0.0
    return Verdict(spec.name, kind, score=score)


@dataclass
class PreparedScanners:
    """Scanners that answer what they are told to, and remember the questions."""

    answer: Callable[[str, Question], Verdict | tuple[Verdict, ...]] = clean
    asked: list[dict[str, Question]] = field(default_factory=list)

    def ask(self, questions: Questions) -> Future[Verdicts]:
        self.asked.append(dict(questions))
        verdicts = {}
        for key, question in questions.items():
            said = self.answer(key, question)
            verdicts[key] = said if isinstance(said, tuple) else (said,)
        future: Future[Verdicts] = Future()
        future.set_result(verdicts)
        return future

    def health(self) -> list[tuple[str, str, str, str]]:
        return [("v", "unix:/v", "open", "gone")]

    def keep(self, specs: AbstractSet[ScannerSpec]) -> None:
        """Nothing is known."""

    def stop(self) -> None:
        """Nothing runs."""


def make_pipeline(
    text: str, scanners: PreparedScanners | None = None, **lists: str
) -> Pipeline:
    """Return a pipeline of a rule file's text; other files by name.

    Without ``scanners`` those of the rules find nothing.
    """
    files = {"test.yaml": text, **lists}
    return Pipeline(
        policy.load("test.yaml", files.__getitem__),
        lambda: NOON,
        "mx.test",
        scanners=scanners or PreparedScanners(),
    )


def rules(*lines: str, top: str = "domains: [own.test]") -> str:
    """Return a rule file of one policy that lets everybody write to everybody.

    ``lines`` are further keys of the policy.
    """
    body = "".join(f"    {line}\n" for line in lines)
    return (
        f"version: 1\n{top}\npolicies:\n  - name: only\n    rcpt_to: [{ALLOW}]\n{body}"
    )


def names(*entries: str) -> str:
    """Return a ``filenames`` list with these rules before its fallthrough."""
    return f"filenames: [{', '.join((*entries, ALLOW))}]"


def types(*entries: str) -> str:
    """Return a ``content_types`` list with these rules before its fallthrough."""
    return f"content_types: [{', '.join((*entries, ALLOW))}]"


def make_session(**facts: object) -> SessionFacts:
    """Return a session from outside."""
    known = {
        "id": "5f3a",
        "client": ("192.0.2.7", 4711),
        "destination": ("198.51.100.1", 25),
        "helo": "client.test",
        "esmtp": True,
    }
    return SessionFacts(**{**known, **facts})  # type: ignore[arg-type]


def make_envelope(sender: str = "a@out.test", *recipients: str) -> Envelope:
    """Return the envelope of the session's second transaction."""
    path = Path(parse_mailbox(sender))
    envelope = Envelope(asked=path, reverse_path=path, id="5f3a.2")
    for address in recipients or ("b@own.test",):
        to = Path(parse_mailbox(address))
        allowed = Decision(Action.ALLOW)
        envelope.recipients.append(Recipient(to, to, allowed, replies.RCPT_OK))
    return envelope


def judge_message(
    text: str, mail: bytes, scanners: PreparedScanners | None = None, **facts: object
) -> Disposition:
    """Judge one mail under the rules of a file."""
    session = make_session(**facts)
    judge: TransactionJudge = make_pipeline(text, scanners).begin(session)
    spool = MemorySpool()
    spool.write(mail)
    return judge.message(session, make_envelope(), spool)


def lines(*text: str) -> bytes:
    """Return lines with CRLF."""
    return "".join(f"{line}\r\n" for line in text).encode()


PLAIN = lines("From: a@out.test", "Subject: hello", "", "One line.", "Another.")
PAYLOAD = b"MZ" + bytes(range(256)) * 3


def attachment(name: str, kind: str = "application/octet-stream") -> bytes:
    """Return a part with a file name, in base64."""
    data = base64.encodebytes(PAYLOAD).replace(b"\n", b"\r\n")
    head = lines(
        f'Content-Type: {kind}; name="{name}"', "Content-Transfer-Encoding: base64", ""
    )
    return head + data.removesuffix(b"\r\n")


TEXT_PART = lines("Content-Type: text/plain", "") + b"See there."


def mixed(*parts: bytes, boundary: str = "=_b") -> bytes:
    """Return a multipart message of these parts."""
    head = lines(
        "From: a@out.test",
        "Subject: parts",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
        "",
    )
    mark = f"--{boundary}".encode()
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts)
    return head + body + mark + b"--\r\n"


def forwarded(message: bytes) -> bytes:
    """Return a part that holds a message."""
    head = lines("Content-Type: message/rfc822", "")
    return head + message.removesuffix(b"\r\n")


def octets(disposition: Disposition) -> bytes:
    """Return the edited message."""
    assert disposition.content is not None
    return b"".join(disposition.content.chunks())
