"""Scanners: who is asked whether octets are a virus, or a message spam (contract 7).

A new scanner is one module with a class like those here, and one row of
``stations.MAKERS``. Nothing of a scanner is believed that is not a whole, well-formed
answer; everything else is a verdict of its own kind, and never ``clean``.
"""
