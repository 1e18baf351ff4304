"""An upstream that acts out its part of a plan.

It accepts a copy exactly when it says 2yz to the end of a message, whoever made it say
so. It knows nothing of the client, and of us only what it hears.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from smtpguard.wire import DataReader, Receiver
from tests.dialogue.plans import Plan, question_of, token


GREETING = b"220 mx.example ESMTP\r\n"
DEFAULT = {
    "DATA": b"354 go ahead\r\n",
    "STARTTLS": b"220 go ahead\r\n",
    "QUIT": b"221 bye\r\n",
}
"""What it says where its plan says nothing; else 250."""


class Link:
    """One connection."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self.data: DataReader | None = None
        self.chunk = 0
        self.message = bytearray()
        self.mail_open = False
        self.asked: deque[tuple[str, int]] = deque()
        """Questions without an answer, each with the message it ends, or 0."""
        self.silent = False
        """It sends nothing more."""
        self.deaf = False
        """Nor does it hear anything."""
        self.ours = True
        """We have not closed it."""


class SimUpstream:
    """All connections of the upstream in one session, one after another."""

    def __init__(self, plan: Plan, broken: Callable[[str], None]) -> None:
        self.accepted: Counter[int] = Counter()
        """Copies, by message."""
        self.unanswered: Counter[int] = Counter()
        """Ends of messages that it heard and has not answered."""
        self.judged: set[int] = set()
        """Messages that may come: what the judge has seen."""
        self.link: Link | None = None
        self.replies: deque[bytes] = deque()
        self.answered = 0
        """Counts answers, for what the plan says without being asked."""
        self._plan = plan
        self._broken = broken

    @property
    def speaks(self) -> bool:
        """Whether it can say something now."""
        return self.link is not None and not self.link.silent and self.link.ours

    def connect(self) -> None:
        """Begin a new connection."""
        self.link = Link()
        self.replies.clear()

    def greet(self) -> None:
        """Have a greeting to say."""
        self.replies.append(self._plan.answers.to("open") or GREETING)

    def fall_silent(self, *, deaf: bool = False) -> None:
        """Say nothing any more; hear nothing either if ``deaf``."""
        assert self.link is not None
        self.link.silent = True
        self.link.deaf = deaf

    def hear(self, octets: bytes) -> None:
        """Take octets that arrive, if they do."""
        if self.link is not None and self.link.ours and not self.link.deaf:
            self.link.receiver.feed(octets)

    def be_left(self) -> None:
        """Hear what was sent before we closed the connection, and no more."""
        if self.link is not None:
            self.listen()
            self.link.ours = False

    def listen(self) -> None:
        """Act on what was heard."""
        link = self.link
        while link is not None and self._take(link):
            pass

    def say(self, said: bytes) -> None:
        """Mean what it says: 2yz to the end of a message accepts it."""
        link = self.link
        if link is None or not link.asked or not said[:3].isdigit():
            return
        question, message = link.asked.popleft()
        if question.startswith("MAIL"):
            link.mail_open = said.startswith(b"2")
        elif question == "DATA" and said.startswith(b"354"):
            link.data = DataReader(limit=10**6)
        elif question == ".":
            link.mail_open = False
            self.unanswered[message] -= 1
            self.accepted[message] += said.startswith(b"2")

    def _take(self, link: Link) -> bool:
        """Take a command or part of a message; false where there is nothing more."""
        if link.chunk:
            octets = link.receiver.take(link.chunk)
            link.chunk -= len(octets)
            link.message += octets
            if octets and not link.chunk:
                self._end_message(link)
            return bool(octets)
        if link.data is not None:
            ended = link.data.read(link.receiver, link.message.extend)
            if ended:
                link.data = None
                self._end_message(link)
            return ended
        line = link.receiver.next_line(20_000)
        if line is not None:
            self._take_command(link, line)
        return line is not None

    def _take_command(self, link: Link, line: bytes) -> None:
        question = question_of(line)
        if question in {"DATA", "."} and self._plan.messages and not self.judged:
            self._broken("a message began to go up before any verdict")
        if question == ".":
            link.chunk = int(line.split()[1])
            if not link.chunk:
                self._end_message(link)
            return
        if question in {"RSET", "QUIT", "EHLO", "HELO"}:
            link.mail_open = False
        if question != "PROXY":
            self._ask(link, question)

    def _end_message(self, link: Link) -> None:
        octets = bytes(link.message)
        link.message.clear()
        messages = messages_in(self._plan, octets)
        if len(messages) != 1:
            self._broken(f"a message that nobody sent went up: {octets!r}")
            return
        (message,) = messages
        self.unanswered[message] += 1
        if message not in self.judged:
            self._broken(f"message {message} went up before its verdict")
        self._ask(link, ".", message)

    def _ask(self, link: Link, question: str, message: int = 0) -> None:
        link.asked.append((question, message))
        default = DEFAULT.get(question, b"250 2.0.0 ok\r\n")
        self.replies.append(self._plan.answers.to(question) or default)


def messages_in(plan: Plan, octets: bytes) -> list[int]:
    """Return the numbers of the plan's messages whose token is there."""
    return [n for n in range(1, plan.messages + 1) if token(n) in octets]
