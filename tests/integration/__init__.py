"""Real servers and real clients around smtpguard; ``conftest.py`` has the fixtures."""
