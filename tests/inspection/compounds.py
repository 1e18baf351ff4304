"""Compound files (MS-CFB) made by hand: version 3, sectors of 512 octets, no mini
stream, so that every stream has at least 4,096 octets.
"""

from __future__ import annotations

import itertools
import struct


FREE, END, FAT, NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
SECTOR = 512
LEAST = 4096


def entry(
    name: str,
    kind: int,
    *,
    right: int = NONE,
    child: int = NONE,
    start: int = END,
    size: int = 0,
    class_id: bytes = bytes(16),
) -> bytes:
    encoded = name.encode("utf-16-le")
    return (
        encoded.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(encoded) + 2, kind, 1, NONE, right, child)
        + class_id
        + bytes(20)
        + struct.pack("<IQ", start, size)
    )


def compound(streams: dict[str, bytes], class_id: bytes = bytes(16)) -> bytes:
    """Return a file with these streams; ``A/B`` lies in the storage ``A``."""
    folders = list(dict.fromkeys(path.split("/")[0] for path in streams if "/" in path))
    order: list[str] = folders + list(streams)
    number = {path: at + 1 for at, path in enumerate(order)}
    data = b""
    fat: list[int] = []
    placed: dict[str, tuple[int, int]] = {}
    for path, content in streams.items():
        padded = content.ljust(LEAST, b"\0")
        sectors = -(-len(padded) // SECTOR)
        placed[path] = len(fat), len(padded)
        fat += [*range(len(fat) + 1, len(fat) + sectors), END]
        data += padded.ljust(sectors * SECTOR, b"\0")

    def siblings(folder: str) -> list[str]:
        inside = [
            path
            for path in order
            if (path.rpartition("/")[0] if path in streams else "") == folder
        ]
        return sorted(inside, key=lambda path: (len(last(path)), last(path).upper()))

    def last(path: str) -> str:
        return path.rpartition("/")[2]

    def first(folder: str) -> int:
        found = siblings(folder)
        return number[found[0]] if found else NONE

    rights = {}
    for folder in ("", *folders):
        group = siblings(folder)
        for one, following in itertools.pairwise(group):
            rights[one] = number[following]
    directory = entry("Root Entry", 5, child=first(""), class_id=class_id)
    for path in order:
        right = rights.get(path, NONE)
        if path in streams:
            start, size = placed[path]
            directory += entry(last(path), 2, right=right, start=start, size=size)
        else:
            directory += entry(path, 1, right=right, child=first(path))
    directory = directory.ljust(-(-len(directory) // SECTOR) * SECTOR, b"\0")
    directory_start = len(fat)
    sectors = len(directory) // SECTOR
    fat += [*range(len(fat) + 1, len(fat) + sectors), END]
    fat_sector = len(fat)
    fat.append(FAT)
    assert len(fat) <= 128, "one sector of the allocation table is all there is"
    fat += [FREE] * (128 - len(fat))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, directory_start, 0, LEAST, END, 0, END, 0)
    header += struct.pack("<109I", fat_sector, *[FREE] * 108)
    return header + data + directory + struct.pack("<128I", *fat)
