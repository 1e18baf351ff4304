"""Lock and unlock: the ``.clk`` container that a locked part becomes (contract 6).

``unlock`` reads containers: one file of standard library that can be carried to a PC
where nothing else is installed. ``container`` writes them, and is what the gateway uses
for both ways. ``encryption`` encrypts a payload for the administrator. The format
stands in ``docs/clk.md``, byte for byte.
"""
