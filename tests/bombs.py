"""Mails that cost whoever looks into them far more than whoever sends them.

``BOMBS`` makes each by its name, below the 50 MiB that a message may have; made in
about a second at most, since nothing is expanded to make them.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import cache


MIB = 1 << 20


def attached(content: bytes, name: str = "bomb") -> bytes:
    """Return a part with this content in base64."""
    head = (
        b"Content-Type: application/octet-stream\r\n"
        b'Content-Disposition: attachment; filename="%s"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n" % name.encode()
    )
    return head + base64.encodebytes(content).replace(b"\n", b"\r\n")


def mail(parts: Iterable[bytes]) -> bytes:
    """Return a message of these parts."""
    head = (
        b"From: a@out.example\r\nTo: b@own.example\r\nSubject: bomb\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    )
    return head + b"".join(b"--b\r\n" + part for part in parts) + b"--b--\r\n"


def holding(content: bytes) -> bytes:
    """Return a message with a text and one attachment."""
    return mail((b"\r\nSee there.\r\n", attached(content)))


# -------------------------------------------------------------------------------- zip


@cache
def zeros(octets: int, *, is_last: bool = True) -> bytes:
    """Return so many zeros (whole MiB), deflated: each MiB costs about a kilobyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (octets // MIB) + (packer.flush() if is_last else b"")


@cache
def crc_of_zeros(octets: int) -> int:
    """Return the CRC-32 of so many zeros (whole MiB)."""
    found = 0
    for _ in range(octets // MIB):
        found = zlib.crc32(bytes(MIB), found)
    return found


def local(name: bytes, data: bytes, size: int, crc: int) -> bytes:
    """Return a local header; what is deflated follows it."""
    fields = (20, 0, 8, 0, crc, len(data), size & 0xFFFFFFFF, len(name), 0)
    return b"PK\3\4" + struct.pack("<HHHIIIIHH", *fields) + name


def central(name: bytes, packed: int, size: int, crc: int, offset: int) -> bytes:
    """Return an entry of the directory."""
    fields = (20, 20, 0, 8, 0, crc, packed, size & 0xFFFFFFFF, len(name))
    rest = (0, 0, 0, 0, 0, offset)
    return (
        b"PK\1\2"
        + struct.pack("<HHHHIIIIH", *fields)
        + (struct.pack("<HHHHII", *rest) + name)
    )


def ended(body: bytes, directory: bytes, count: int) -> bytes:
    """Return a zip archive of these pieces."""
    end = struct.pack(
        "<HHHHIIH", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), len(body), 0
    )
    return body + directory + b"PK\5\6" + end


def zip_of(files: Iterable[tuple[bytes, bytes, int, int]]) -> bytes:
    """Return an archive of names, deflated contents, their sizes and CRCs."""
    body, directory = bytearray(), bytearray()
    count = 0
    for name, data, size, crc in files:
        directory += central(name, len(data), size, crc, len(body))
        body += local(name, data, size, crc) + data
        count += 1
    return ended(bytes(body), bytes(directory), count)


def zip_of_zeros(octets: int) -> bytes:
    """Return an archive of one file."""
    return zip_of([(b"0.bin", zeros(octets), octets, crc_of_zeros(octets))])


def fifield(files: int = 250, octets: int = 4 * MIB) -> bytes:
    """Return the overlapping zip of D. Fifield (2019): each file's stream quotes the
    header of the next one and goes on with its stream; all checksums are right."""
    data, size, crc = zeros(octets), octets, crc_of_zeros(octets)
    content = bytes(octets)
    made: list[tuple[bytes, int, int, int]] = []
    tail = b""
    for number in range(files):
        name = b"%04d" % number
        header = local(name, data, size, crc)
        made.append((name, len(data), size, crc))
        tail = header + data
        if number < files - 1:
            # A stored block of deflate holds the header as it is.
            quoted = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF) + header
            data = quoted + data
            content = header + content
            size, crc = len(content), zlib.crc32(content)
    body, directory = tail, b""
    for name, packed, length, checksum in made:
        # Each lies as far from the end as it is long.
        offset = len(body) - packed - 30 - len(name)
        directory += central(name, packed, length, checksum, offset)
    return ended(body, directory, files)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return into.getvalue()


