from __future__ import annotations

import pytest

from smtpguard.dkim.result import NotVerifiedError
from smtpguard.dkim.signature import CLOCK_SKEW, Signature, read_signature
from smtpguard.dkim.tags import parse_tags
from tests.dkim.signing import NOW


GOOD = b"v=1; a=rsa-sha256; d=Signer.Test.; s=sel; h=From : to:From; bh=YWJj; b=ZGVm"


def read(*more: bytes, drop: bytes = b"") -> Signature:
    tags = parse_tags(GOOD)
    for one in more:
        name, _, value = one.partition(b"=")
        tags[name] = value
    tags.pop(drop, None)
    return read_signature(b"DKIM-Signature: x\r\n", tags, NOW)


def test_what_is_left_out_has_the_default_of_the_rfc() -> None:
    found = read()
    assert (found.relaxed_header, found.relaxed_body) == (False, False)
    assert found.length is None
    assert (found.domain, found.identity_domain) == ("signer.test", "signer.test")
    assert found.key_name == "sel._domainkey.signer.test"
    assert found.signed_names == ("from", "to", "from")
    assert (found.body_hash, found.octets, found.key_type) == (b"abc", b"def", "rsa")


def test_what_is_there_is_read() -> None:
    more = b"c=relaxed", b"l=12", b"i=anna@mail.signer.test", b"a=ED25519-SHA256"
    found = read(*more, b"d=m\xc3\xbcller.test", b"i=@m\xc3\xbcller.test")
    assert (found.relaxed_header, found.relaxed_body) == (True, False)
    assert (found.length, found.key_type) == (12, "ed25519")
    assert found.domain == "xn--mller-kva.test"  # RFC 8616
    assert read(b"c=simple/relaxed").relaxed_body
    assert read(b"i=x@mail.signer.test").identity_domain == "mail.signer.test"


@pytest.mark.parametrize("tag", [b"v", b"a", b"b", b"bh", b"d", b"h", b"s"])
def test_a_required_tag_is_required(tag: bytes) -> None:
    with pytest.raises(NotVerifiedError, match="a required tag is missing") as caught:
        read(drop=tag)
    assert caught.value.result == "permerror"


@pytest.mark.parametrize(
    ("tag", "result", "reason"),
    [
        (b"v=2", "permerror", "unknown version"),
        (b"a=rsa-md5", "permerror", "unknown algorithm"),
        (b"a=rsa-sha1", "policy", "SHA-1 proves nothing any more"),
        (b"c=nofws", "permerror", "unknown canonicalization"),
        (b"c=relaxed/", "permerror", "unknown canonicalization"),
        (b"q=ldap", "permerror", "unknown way to the key"),
        (b"h=to:subject", "permerror", "the From field is not signed"),
        (b"h=", "permerror", "the From field is not signed"),
        (b"d=[127.0.0.1]", "permerror", "not a domain"),
        (b"d=a b", "permerror", "not a domain"),
        (b"d=a\r\nX: y", "permerror", "not a domain"),
        (b"s=../x", "permerror", "not a domain"),
        (b"s=\xff", "permerror", "not a domain"),
        (b"d=" + b"a" * 300, "permerror", "not a domain"),
        (b"i=a@evilsigner.test", "permerror", "signed for another domain"),
        (b"i=a@test", "permerror", "signed for another domain"),
        (b"i=", "permerror", "not a domain"),
        (b"l=-1", "permerror", "not a number"),
        (b"l=", "permerror", "not a number"),
        (b"l=" + b"9" * 77, "permerror", "not a number"),
        (b"x=" + b"9" * 5000, "permerror", "not a number"),
        (b"t=soon", "permerror", "not a number"),
        (b"x=1", "fail", "signature expired"),
        (b"bh=*", "permerror", "broken base64"),
        (b"b=YQ=", "permerror", "broken base64"),
    ],
)
def test_what_is_wrong_is_told(tag: bytes, result: str, reason: str) -> None:
    with pytest.raises(NotVerifiedError) as caught:
        read(tag)
    assert (str(caught.value.result), caught.value.reason) == (result, reason)


def test_a_signature_holds_until_it_expires_and_a_moment_more() -> None:
    assert read(b"x=%d" % (NOW - CLOCK_SKEW)).selector == "sel"
    with pytest.raises(NotVerifiedError, match="signature expired"):
        read(b"x=%d" % (NOW - CLOCK_SKEW - 1))
    with pytest.raises(NotVerifiedError, match="expires before it was made"):
        read(b"t=%d" % (NOW + 9), b"x=%d" % (NOW + 8))
