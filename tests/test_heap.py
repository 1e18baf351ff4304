from __future__ import annotations

import subprocess
import sys


def test_what_a_large_message_took_goes_back_to_the_system() -> None:
    """In a process of its own: what malloc keeps depends on all that went before."""
    program = """if True:
        import sys
        from pathlib import Path
        from smtpguard.heap import settle_memory

        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

        if sys.argv[1] == "settled":
            settle_memory()
        bytearray(30 << 20)  # glibc learns from it to keep such pieces
        before = resident()
        pieces = [bytearray(4 << 20) for _ in range(8)]
        last = bytearray(1000)
        for piece in pieces:
            piece[::4096] = b"x" * 1024
        del piece, pieces
        print(resident() - before)
    """
    kept = {}
    for how in ("settled", "not"):
        command = [sys.executable, "-c", program, how]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        kept[how] = int(done.stdout)
    assert kept["settled"] < 1 << 20
    assert kept["not"] > 16 << 20, "it would not be needed"