def forty_two() -> bytes:
    """Return an archive as 42.zip is: sixteen in each, six levels, then 4 GiB."""
    octets = zip_of_zeros(4096 * MIB - MIB)
    for _ in range(5):
        octets = zipped({f"lib {number}.zip": octets for number in range(16)})
    return octets


def quine() -> bytes:
    """Return an archive each of whose files is the rest of the archive, and no end."""
    size = 20 * MIB
    fields = (20, 0, 0, 0, 0, size, size, 5, 0)
    head = b"PK\3\4" + struct.pack("<HHHIIIIHH", *fields) + b"q.zip"
    return head * 200_000


def droste() -> bytes:
    """Return an archive whose directory names the archive itself, stored, 10,000
    times."""
    count = 10_000
    directory_size = count * (46 + 9)
    start = 30 + 9
    size = start + directory_size + 22
    fields = (20, 0, 0, 0, 0, size - start, size - start, 9, 0)
    body = b"PK\3\4" + struct.pack("<HHHIIIIHH", *fields) + b"droste.zi"
    entry = (20, 20, 0, 0, 0, 0, size - start, size - start, 9, 0, 0, 0, 0, 0, 0)
    directory = b"PK\1\2" + struct.pack("<HHHHIIIIHHHHHII", *entry) + b"droste.zi"
    return ended(body, directory * count, count)


def long_names(count: int = 250) -> bytes:
    """Return an archive of names as long as names can be."""
    empty = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    names = (b"%05d" % number + b"n" * 65_530 for number in range(count))
    return zip_of((name, empty, 0, 0) for name in names)


def many_entries(count: int) -> bytes:
    """Return an archive of so many empty files."""
    empty = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    return zip_of((b"%06d.exe" % number, empty, 0, 0) for number in range(count))


# ------------------------------------------------------------------------ other formats


def number(value: int) -> bytes:
    """Return a number as 7z writes it."""
    return bytes([value]) if value < 0x80 else b"\xff" + value.to_bytes(8, "little")


def seven_zip(files: int, octets: int) -> bytes:
    """Return a solid 7z archive: ``files`` share one stream of zeros."""
    packed = zeros(files * octets)
    names = b"".join(f"{n}.exe".encode("utf-16-le") + b"\0\0" for n in range(files))
    header = b"".join(
        (
            b"\x01\x04\x06\0\x01\x09" + number(len(packed)) + b"\0",
            b"\x07\x0b\x01\0\x01\x03\x04\x01\x08\x0c" + number(files * octets) + b"\0",
            b"\x08\x0d" + number(files) + b"\x09" + number(octets) * (files - 1),
            b"\0\0\x05" + number(files),
            b"\x11" + number(len(names) + 1) + b"\0" + names + b"\0\0",
        )
    )
    start = struct.pack("<QQI", len(packed), len(header), zlib.crc32(header))
    sign = b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start))
    return sign + start + packed + header


def holes(count: int = 2000) -> bytes:
    """Return a tar of files that are nothing but a hole of 8 GiB each (GNU sparse)."""
    head = bytearray(tarfile.TarInfo("hole").tobuf(tarfile.GNU_FORMAT)[:512])
    head[156] = ord("S")
    head[386:410] = b"%011o\0%011o\0" % (0, 0)
    head[483:495] = b"%011o\0" % ((8 << 30) - 1)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) * count + bytes(1024)


