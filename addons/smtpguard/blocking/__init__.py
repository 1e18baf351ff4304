"""Clients that are refused for a time (action ``block``, contract 5).

``memory`` holds them as files that all processes share, ``firewall`` tells nftables,
``folderblocker`` joins both for the gateway. None of it is a promise: what fails here
is logged, and the client is let in.
"""
