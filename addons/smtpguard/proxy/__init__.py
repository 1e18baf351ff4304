"""mitmproxy's floor: layers, hooks, TLS and transports around the dialogue.

The SMTP dialogue is pure and knows nothing of mitmproxy; everything here turns
mitmproxy's events into the dialogue's and the dialogue's effects into mitmproxy's
commands. From top to bottom of a connection's stack:

``entry``     takes a new client over before mitmproxy guesses what it speaks
``starttls``  two TLS layers that begin in clear (usable alone by other addons)
``layer``     the SMTP layer that drives one ``Dialogue``

Beside the stack: ``hooks`` (what other addons can hear), ``sentinel`` (refuses clients
while nobody judges their mail), ``registry`` (who is connected), ``tlspolicy`` and
``certificates`` (SSL contexts by the rules), ``pacing`` (the only file that touches
transports), ``spool`` (messages beyond memory), ``maillog`` and ``record``.
"""
