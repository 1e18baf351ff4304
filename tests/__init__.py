"""Tests: one file for each module, in the same place (see ``test_layout.py``)."""
