"""What rules on parts ask: a pattern, facts, and in which place.

``{match: "*.exe", is: executable, inside: [message, archives]}`` applies to a part if
one file, the attachment itself or one that an archive in it holds, has such a name and
such a fact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from smtpguard.model.contents import Fact
from smtpguard.policy.filenames import readings
from smtpguard.policy.kinds import BOOL, choice, list_of
from smtpguard.policy.matching import TextPatterns
from smtpguard.policy.patterns import TextTest, fold
from smtpguard.policy.problems import listed, shown
from smtpguard.policy.shapes import Key
from smtpguard.policy.truth import Truth


if TYPE_CHECKING:
    from smtpguard.policy.facts import PartFacts
    from smtpguard.policy.matching import Texts
    from smtpguard.policy.shapes import Fields


type Place = Literal["message", "archives"]

_SHOWN_NAMES = 3

IS = Key(
    "is",
    list_of(choice(*(str(fact) for fact in Fact)), single=True),
    "Facts about the content, of which one must hold.",
)
INSIDE = Key(
    "inside",
    list_of(choice("message", "archives"), single=True),
    "Where the file lies: in the message itself (default), or in archives in it.",
)
AUTODETECT = Key(
    "autodetect",
    BOOL,
    "Whether the type that the content has counts as well; true by default.",
)


@dataclass(frozen=True, slots=True)
class File:
    """An attachment, or one file in an archive, as rules of one list see it."""

    texts: Texts
    """Readings of its name, or its claimed type; folded."""
    detected: Texts
    """Its types by content; () in a list on names."""
    facts: frozenset[Fact]
    label: str
    """For traces."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part: itself, and what archives in it hold."""

    part: File
    entries: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class FilePatterns:
    """``match``, ``is``, ``inside`` and ``autodetect`` of one rule."""

    patterns: TextPatterns
    facts: frozenset[Fact] = frozenset()
    """Of which one must hold; none asks for nothing."""
    places: frozenset[Place] = frozenset({"message"})
    autodetect: bool = True
    text: str = field(init=False, compare=False)
    """What is asked, for traces; made once, since each part asks for it."""

    def __post_init__(self) -> None:
        """Word what is asked."""
        words = [self.patterns.text]
        if self.facts:
            words.append(listed(sorted(self.facts)))
        if "archives" in self.places:
            words.append("inside archives" if len(self.places) == 1 else "anywhere")
        object.__setattr__(self, "text", ", ".join(words))

    @property
    def is_everything(self) -> bool:
        """Whether every part matches."""
        everywhere = not self.facts and "message" in self.places
        return everywhere and self.patterns.is_everything

    @property
    def looks(self) -> bool:
        """Whether more must be known of a part than what it claims."""
        return bool(self.facts) or "archives" in self.places

    def test(self, subject: Attachment) -> Truth:
        """Say whether one of its files matches."""
        return Truth.of(self.found(subject) is not None)

    def told(self, subject: Attachment, shown_as: str) -> str:
        """Return what matched, for the trace."""
        file = self.found(subject)
        if file is None or file is subject.part:
            return shown_as
        return f"{file.label} in {shown_as}"

    def found(self, subject: Attachment) -> File | None:
        """Return the first file that matches, the part itself before its entries."""
        if "message" in self.places and self._holds(subject.part):
            return subject.part
        if subject.entries and "archives" in self.places:
            return next((one for one in subject.entries if self._holds(one)), None)
        return None

    def _holds(self, file: File) -> bool:
        if self.facts and self.facts.isdisjoint(file.facts):
            return False
        if self.patterns.test(file.texts) is Truth.YES:
            return True
        return self.autodetect and self.patterns.test(file.detected) is Truth.YES


EVERY_FILE = FilePatterns(TextPatterns('"*"', (TextTest(everything=True),)))


def file_patterns(patterns: TextPatterns | None, fields: Fields) -> FilePatterns:
    """Return what a rule asks; ``patterns`` None matches every name or type."""
    places: frozenset[Place] = frozenset(fields.get(INSIDE, ("message",)))  # type: ignore[arg-type]
    return FilePatterns(
        EVERY_FILE.patterns if patterns is None else patterns,
        frozenset(Fact(word) for word in fields.get(IS, ())),
        places,
        fields.get(AUTODETECT, True),
    )


def by_type(part: PartFacts) -> Attachment:
    """Return a part as rules on types see it."""
    detected = tuple(fold(one) for one in part.detected)
    label = shown(part.content_type)
    if detected and detected != (fold(part.content_type),):
        label += f" (by content {', '.join(part.detected)})"
    return Attachment(
        File((fold(part.content_type),), detected, part.facts, label),
        tuple(
            File(("",), (fold(entry.detected),), entry.facts, _named(entry.names))
            for entry in part.entries
        ),
    )


def by_name(part: PartFacts) -> Attachment:
    """Return a part as rules on names see it."""
    return Attachment(
        File(readings(part.names), (), part.facts, _named(part.names)),
        tuple(
            File(readings(entry.names), (), entry.facts, _named(entry.names))
            for entry in part.entries
        ),
    )


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(shown(one) for one in names[:_SHOWN_NAMES]) or "no name"
