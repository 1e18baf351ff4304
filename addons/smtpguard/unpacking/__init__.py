"""What archives hold, and the archives in them (contract 6).

``containers`` says which archives begin in some octets. ``pool`` has them entered in
isolated processes (``sandbox``), which alone call ``archives`` with its readers: in the
gateway's own process hostile octets meet no C library.
"""
