"""Who judges messages, and where: small ones in the event loop, all others beside it.

A judge is a thread with one interpreter lock for all of them: few are enough, and whose
messages take long waits behind itself (``proxy.turns``). While scanners work, no judge
waits for them.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from smtpguard.alarms import raise_alarm
from smtpguard.errors import QuarantineError
from smtpguard.keeping import kept_of
from smtpguard.looking import TakesLong
from smtpguard.mime import is_quick
from smtpguard.model.addresses import network_of
from smtpguard.model.disposition import Outcome
from smtpguard.model.verdict import VerdictKind
from smtpguard.pipeline import TransactionJudge
from smtpguard.policy.verdicts import told
from smtpguard.proxy.turns import Turns
from smtpguard.scanning import questions


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.examining import Examined
    from smtpguard.mime import Octets
    from smtpguard.model.content import Spool
    from smtpguard.model.disposition import Disposition
    from smtpguard.model.scan import Questions, Verdicts
    from smtpguard.policy import Policy
    from smtpguard.proxy.hooks import SmtpMessageData


INLINE_OCTETS = 128 * 1024
"""Messages up to here are judged at once, unless they take long to read: 0.6 ms for
4 KiB with two parts, 3 ms for 128 KiB of an ordinary attachment, 25 ms for what is made
to take long (blanks in quoted-printable, headers of archives, parts to be stripped).
All others are judged beside the event loop, so that other sessions go on: to go there
and back costs 0.1 ms."""
SCANNED = 64
"""Messages that are read and wait for scanners at the same time; others wait before
they are read. One holds some MiB at most."""
JUDGES = 2
"""Messages judged beside the loop at the same time. More would share one interpreter
lock and hold that many messages in memory."""


_UNANSWERED = frozenset({VerdictKind.FAILED, VerdictKind.UNAVAILABLE})


class Judges:
    """The judges of one process."""

    def __init__(self, told: Callable[[Verdicts], None] = lambda _: None) -> None:
        """``told`` hears what scanners have said to a message."""
        self._told = told
        self._executor: ThreadPoolExecutor | None = None
        self._is_started = False
        self._turns = Turns(JUDGES)
        self._scanned = Turns(SCANNED)

    def start(self) -> None:
        """Judge beside the event loop from now on; before, all is judged in it."""
        self._executor = ThreadPoolExecutor(JUDGES, thread_name_prefix="smtpguard")
        self._is_started = True

    def stop(self, *, at_once: bool = False) -> None:
        """End when all is judged; ``at_once``: what waits is not judged any more.

        What comes back from scanners afterwards is judged by threads of the loop's.
        """
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=at_once)
        self._executor = None

    @property
    def waiting(self) -> int:
        """How many messages wait to be judged."""
        return self._turns.waiting + self._scanned.waiting

    async def beside[*A, R](self, work: Callable[[*A], R], *about: *A) -> R:
        """Do some work beside the event loop; raises what it raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, work, *about)

    async def judge(self, data: SmtpMessageData) -> Disposition | None:
        """Judge a message beside the loop, when it is its network's turn.

        Raises what a judge raises.
        """
        judge = data.transaction.judge
        if isinstance(judge, TransactionJudge) and judge.policy.asks_scanners:
            # Each keeps what was read of it while it waits for them.
            async with self._scanned.turn(network_of(data.session.client[0])):
                said = await self._judge(data)
        else:
            said = await self._judge(data)
        kept = kept_of(said.report) if said is not None else []
        if kept and data.transaction.ended and isinstance(judge, TransactionJudge):
            # The client has gone without a word of ours, and sends it again.
            assert judge.pipeline.keeper is not None
            await self.beside(judge.pipeline.keeper.drop, kept)
            return None
        return said

    async def _judge(self, data: SmtpMessageData) -> Disposition | None:
        network = network_of(data.session.client[0])
        async with self._turns.turn(network):
            said = await self.beside(_judge, data)
        if not isinstance(said, _Asked):
            return said
        # No turn is held while others work: a scanner may take its time.
        verdicts = await said.verdicts()
        self._told(verdicts)
        _alarm(verdicts)
        async with self._turns.turn(network):
            return await self.beside(said.dispose, verdicts)

    def judge_at_once(self, data: SmtpMessageData) -> bool:
        """Judge a message now, False where that may take long.

        Raises what a judge raises.
        """
        judge = data.transaction.judge
        asked = data.session, data.envelope, data.content
        waits = not self._is_started
        if not waits and not _is_quick(data.content):
            return False
        if not isinstance(judge, TransactionJudge):
            data.disposition = judge.message(*asked)
            return True
        policy = judge.policy
        if not waits and (policy.asks_scanners or not _asks_quickly(policy, data)):
            return False
        try:
            said = judge.message(*asked, at_once=not waits)
        except TakesLong:
            return False
        if _is_kept(said):
            # On the disk, before anybody hears of it.
            return False
        data.disposition = said
        return True


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message that scanners are asked about."""

    data: SmtpMessageData
    judge: TransactionJudge
    examined: Examined
    questions: Questions

    async def verdicts(self) -> Verdicts:
        """Return their answers; within ``stations.SCAN_SECONDS``."""
        scanners = self.judge.pipeline.scanners
        if scanners is None:
            return {}
        return await asyncio.wrap_future(scanners.ask(self.questions))

    def dispose(self, verdicts: Verdicts) -> Disposition:
        """Judge on, beside the loop."""
        said = self.judge.dispose(self.examined, self.questions, verdicts)
        return _kept(self.data, self.judge, said)


def _judge(data: SmtpMessageData) -> Disposition | _Asked | None:
    """Judge a message beside the loop, None where nobody waits for it any more."""
    if data.transaction.ended:
        return None
    judge = data.transaction.judge
    if not isinstance(judge, TransactionJudge):
        return judge.message(data.session, data.envelope, data.content)
    octets = cast("Octets", data.content.view())
    examined = judge.examine(data.session, data.envelope, octets)
    asked = questions(examined)
    if asked:
        return _Asked(data, judge, examined, asked)
    return _kept(data, judge, judge.dispose(examined, asked, {}))


def _is_kept(said: Disposition) -> bool:
    """Whether something of a message is to be kept first."""
    has_copies = bool(said.side.bcc)
    return said.outcome is Outcome.QUARANTINED or bool(said.held) or has_copies


def _kept(
    data: SmtpMessageData, judge: TransactionJudge, said: Disposition
) -> Disposition:
    """Keep what is to be kept; return what is to become of the message then."""
    keeper = judge.pipeline.keeper
    if not _is_kept(said) or data.transaction.ended:
        # A client that has gone has the message still.
        return said
    if keeper is None:
        raise QuarantineError("nobody keeps what the rules put into quarantine")
    return keeper.keep(data.session, data.envelope, data.content, said)


def _alarm(verdicts: Verdicts) -> None:
    """Raise an alarm where a scanner was not there, or none has answered a question.

    Also where another one stood behind it: that may know less.
    """
    for asked in verdicts.values():
        is_gone = any(one.kind is VerdictKind.UNAVAILABLE for one in asked)
        if is_gone or (asked and all(one.kind in _UNANSWERED for one in asked)):
            raise_alarm("scanners", ", ".join(map(told, asked)))
            return


def _is_quick(content: Spool) -> bool:
    """Whether a message is judged in the loop. Raises OSError if it is unreadable."""
    if content.size > INLINE_OCTETS:
        return False
    octets = content.view()
    return isinstance(octets, bytes) and is_quick(octets)


def _asks_quickly(policy: Policy, data: SmtpMessageData) -> bool:
    """Whether the rules on header fields are asked in the loop; of a small message."""
    octets = data.content.view()
    end = octets.find(b"\r\n\r\n") if isinstance(octets, bytes) else -1
    header = end if end >= 0 else data.content.size
    return policy.is_quick(header, len(data.envelope.recipients))
