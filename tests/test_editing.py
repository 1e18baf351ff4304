"""From decisions to edits, through the pipeline: what changes, what is refused."""

from __future__ import annotations

import base64
import re

import pytest

from smtpguard.locking.container import Head, lock, unlock
from smtpguard.mime import parse
from smtpguard.model.content import MemorySpool
from smtpguard.model.decision import Action
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.mailbox import Path
from tests.judging import (
    ALLOW,
    PAYLOAD,
    PLAIN,
    TEXT_PART,
    attachment,
    forwarded,
    judge_message,
    lines,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    names,
    octets,
    rules,
)
from tests.mime.test_cms import enclosing, mailed


TOOL = attachment("tool.exe")
LOGO = attachment("logo.png", "image/png")
LOCK = names('{match: "*.exe", action: lock}')
STRIP = names('{match: "*.exe", action: strip}')


def headers(*entries: str) -> str:
    return f"headers: [{', '.join((*entries, ALLOW))}]"


def test_a_locked_part_can_be_restored_and_nothing_else_has_changed() -> None:
    mail = mixed(TEXT_PART, TOOL, LOGO)
    said = judge_message(rules(LOCK), mail)
    assert (said.outcome, said.action, said.reply) == (
        Outcome.MODIFIED,
        Action.LOCK,
        None,
    )
    after = parse(octets(said))
    kinds = [part.content_type for part in after.parts()]
    assert kinds == [
        "multipart/mixed",
        "text/plain",
        "text/plain",
        "application/x-smtpguard-locked",
        "image/png",
    ]
    locked = after.part("1.3")
    assert locked is not None
    assert locked.names[0] == "tool.exe.clk"
    assert b"".join(unlock(locked.decoded())) == PAYLOAD
    assert TEXT_PART in octets(said)
    assert LOGO in octets(said)
    assert octets(said).count(base64.b64encode(PAYLOAD)[:60]) == 1  # the logo's
    notice = after.part("1.2")
    assert notice is not None
    told = b"".join(notice.decoded()).decode()
    for word in ("tool.exe", "locked", "5f3a.2", "your administrator can restore it"):
        assert word in told


def test_the_key_of_a_mask_is_new_for_each_part() -> None:
    said = judge_message(rules(LOCK), mixed(TOOL, TOOL))
    parts = [p for p in parse(octets(said)).parts() if "locked" in p.content_type]
    first, second = (b"".join(part.decoded()) for part in parts)
    assert first != second
    assert b"".join(unlock([first])) == b"".join(unlock([second])) == PAYLOAD


def container() -> bytes:
    head = Head("a.exe", "a/b", 1, "0" * 64, "", "2026-11-24T09:36:13Z", "x", 1)
    import hashlib

    head = head._replace(sha256=hashlib.sha256(b"x").hexdigest())
    return b"".join(lock([b"x"], head, bytes(32)))


def held(content: bytes, kind: str, name: str) -> bytes:
    head = lines(
        f'Content-Type: {kind}; name="{name}"', "Content-Transfer-Encoding: base64", ""
    )
    return head + base64.encodebytes(content).replace(b"\n", b"\r\n").rstrip()


OURS = "application/x-smtpguard-locked"


@pytest.mark.parametrize(
    ("content", "kind", "name", "action"),
    [
        (container(), OURS, "a.exe.clk", "allow"),
        (container(), "application/x-other", "a.exe.clk", "lock"),
        (container(), OURS, "a.exe", "lock"),
        (container()[:-1] + b"x", OURS, "a.exe.clk", "lock"),
        (PAYLOAD, OURS, "a.exe.clk", "lock"),
    ],
)
def test_only_a_whole_container_of_ours_is_not_locked_again(
    content: bytes, kind: str, name: str, action: str
) -> None:
    locks = rules(names('{match: "*", action: lock}'))
    said = judge_message(locks, mixed(held(content, kind, name)))
    assert str(said.action) == action
    assert said.outcome is (Outcome.RELAYED if action == "allow" else Outcome.MODIFIED)


def test_every_other_rule_holds_for_what_is_locked_already() -> None:
    """Anybody can make such a container; that must not be a way past the rules."""
    mail = mixed(held(container(), OURS, "a.exe.clk"))
    for action, outcome in (("strip", Outcome.MODIFIED), ("deny", Outcome.REJECTED)):
        text = rules(names(f'{{match: "*.clk", action: {action}}}'))
        assert judge_message(text, mail).outcome is outcome


def with_two_types(content: bytes) -> bytes:
    first, rest = held(content, OURS, "a.exe.clk").split(b"\r\n", 1)
    second = b"Content-Type: multipart/mixed; boundary=zz"
    return b"\r\n".join((first, second, rest))


