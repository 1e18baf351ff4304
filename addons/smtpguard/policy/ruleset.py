"""The rule set: everything that one rule file says, frozen.

The surface that ``pipeline`` talks to. A transaction keeps the rule set it began with,
so a reload never changes the rules in the middle of a mail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from smtpguard.model.addresses import network_of
from smtpguard.model.decision import Action
from smtpguard.model.settings import Settings, TrustedClient
from smtpguard.policy.addresses import AddressTest
from smtpguard.policy.dnsreader import DnsSettings
from smtpguard.policy.matching import AddressPatterns, TextPatterns
from smtpguard.policy.networks import NetworkSet, parse_host
from smtpguard.policy.parts import EVERY_FILE
from smtpguard.policy.patterns import TextTest
from smtpguard.policy.policies import Policy
from smtpguard.policy.problems import Mark
from smtpguard.policy.rules import Rule
from smtpguard.policy.truth import Truth


if TYPE_CHECKING:
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.problem import Problem
    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.model.session import SessionFacts
    from smtpguard.policy.blockreader import BlockSettings
    from smtpguard.policy.deliveryreader import DeliverySettings
    from smtpguard.policy.lists import ListSource
    from smtpguard.policy.quarantinereader import QuarantineSettings


@dataclass(frozen=True, slots=True)
class TrustedClients:
    """One entry of ``trusted_clients``."""

    networks: NetworkSet
    client: TrustedClient


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A rule file that has loaded."""

    policies: tuple[Policy, ...]
    """In order; the last has no ``when``."""
    domains: tuple[str, ...] = ()
    """Ours: lower case, A-labels."""
    trusted_clients: tuple[TrustedClients, ...] = ()
    warnings: tuple[Problem, ...] = ()
    digest: str = ""
    """SHA-256 over all files, in hexadecimal."""
    files: tuple[str, ...] = ()
    """Every file it was read from, as it was asked for: what to watch for a reload."""
    file_lists: tuple[ListSource, ...] = ()
    """Lists from files, for the next reload to compare with."""
    dns: DnsSettings = field(default_factory=DnsSettings)
    scanners: tuple[ScannerSpec, ...] = ()
    """Everybody that some policy asks."""
    quarantine: QuarantineSettings | None = None
    """None where the rules name none: nothing can be kept."""
    delivery: DeliverySettings | None = None
    """None: what is released goes to the upstream it was meant for."""
    block: BlockSettings | None = None
    """None where the rules name none: no client is blocked."""
    alarm: tuple[Mailbox, ...] = ()
    """Who is told when smtpguard cannot do its work."""

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        """Return what a peer must tell of the real client; None for everybody else."""
        host = parse_host(client[0])
        if host is None:
            return None
        return next(
            (one.client for one in self.trusted_clients if host in one.networks), None
        )

    def is_exempt(self, client: tuple[str, int]) -> bool:
        """Whether a client is never blocked: it speaks for others, the rules say so, or
        it told no address."""
        host = parse_host(client[0])
        exempt = self.block.exempt if self.block else ()
        return host is None or host in exempt or self.trusted(client) is not None

    def is_alone(self, address: str) -> bool:
        """Whether no client of the same network (``network_of``) is one that is never
        blocked."""
        network = ip_network(network_of(address))
        exempt = self.block.exempt if self.block else NetworkSet(())
        return not exempt.overlaps(network) and not any(
            one.networks.overlaps(network) for one in self.trusted_clients
        )

    def choose(self, session: SessionFacts) -> Policy:
        """Return the policy of a session, by source, destination, port and listener.

        Where it cannot be known whether a policy holds (XCLIENT told no address),
        the answer is a policy that tempfails everything.
        """
        for policy in self.policies:
            holds = Truth.YES if policy.when is None else policy.when.test(session)
            if holds is Truth.YES:
                return policy
            if holds is Truth.UNKNOWN:
                break
        return UNDECIDED_POLICY

    def named(self, name: str) -> Policy | None:
        """Return the policy of that name, or None."""
        return next((one for one in self.policies if one.name == name), None)


_NOWHERE = Mark("smtpguard")
_EVERY_TEXT = TextPatterns('"*"', (TextTest(everything=True),))
_EVERY_ADDRESS = AddressPatterns(("*",), '"*"', (AddressTest(everything=True),))

UNDECIDED_POLICY = Policy(
    "undecided",
    _NOWHERE,
    Settings(policy="undecided"),
    (),
    helo_rules=(Rule("helo:1", _NOWHERE, _EVERY_TEXT, Action.TEMPFAIL),),
    mail_from=(Rule("mail_from:1", _NOWHERE, _EVERY_ADDRESS, Action.TEMPFAIL),),
    rcpt_to=(Rule("rcpt_to:1", _NOWHERE, _EVERY_ADDRESS, Action.TEMPFAIL),),
    content_types=(Rule("content_types:1", _NOWHERE, EVERY_FILE, Action.TEMPFAIL),),
)
"""What a session gets whose policy cannot be known: nothing is accepted."""
