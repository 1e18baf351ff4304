"""Sessions without a network: recordings and scripts through dialogue and rules.

Tests, ``smtpguard replay`` and dialogue scripts use the same functions.
"""
