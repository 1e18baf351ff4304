"""Certificates of the bed: one authority a run, made by ``openssl`` in its folder.

Nothing is installed in the system's trust store and no key leaves the folder.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


if TYPE_CHECKING:
    from pathlib import Path


type KeyKind = Literal["p256", "rsa2048"]

_NEW_KEY: dict[KeyKind, list[str]] = {
    "p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa2048": ["-newkey", "rsa:2048"],
}


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's certificate and key."""

    certificate: Path
    key: Path
    both: Path
    """Key and certificate in one file."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """The PEM to trust."""
        return self.folder / "ca.pem"

    def issue(self, name: str, *alternatives: str, keys: KeyKind = "p256") -> Identity:
        """Return a certificate for ``name`` and further names or IP addresses."""
        stem = self.folder / name
        identity = Identity(
            stem.with_name(f"{name}.pem"),
            stem.with_name(f"{name}.key"),
            stem.with_name(f"{name}.both.pem"),
        )
        request = stem.with_name(f"{name}.csr")
        extensions = stem.with_name(f"{name}.cnf")
        names = ",".join(_alternative(each) for each in (name, *alternatives))
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
            f"subjectAltName={names}\n",
            "ascii",
        )
        _openssl(
            *("req", *_NEW_KEY[keys], "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", identity.key, "-out", request),
        )
        _openssl(
            *("x509", "-req", "-in", request, "-days", "30"),
            *("-CA", self.certificate, "-CAkey", self.folder / "ca.key"),
            *("-CAcreateserial", "-extfile", extensions),
            *("-out", identity.certificate),
        )
        identity.both.touch(mode=0o600)
        identity.both.write_text(
            identity.key.read_text("ascii") + identity.certificate.read_text("ascii"),
            "ascii",
        )
        return identity


def make_authority(folder: Path, keys: KeyKind = "p256") -> Authority:
    """Return a new authority whose files lie in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder)
    _openssl(
        *("req", "-x509", *_NEW_KEY[keys], "-nodes", "-days", "30"),
        *("-subj", "/CN=smtpguard test bed CA"),
        *("-keyout", folder / "ca.key", "-out", authority.certificate),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    return authority


def _alternative(name: str) -> str:
    is_address = ":" in name or name.replace(".", "").isdigit()
    return f"{'IP' if is_address else 'DNS'}:{name}"


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30
    )
