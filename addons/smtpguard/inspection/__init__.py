"""What contents are and what they hold, by their octets alone.

``detect`` tells type and facts (``model.contents``): executable, macro, encrypted,
signed, archive. It looks, it does not unpack; opens no file, starts no process, never
raises and takes linear time. ``smtpguard.unpacking`` unpacks.
"""

from smtpguard.inspection.detect import detect


__all__ = ["detect"]
