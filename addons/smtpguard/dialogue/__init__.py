"""The SMTP dialogue between two legs, as a pure state machine (contract 3).

``Dialogue`` takes ``events`` and returns ``effects``; it reads no socket and no clock.
``proxy`` runs it inside mitmproxy, ``replay`` and the tests run it in memory.
"""

from __future__ import annotations

from smtpguard.dialogue.engine import Dialogue
from smtpguard.dialogue.record import TransactionRecord
from smtpguard.dialogue.transaction import Transaction


__all__ = ["Dialogue", "Transaction", "TransactionRecord"]
