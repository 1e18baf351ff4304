"""Entry script: ``mitmdump -s addons/smtpguard.py --set smtpguard_rules=FILE``."""

# Not circular: mitmproxy loads this file under a name of its own and puts this folder
# on sys.path, where the package smtpguard/ comes before a module of the same name.
from smtpguard.addon import SmtpGuard


addons = [SmtpGuard()]
