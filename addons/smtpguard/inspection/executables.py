"""Programs of Windows, DOS, macOS and Java by their headers.

``ELF``, shortcuts and the like need no more than a signature and stand in
``signatures``. Reads 64 octets and the four that they point to.
"""

from __future__ import annotations

from smtpguard.inspection.octets import big, little
from smtpguard.inspection.text import is_text


PE = "application/vnd.microsoft.portable-executable"
DOS = "application/x-dosexec"
MACH_O = "application/x-mach-binary"
JAVA_CLASS = "application/java-vm"

_DOS_HEADER = 28
_MACH_O_MAGICS = frozenset(
    {
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
    }
)
_FAT_MAGICS = frozenset({b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"})
_FIRST_JAVA = 45
"""Major version of the oldest class file there is (JVMS 4.1)."""


def program_type(octets: bytes) -> str:
    """Return the type of a program; "" if it is none."""
    magic = octets[:4]
    if magic[:2] in (b"MZ", b"ZM"):
        return _windows_type(octets)
    if magic in _MACH_O_MAGICS:
        return MACH_O
    if magic in _FAT_MAGICS and len(octets) >= 8:
        # Java's version stands where macOS counts processors: few are known.
        is_class = magic[3] == 0xBE and big(octets, 4, 4) & 0xFFFF >= _FIRST_JAVA
        return JAVA_CLASS if is_class else MACH_O
    return ""


def _windows_type(octets: bytes) -> str:
    at = little(octets, 0x3C, 4)
    if octets[at : at + 4] == b"PE\x00\x00":
        return PE
    # A text may well begin with these letters; a header is never text throughout.
    if len(octets) < _DOS_HEADER or is_text(octets[:64]):
        return ""
    return DOS
