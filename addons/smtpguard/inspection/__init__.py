"""What contents are, by their octets alone.

``detect`` tells type and facts (``model.contents``): executable, macro, encrypted,
signed, archive. It looks, it does not unpack; never raises, and takes linear time.
``containers`` tells which archives there are to be entered; that is done elsewhere, by
a process that may crash.
"""

from smtpguard.inspection.detect import detect


__all__ = ["detect"]
