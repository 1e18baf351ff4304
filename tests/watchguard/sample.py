"""A Fireware configuration of our own, after the element names, with every kind."""

from __future__ import annotations

from pathlib import Path


RECIPIENTS = 300


def configuration() -> bytes:
    """Return it, with as many recipients as somebody has kept by hand."""
    text = Path(__file__).with_name("fireware.xml").read_text("utf-8")
    rules = "".join(
        f"<rule><name>user {number}</name>"
        f"<string>user{number}@own.example</string><allow/></rule>"
        for number in range(RECIPIENTS)
    )
    return text.replace("<!-- RECIPIENTS -->", rules).encode()


def one(lists: str, *, outgoing: bool = False, more: str = "") -> bytes:
    """Return a configuration with one proxy action, ``own``."""
    direction = "outgoing" if outgoing else "incoming"
    return (
        "<profile><proxy-action><proxy-name>own</proxy-name>"
        f"<proxy-type-attr>{direction}</proxy-type-attr>"
        f"<smtp>{lists}{more}</smtp></proxy-action></profile>"
    ).encode()


def senders(rules: str, last: str = "<allow/>") -> str:
    """Return a list on reverse-paths."""
    return (
        f"<envelope><addresses><from>{rules}<fallthrough>{last}</fallthrough></from>"
        "</addresses></envelope>"
    )


def names(rules: str, last: str = "<allow/>") -> str:
    """Return a list on file names."""
    return (
        f"<message><content-checking><file-patterns>{rules}"
        f"<fallthrough>{last}</fallthrough></file-patterns></content-checking></message>"
    )