def xz(octets: int) -> bytes:
    """Return so many zeros (of 16 MiB each stream)."""
    return lzma.compress(bytes(16 * MIB), preset=1) * (octets // (16 * MIB))


def zstd(blocks: int) -> bytes:
    """Return one frame of blocks that are 128 KiB of zeros each (RFC 8878)."""
    block = ((131072 << 3) | (1 << 1)).to_bytes(3, "little") + b"\0"
    last = ((131072 << 3) | (1 << 1) | 1).to_bytes(3, "little") + b"\0"
    # A window of 128 KiB, no content size.
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * (blocks - 1) + last


def gzips(times: int) -> bytes:
    octets = b"x"
    for _ in range(times):
        octets = gzip.compress(octets)
    return octets


def gzip_of_zeros(octets: int) -> bytes:
    tail = struct.pack("<II", crc_of_zeros(octets), octets & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\3" + zeros(octets) + tail


def both(value: int, size: int) -> bytes:
    """Return a number in both orders of its octets (ECMA-119 7)."""
    return value.to_bytes(size, "little") + value.to_bytes(size, "big")


def directory_record(name: bytes, sector: int, size: int, *, is_folder: bool) -> bytes:
    """Return a directory record (ECMA-119 9.1)."""
    rest = both(sector, 4) + both(size, 4) + bytes(7) + bytes([2 * is_folder, 0, 0])
    record = b"\0" + rest + both(1, 2) + bytes([len(name)]) + name
    record += b"\0" * (len(name) % 2 == 0)
    return bytes([len(record) + 1]) + record


def iso_loop(folders: int = 40) -> bytes:
    """Return a CD image each of whose folders is the root again."""
    sector = 2048
    records = [
        directory_record(b"\0", 18, sector, is_folder=True),
        directory_record(b"\1", 18, sector, is_folder=True),
        *(
            directory_record(b"D%03d" % n, 18, sector, is_folder=True)
            for n in range(folders)
        ),
    ]
    root = b"".join(records).ljust(sector, b"\0")
    volume = bytearray(sector)
    volume[:7] = b"\1CD001\1"
    volume[8:72] = b" " * 64
    volume[80:88] = both(20, 4)
    volume[120:124] = both(1, 2)
    volume[124:128] = both(1, 2)
    volume[128:132] = both(sector, 2)
    volume[132:140] = both(10, 4)
    volume[156:190] = records[0]
    volume[881] = 1
    end = b"\xffCD001\1".ljust(sector, b"\0")
    return bytes(16 * sector) + bytes(volume) + end + root + bytes(2 * sector)


# ------------------------------------------------------------------------- structure


def levels(count: int) -> bytes:
    """Return messages in messages."""
    return b"Content-Type: message/rfc822\r\n\r\n" * count + b"Subject: x\r\n\r\nx\r\n"


def nested(count: int) -> bytes:
    """Return multiparts in multiparts."""
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(count)
    )


def bin_hex(octets: int) -> bytes:
    """Return a text with a file by BinHex that is one run, over and over."""
    head = b"\1x\0TEXTTEXT\0\0" + struct.pack(">II", octets, 0) + b"\0\0"
    packed = head + b"\0\x90\xff" * (octets // 255)
    table = bytes.maketrans(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr",
    )
    text = binascii.b2a_base64(packed, newline=False).rstrip(b"=").translate(table)
    lines = (text[at : at + 64] for at in range(0, len(text), 64))
    begin = b"(This file must be converted with BinHex 4.0)\r\n\r\n:"
    return begin + b"\r\n".join(lines) + b":\r\n"


def noise(octets: int) -> bytes:
    """Return base64 that every reader takes for something else."""
    head = b"Content-Type: application/pdf; name=a.pdf\r\n"
    head += b"Content-Transfer-Encoding: base64\r\n\r\n"
    unit = b"A=-#\r\nAAA==" * 1000
    return head + unit * (octets // len(unit)) + b"\r\n"


def texts(begin: bytes, unit: bytes, head: bytes = b"") -> bytes:
    """Return a mail of texts as large as they are read in every way, made of units."""
    size = 4 * MIB - 1000
    part = head + b"\r\n" + begin + unit * (size // len(unit)) + b"\r\n"
    return mail([part] * 11)


def large_in_large() -> bytes:
    """Return the largest archive that a mail can hold, of the largest file that is
    looked into."""
    noise = random.Random(1).randbytes(33 * MIB)
    return zipped({"a": noise + bytes(222 * MIB)})


BOMBS: dict[str, Callable[[], bytes]] = {
    "zip-ratio": lambda: holding(zip_of_zeros(4096 * MIB - MIB)),
    "zip-overlapping": lambda: holding(fifield()),
    "zip-nested": lambda: holding(forty_two()),
    "zip-quine": lambda: holding(quine()),
    "zip-of-itself": lambda: holding(droste()),
    "zip-100000-entries": lambda: holding(many_entries(100_000)),
    "zip-300000-entries": lambda: holding(many_entries(300_000)),
    "zip-long-names": lambda: holding(long_names()),
    "zip-signatures": lambda: holding(b"PK\3\4" * (6 * MIB)),
    "zip-ends": lambda: holding(b"x" + b"PK\5\6" * (6 * MIB)),
    "zips-in-1000-parts": lambda: mail(
        attached(zip_of_zeros(9 * MIB), f"{n}.zip") for n in range(990)
    ),
    "zips-in-a-zip": lambda: holding(
        zipped({f"{n}.zip": zip_of_zeros(9 * MIB) for n in range(990)})
    ),
    "empty-zips-in-parts": lambda: mail(
        attached(many_entries(1), f"{n}.zip") for n in range(990)
    ),
    "7z-solid": lambda: holding(seven_zip(1000, 4 * MIB)),
    "tar-holes": lambda: holding(holes()),
    "xz": lambda: holding(xz(4096 * MIB)),
    "zstd": lambda: holding(zstd(32_768)),
    "bzip2": lambda: holding(bz2.compress(bytes(45 * MIB)) * 60_000),
    "zip-large-in-large": lambda: holding(large_in_large()),
    "gzip": lambda: holding(gzip_of_zeros(4096 * MIB)),
    "gzip-chain": lambda: holding(gzips(1000)),
    "iso-loop": lambda: holding(iso_loop()),
    "rfc822-1000-levels": lambda: levels(1000),
    "multipart-1000-levels": lambda: nested(1000),
    "parts-50000": lambda: mail(b"\r\nx\r\n" for _ in range(50_000)),
    "parts-1000-programs": lambda: mail(
        attached(b"MZ" + bytes(2000), f"{n}.exe") for n in range(995)
    ),
    "header-flood": lambda: b"A: b\r\n" * (4 * MIB) + b"\r\nx\r\n",
    "parameter-flood": lambda: (
        b"Content-Type: a/b" + b"; a=b" * (4 * MIB) + b"\r\n\r\n"
    ),
    "binhex": lambda: mail([b"\r\n" + bin_hex(400 * MIB)]),
    "base64-noise": lambda: mail(noise(4 * MIB) for _ in range(11)),
    "uuencoded-files": lambda: b"Subject: x\r\n\r\n" + b"begin 644 a\r\n" * (3 * MIB),
    "uuencoded-lines": lambda: texts(b"begin 644 a.exe\r\n", b"!!\r\n"),
    "yenc": lambda: texts(b"=ybegin line=128 size=9 name=a.exe\r\n", b"=}"),
    "quoted-printable-noise": lambda: texts(
        b"", b"==3D= \t=\r\n \t", b"Content-Transfer-Encoding: quoted-printable\r\n"
    ),
    "blanks-in-parts": lambda: mail(
        b"\r\n" + b" " * 65_536 + b"\r\n" for _ in range(650)
    ),
    "base64-in-text": lambda: texts(b"", b"QQ==\r\n"),
}
