"""``python -m smtpguard``: the same as the command ``smtpguard``."""

from __future__ import annotations

import sys

from smtpguard.cli import main


if __name__ == "__main__":
    sys.exit(main())
