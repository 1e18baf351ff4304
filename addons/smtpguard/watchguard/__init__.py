"""From the SMTP proxy of a WatchGuard Firebox to a rule file (contract 10, ``import``).

``fireware`` reads the configuration, ``conversion`` says what it means here, and
``rulefile`` writes it down. Pure: octets in, text out.
"""

from smtpguard.watchguard.conversion import converted
from smtpguard.watchguard.fireware import SmtpAction, read_actions
from smtpguard.watchguard.lists import Remark


__all__ = ["Remark", "SmtpAction", "converted", "read_actions"]
