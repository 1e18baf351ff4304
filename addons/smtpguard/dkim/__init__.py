"""DKIM signatures: verified over received octets, told of before an edit (RFC 6376).

Pure: keys come from a function that asks the DNS, time as a number. Linear in the
message, whatever it is made of, and no copy of its body is made.
"""

from smtpguard.dkim.authresults import forged_results, results_value
from smtpguard.dkim.coverage import is_covered
from smtpguard.dkim.result import Result
from smtpguard.dkim.verify import Answers, Ask, Verified, broken, is_signed, verify


__all__ = [
    "Answers",
    "Ask",
    "Result",
    "Verified",
    "broken",
    "forged_results",
    "is_covered",
    "is_signed",
    "results_value",
    "verify",
]