def on_clk(action: str) -> str:
    return f'{{match: "*.clk", action: {action}}}'


@pytest.mark.parametrize("action", ["lock", "allow"])
def test_what_is_not_sure_of_a_container_matters_since_it_stays(action: str) -> None:
    """Its octets may be a mail to another reader; ``lock`` would leave it there."""
    text = rules(names('{match: "*.exe", action: deny}', on_clk(action)))
    mail = mixed(TEXT_PART, with_two_types(container()))
    said = judge_message(text, mail)
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "ambiguous")


def test_what_is_not_sure_of_a_part_that_is_locked_now_does_not_matter() -> None:
    text = rules(names(on_clk("lock")))
    mail = mixed(TEXT_PART, with_two_types(PAYLOAD))
    assert judge_message(text, mail).outcome is Outcome.MODIFIED


def test_a_mail_whose_text_nobody_minds_is_never_replaced_by_a_notice() -> None:
    """The model's bug: "SMTP proxy destroys text mails"."""
    for action in ("strip", "lock"):
        text = rules(names(f'{{match: "?*", action: {action}}}'))
        assert judge_message(text, PLAIN).outcome is Outcome.RELAYED
        said = judge_message(text, mixed(TEXT_PART, TOOL))
        body = parse(octets(said)).part("1.1")
        assert body is not None
        assert b"".join(body.decoded()) == b"See there."


# -- deny messages


def notice(said: Disposition) -> str:
    for part in parse(octets(said)).parts():
        text = b"".join(part.decoded()).decode("utf-8", "replace")
        if part.content_type == "text/plain" and "5f3a.2" in text:
            return text
    raise AssertionError("no notice")


def test_the_deny_message_is_the_rule_s_own_else_the_policy_s() -> None:
    own = names('{match: "*.exe", action: strip, message: "Rule %(id)s: %(filename)s"}')
    general = 'deny_message: {text: "Policy %(id)s: %(type)s"}'
    mail = mixed(TEXT_PART, TOOL)
    assert notice(judge_message(rules(own, general), mail)).strip() == (
        "Rule 5f3a.2: tool.exe"
    )
    assert notice(judge_message(rules(STRIP, general), mail)).strip() == (
        "Policy 5f3a.2: application/octet-stream"
    )


def test_a_recipient_is_told_the_name_of_the_rule() -> None:
    named = names('{name: "no programs", match: "*.exe", action: strip}')
    assert "no programs (filenames:1)" in notice(
        judge_message(rules(named), mixed(TEXT_PART, TOOL))
    )


def test_the_deny_message_speaks_the_policy_s_languages() -> None:
    mail = mixed(TEXT_PART, TOOL)
    both = notice(judge_message(rules(STRIP), mail))
    assert "removed" in both
    assert "entfernt" in both
    german = notice(judge_message(rules(STRIP, "deny_message: {languages: de}"), mail))
    assert "removed" not in german
    assert "entfernt" in german


# -- header fields


FIELDS = lines(
    "Received: by a",
    "X-Internal-Host: secret",
    "From: a@out.test",
    "x-internal-route: a,",
    "\tb",
    "Subject: hello",
    "",
    "text",
)


def test_header_fields_are_removed_and_nothing_else() -> None:
    text = rules(headers('{match: "X-Internal-*", action: strip}'))
    said = judge_message(text, FIELDS)
    assert (said.outcome, str(said.action)) == (Outcome.MODIFIED, "strip")
    assert said.rule == "headers:1"
    assert octets(said) == lines(
        "Received: by a", "From: a@out.test", "Subject: hello", "", "text"
    )


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("deny", Outcome.REJECTED),
        ("tempfail", Outcome.DEFERRED),
        ("discard", Outcome.DISCARDED),
        ("drop", Outcome.DROPPED),
    ],
)
def test_a_header_field_can_end_the_message(action: str, outcome: Outcome) -> None:
    text = rules(headers(f'{{match: "Subject: hel*", action: {action}}}'))
    assert judge_message(text, FIELDS).outcome is outcome


def test_an_encoded_value_is_read_decoded_and_as_it_stands() -> None:
    mail = lines("Subject: =?utf-8?q?off=65r?=", "", "text")
    for pattern in ("Subject: offer", "Subject: =?utf-8?q?off=65r?="):
        text = rules(headers(f'{{match: "exact:{pattern}", action: deny}}'))
        assert judge_message(text, mail).outcome is Outcome.REJECTED, pattern


