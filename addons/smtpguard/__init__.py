"""smtpguard: an SMTP gateway with TLS deep inspection, as a mitmproxy addon.

The package is built in floors; a module imports only from floors below its own
(checked by import-linter, see ``pyproject.toml``):

======  ================================================================
floor   what stands there
======  ================================================================
8       ``cli``, ``unlockcommand``, ``quarantinecommand``,
        ``blockcommand``: arguments and printing
7       ``demo``, ``supervisor`` (several ``workers``), ``inspecting``,
        ``unlocking``: whole programs; ``quarantineshown``
6       ``addon``: wires rules, hooks and options together
5       ``replay``: recorded sessions through the dialogue, without a
        network; ``contentview``: a session as mitmweb shows it;
        ``saving``: sessions into their file
4       ``proxy``: mitmproxy's layers, hooks, flows and TLS around the
        dialogue; ``options``, ``loading``, ``nameservice`` (DNS): what
        comes from outside; ``terminal``, ``console``, ``wholefile``,
        ``ports``, ``tlscontext``: what they share; ``unpacking``:
        archives entered, in processes of their own; ``blocking``:
        clients that are refused for a time
3       ``pipeline``: message and envelope facts -> rules -> disposition,
        with ``looking`` (what parts hold), ``editing``, ``reporting`` and
        ``dkim`` (signatures verified, told before an edit);
        ``quarantine``: what is kept, and its release
2       ``dialogue`` (two SMTP legs, one state machine), ``policy`` (rules),
        ``inspection`` (what contents are, by their octets)
1       ``wire`` (SMTP grammar and framing), ``mime`` (messages as spans)
0       ``locking`` (containers of locked parts); ``model``, ``errors``:
        the nouns everybody shares
======  ================================================================

Floors 0 to 3 but ``quarantine`` are pure: no mitmproxy, no asyncio, no sockets, no
clock. Time comes in as a number with each event, octets come in and go out as
``bytes``. ``locking.unlock`` alone has a command in it: it is one file for a PC without
smtpguard.

"contract 3" in a docstring is section 3 of ``docs/contract.md``, "attacks F1" a row of
``docs/attacks.md``, "traps 4" a section of ``docs/mitmproxy.md``.
"""

__version__ = "0.1.0"
