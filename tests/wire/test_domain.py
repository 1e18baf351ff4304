from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.wire.domain import normalise_domain


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        pytest.param("good.com", "good.com", id="plain"),
        pytest.param("Good.COM", "good.com", id="case"),
        pytest.param("good.com.", "good.com", id="trailing-dot"),
        pytest.param("localhost", "localhost", id="one-label"),
        pytest.param("192.0.2.1", "192.0.2.1", id="numeric"),
        pytest.param("a_b._c.d_", "a_b._c.d_", id="underscore"),
        pytest.param("x--y.z", "x--y.z", id="hyphens-within"),
        pytest.param("bücher.example", "xn--bcher-kva.example", id="u-label"),
        pytest.param("BÜCHER.example.", "xn--bcher-kva.example", id="u-label-upper"),
        pytest.param("xn--bcher-kva.example", "xn--bcher-kva.example", id="a-label"),
        pytest.param("XN--BCHER-KVA.example", "xn--bcher-kva.example", id="a-upper"),
        pytest.param("bu\u0308cher.example", "xn--bcher-kva.example", id="decomposed"),
        pytest.param("_x.bücher.example", "_x.xn--bcher-kva.example", id="mixed"),
        pytest.param("faß.example", "xn--fa-hia.example", id="not-transitional"),
        pytest.param(
            "\uff47\uff4f\uff4f\uff44\uff0e\uff43\uff4f\uff4d",
            "good.com",
            id="full-width",
        ),
        pytest.param("bücher。example", "xn--bcher-kva.example", id="ideographic-dot"),
        pytest.param("xn--0.example", "xn--0.example", id="no-punycode"),
        pytest.param("[192.0.2.1]", "[192.0.2.1]", id="ipv4"),
        pytest.param("[IPv6:2001:DB8:0:0::1]", "[ipv6:2001:db8::1]", id="ipv6"),
        pytest.param("[ipv6:::]", "[ipv6:::]", id="ipv6-any"),
        pytest.param("[X-Foo:Bar]", "[x-foo:bar]", id="general"),
    ],
)
def test_a_domain_has_one_normal_form(text: str, normal: str) -> None:
    assert normalise_domain(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", ".a", "a..b", "a.b..", "-a.b", "a-.b", "a.-b", "a b", "a@b", "a,b"),
        *(
            "a\n",
            "a.b\n",
            "a%b",
            "a/b",
            "[",
            "[]",
            "[1.2.3]",
            "[1.2.3.256]",
            "[1.2.3.4",
        ),
        *("[01.2.3.4]", "[ipv6:]", "[IPv6:1::2::3]", "[IPv6:fe80::1%eth0]", "[::1]"),
        *(
            "[1:2:3:4:5:6:7:8]",
            "[x:]",
            "[-:x]",
            "[x-:y]",
            "[x:[y]",
            "[x:y\\]",
            "[1.2.3.4]x",
        ),
    ],
)
def test_what_the_grammar_does_not_know_is_no_domain(text: str) -> None:
    with pytest.raises(ValueError):
        normalise_domain(text)


@pytest.mark.parametrize(
    "text",
    [
        "ex\uff20mple.com",
        "good.com\u2044x",
        "a\u2488com",
        "ö℀.example",
        "😀.example",
        "ö-.example",
    ],
    ids=["at-sign", "slash", "one-dot", "account-of", "emoji", "hyphen"],
)
def test_A2_lookalikes_that_idna_refuses_are_no_domain(text: str) -> None:
    with pytest.raises(ValueError):
        normalise_domain(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a" * 63 + ".b", True),
        ("a" * 64 + ".b", False),
        (".".join(["a" * 50] * 5), True),
        (".".join(["a" * 50] * 5) + ".", True),
        (".".join(["a" * 50] * 5) + ".a", False),
        ("ö" * 127 + ".b", False),
        ("ö" * 128, False),
        (".".join(["öä"] * 45), False),
    ],
    ids=["63", "64", "254", "255", "256", "u-label", "256-utf-8", "long-as-a-labels"],
)
def test_labels_have_63_octets_and_domains_255(text: str, fits: bool) -> None:
    if fits:
        assert normalise_domain(text) == text.removesuffix(".")
        return
    with pytest.raises(ValueError):
        normalise_domain(text)


@given(st.text(max_size=40) | st.text("aä.-_[]:1", max_size=20))
def test_any_text_has_a_normal_form_or_raises_value_error(text: str) -> None:
    try:
        normal = normalise_domain(text)
    except ValueError:
        return
    assert normal.isascii()
    assert normal == normal.lower()
    assert normalise_domain(normal) == normal
