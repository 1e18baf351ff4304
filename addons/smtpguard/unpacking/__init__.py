"""What archives hold, looked at in isolated processes.

``Inspector`` is what others use. ``inspection`` tells what octets are and where an
archive begins; here archives are entered, by readers of our own and by libarchive,
which is C: ``child`` runs them, ``pool`` keeps children, ``protocol`` is what they
speak.
"""

from smtpguard.unpacking.inspector import Inspector


__all__ = ["Inspector"]
