"""Rule files, sessions and envelopes for tests, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.model.decision import Action, Decision
from smtpguard.model.envelope import Envelope, Recipient
from smtpguard.model.mailbox import Path
from smtpguard.model.reply import Reply
from smtpguard.model.session import LegFacts, SessionFacts, TlsFacts
from smtpguard.policy import check, load
from smtpguard.policy.addresses import AddressBuilder, AddressTest
from smtpguard.policy.kinds import Context
from smtpguard.policy.lists import Entry, Lists, ListSource
from smtpguard.policy.problems import Mark, Sink
from smtpguard.policy.yamlsource import compose
from smtpguard.wire.path import parse_mail


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.policy import MessageFacts, Policy, Ruleset
    from smtpguard.policy.yamlsource import Node


NAME = "rules.yaml"


def reader(files: dict[str, str]) -> Callable[[str], str]:
    """Return a ``read`` that knows these files only."""

    def read(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(2, "No such file")
        return files[name]

    return read


def rules(
    *lines: str, top: str = "", rcpt_to: str = '{match: "*", action: deny}'
) -> str:
    """Return a file with one policy that has these lines."""
    head = f"version: 1\n{top}policies:\n  - name: p\n    identity: xclient\n"
    body = "".join(f"    {line}\n" for line in lines)
    return f"{head}{body}    rcpt_to: [{rcpt_to}]\n"


def loaded(text: str, **kwargs: object) -> Ruleset:
    """Load one file."""
    return load(NAME, reader({NAME: text}), **kwargs)  # type: ignore[arg-type]


def policy(*lines: str, top: str = "", rcpt_to: str | None = None) -> Policy:
    """Return the only policy of a file with these lines."""
    text = rules(*lines, top=top, rcpt_to=rcpt_to or '{match: "*", action: deny}')
    return loaded(text).policies[0]


def problems(text: str, **files: str) -> list[str]:
    """Return what ``check`` prints, without the name of the file."""
    found = check(NAME, reader({NAME: text, **files}))
    return [str(one).removeprefix(f"{NAME}:") for one in found]


def slugs(text: str, **files: str) -> list[str]:
    """Return the slugs of the problems of a file."""
    return [one.slug for one in check(NAME, reader({NAME: text, **files}))]


def node(text: str) -> Node:
    """Return one value of YAML."""
    sink = Sink()
    found = compose(text, NAME, sink)
    assert found is not None, sink.problems
    return found


def context(*domains: str, **lists: list[str]) -> Context:
    """Return a context with these own domains and inline lists."""
    sink = Sink()
    known = Lists(sink)
    known.domains = domains
    for name, entries in lists.items():
        found = tuple(Entry(text, line, 1) for line, text in enumerate(entries, 1))
        known.sources[name] = ListSource(name, Mark("lists"), "lists", found)
    return Context(sink, known)


def told(found: Context) -> list[str]:
    """Return slugs of the problems of a context."""
    return [one.slug for one in found.sink.problems]


def address_test(patterns: list[str], own: tuple[str, ...] = ()) -> AddressTest:
    """Return the test of several address patterns."""
    builder = AddressBuilder(own)
    for pattern in patterns:
        builder.add(pattern)
    return builder.build()


def session(
    client: str = "192.0.2.1",
    destination: tuple[str, int] = ("198.51.100.25", 25),
    *,
    helo: str = "client.example",
    listener: str = "transparent",
    authenticated: bool = False,
    tls: bool = False,
) -> SessionFacts:
    """Return a session."""
    facts = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256") if tls else None
    return SessionFacts(
        "s1",
        (client, 40000),
        destination,
        listener,
        helo=helo,
        authenticated=authenticated,
        client_leg=LegFacts(facts),
    )


def path(address: str, size: int | None = None) -> Path:
    """Return a path; "" is ``<>``."""
    parameters = "" if size is None else f" SIZE={size}"
    if address.lower() == "postmaster":
        found = parse_mail(b"FROM:<postmaster@x.example>")
        assert found.mailbox is not None
        mailbox = type(found.mailbox)(address.encode(), address, "")
        return Path(mailbox)
    return parse_mail(f"FROM:<{address}>{parameters} SMTPUTF8".encode())


def envelope(
    reverse_path: str = "a@sender.example",
    *recipients: str,
    refused: tuple[str, ...] = (),
    size: int | None = None,
) -> Envelope:
    """Return an envelope whose recipients stand, but for the refused ones."""
    asked = path(reverse_path, size)
    found = Envelope(asked, asked)
    for address in recipients:
        there = path(address)
        answer = Reply.make(550 if address in refused else 250, "", "x")
        decision = Decision(Action.ALLOW)
        found.recipients.append(Recipient(there, there, decision, answer))
    return found


def message(**facts: object) -> MessageFacts:
    """Return a message of a plain session, with these facts instead."""
    from smtpguard.policy import MessageFacts

    given: dict[str, object] = {
        "session": session(),
        "envelope": envelope("a@sender.example", "r@own.example"),
        "header_from": ("a@sender.example",),
        "size": 1000,
    }
    return MessageFacts(**{**given, **facts})  # type: ignore[arg-type]