def test_fields_that_make_the_structure_stay() -> None:
    text = rules(headers('{match: "regex:[CM].*", action: strip}'))
    mail = mixed(TEXT_PART, LOGO)
    said = judge_message(text, mail)
    assert (said.outcome, said.content) == (Outcome.RELAYED, None)
    assert any("stays" in step.reason for step in said.trace) is False


def test_header_rules_see_the_message_s_own_header_only() -> None:
    text = rules(headers('{match: "Content-Disposition", action: deny}'))
    part = lines("Content-Disposition: attachment", "") + b"x"
    assert judge_message(text, mixed(part)).outcome is Outcome.RELAYED


def test_fields_and_parts_are_edited_in_one_message() -> None:
    text = rules(headers("{match: Subject, action: strip}"), STRIP)
    said = judge_message(text, mixed(TEXT_PART, TOOL))
    assert b"Subject:" not in octets(said)
    assert b"tool.exe" in octets(said)
    assert base64.b64encode(PAYLOAD)[:60] not in octets(said)


# -- signatures


DKIM = b"DKIM-Signature: v=1; a=rsa-sha256; d=out.test; b=x\r\n"
REMOVES = headers("{match: Subject, action: strip}")


@pytest.mark.parametrize(
    ("setting", "lines_", "outcome"),
    [
        ("edit", (STRIP,), Outcome.MODIFIED),
        ("edit", (REMOVES,), Outcome.MODIFIED),
        ("deny", (STRIP,), Outcome.REJECTED),
        ("deny", (REMOVES,), Outcome.REJECTED),
        ("header_only", (STRIP,), Outcome.REJECTED),
        ("header_only", (REMOVES,), Outcome.MODIFIED),
        ("deny", (), Outcome.RELAYED),
    ],
)
def test_on_dkim_says_what_an_edit_may_break(
    setting: str, lines_: tuple[str, ...], outcome: Outcome
) -> None:
    text = rules(f"on_dkim: {setting}", *lines_)
    said = judge_message(text, DKIM + mixed(TEXT_PART, TOOL))
    assert said.outcome is outcome
    if outcome is Outcome.REJECTED:
        assert said.rule == "on_dkim"
    # Without a signature there is nothing to break.
    unsigned = judge_message(text, mixed(TEXT_PART, TOOL))
    assert unsigned.outcome is (Outcome.MODIFIED if lines_ else Outcome.RELAYED)


def signed(part: bytes) -> bytes:
    signature = lines("Content-Type: application/pgp-signature", "") + b"x"
    mail = mixed(part, signature, boundary="=_s")
    return mail.replace(b"multipart/mixed", b"multipart/signed")


@pytest.mark.parametrize(
    ("setting", "outcome"), [("deny", Outcome.REJECTED), ("edit", Outcome.MODIFIED)]
)
def test_on_signed_says_whether_a_signature_may_be_broken(
    setting: str, outcome: Outcome
) -> None:
    said = judge_message(rules(f"on_signed: {setting}", STRIP), signed(TOOL))
    assert said.outcome is outcome
    said = judge_message(rules(STRIP), signed(TOOL))
    assert (said.outcome, said.rule) == (Outcome.REJECTED, "on_signed")


@pytest.mark.parametrize(
    ("setting", "outcome"), [("deny", Outcome.REJECTED), ("edit", Outcome.MODIFIED)]
)
def test_a_message_that_holds_something_signed_is_not_taken_out_unasked(
    setting: str, outcome: Outcome
) -> None:
    strips = 'content_types: [{match: "message/*", action: strip}, ' + f"{ALLOW}]"
    text = rules(f"on_signed: {setting}", strips)
    said = judge_message(text, mixed(TEXT_PART, forwarded(signed(TEXT_PART))))
    assert said.outcome is outcome
    assert said.rule == ("on_signed" if setting == "deny" else "content_types:1")
    # Beside it nothing is signed.
    other = mixed(signed_part(), forwarded(PLAIN))
    assert judge_message(text, other).outcome is Outcome.MODIFIED


def signed_part() -> bytes:
    return signed(TEXT_PART).partition(b"MIME-Version: 1.0\r\n")[2].rstrip()


ENCLOSING = (
    "content_types: [{match: application/pkcs7-mime, is: limit, action: allow}, "
    f'{{match: "*", is: macro, action: deny}}, {ALLOW}]'
)


