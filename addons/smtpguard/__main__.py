"""The command ``smtpguard``, and ``python -m smtpguard``.

To import the rest takes most of a second: signals are seen to before.
"""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    is_gateway = sys.argv[1:2] == ["run"]
    if is_gateway:
        # It would end the gateway, which has its rules to read anyway.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    at_interrupt = signal.getsignal(signal.SIGINT)
    if at_interrupt is signal.default_int_handler:
        # Nothing to clean up yet; in the middle of an import a traceback is the best
        # that may come of an exception.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from smtpguard import cli  # noqa: PLC0415 - see above

    if not is_gateway:  # which imports mitmproxy first, and then takes it itself
        signal.signal(signal.SIGINT, at_interrupt)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