@pytest.mark.parametrize(
    ("setting", "outcome"), [("deny", Outcome.REJECTED), ("edit", Outcome.MODIFIED)]
)
def test_what_s_mime_encloses_is_judged_and_taken_out_with_its_signature(
    setting: str, outcome: Outcome
) -> None:
    text = rules(f"on_signed: {setting}", STRIP, ENCLOSING)
    said = judge_message(text, mailed(enclosing(mixed(TEXT_PART, TOOL))))
    assert said.outcome is outcome
    if outcome is Outcome.MODIFIED:
        assert base64.b64encode(PAYLOAD) not in octets(said)
        assert b"application/pkcs7-mime" not in octets(said)
    fine = judge_message(text, mailed(enclosing(mixed(TEXT_PART, LOGO))))
    assert fine.outcome is Outcome.RELAYED


def test_what_s_mime_encloses_is_a_limit_unless_a_rule_lets_it_pass() -> None:
    """Others may read something else in it than we do."""
    mail = mailed(enclosing(mixed(TEXT_PART, LOGO)))
    asks = 'content_types: [{match: "*", is: macro, action: deny}, ' + f"{ALLOW}]"
    assert judge_message(rules(asks), mail).rule == "limit"
    assert judge_message(rules(ENCLOSING), mail).outcome is Outcome.RELAYED
    assert judge_message(rules(STRIP), mail).outcome is Outcome.RELAYED


def test_what_lies_outside_the_signed_part_may_be_edited() -> None:
    inner = signed(TEXT_PART).partition(b"MIME-Version: 1.0\r\n")[2]
    said = judge_message(rules(STRIP), mixed(inner.removesuffix(b"\r\n"), TOOL))
    assert said.outcome is Outcome.MODIFIED
    assert inner.removesuffix(b"\r\n") in octets(said)


# -- addresses in header fields


ADDRESSED = lines(
    "From: Anna <anna@old.test>",
    "To: bert@own.test, carla@own.test",
    "Cc: anna@old.test",
    "",
    "anna@old.test",
)
NEW = ', action: rewrite, to: "*@new.test"'
BERT = ", action: rewrite, to: bert@new.test"


def rewritten(more: str) -> bytes:
    pipeline = make_pipeline(
        "version: 1\ndomains: [own.test]\npolicies:\n  - name: p\n"
        f'    mail_from: [{{match: "*@old.test"{NEW}{more}}}, {ALLOW}]\n'
        f"    rcpt_to: [{{match: bert@own.test{BERT}{more}}}, {ALLOW}]\n"
    )
    session = make_session()
    judge = pipeline.begin(session)
    envelope = make_envelope("anna@old.test", "bert@own.test", "carla@own.test")
    envelope.decision = judge.mail(session, envelope.asked)
    assert envelope.decision.rewrite_to is not None
    envelope.reverse_path = Path(envelope.decision.rewrite_to)
    for recipient in envelope.recipients:
        said = judge.rcpt(session, envelope, recipient.asked)
        recipient.decision = said
        if said.rewrite_to is not None:
            recipient.forward_path = Path(said.rewrite_to)
    spool = MemorySpool()
    spool.write(ADDRESSED)
    ended = judge.message(session, envelope, spool)
    return ADDRESSED if ended.content is None else octets(ended)


def test_a_rewrite_changes_the_fields_it_is_told_to() -> None:
    assert rewritten("") == ADDRESSED
    assert rewritten(", headers: true") == lines(
        "From: Anna <anna@new.test>",
        "To: bert@new.test, carla@own.test",
        "Cc: anna@old.test",
        "",
        "anna@old.test",
    )


# -- fields of ours


FORGED = b"X-SmtpGuard-Id: 1\r\nx-smtpguard-virus: none,\r\n really\r\n"


def test_fields_of_ours_are_added_and_forged_ones_removed_where_a_policy_says() -> None:
    kept = judge_message(rules(), FORGED + PLAIN)
    assert (kept.outcome, kept.content) == (Outcome.RELAYED, None)
    said = judge_message(rules("own_fields: add"), FORGED + PLAIN)
    assert said.outcome is Outcome.RELAYED
    assert octets(said) == (
        b"X-SmtpGuard-Id: 5f3a.2\r\nX-SmtpGuard-Action: allow\r\n" + PLAIN
    )


def test_fields_of_ours_tell_which_rule_edited() -> None:
    said = judge_message(rules("own_fields: add", STRIP), mixed(TEXT_PART, TOOL))
    assert b"X-SmtpGuard-Action: strip (filenames:1)\r\n" in octets(said)


def test_own_fields_stand_below_our_received_field() -> None:
    text = rules("own_fields: add", "session: {received: add}")
    head = octets(judge_message(text, PLAIN))
    assert re.match(rb"Received: .*\r\n(?:[ \t].*\r\n)*X-SmtpGuard-Id: ", head)
