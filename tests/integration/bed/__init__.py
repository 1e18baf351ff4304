"""The test bed: real peers, started in temporary folders and ended by their pid.

Knows nothing of smtpguard but its command line. Only ``need`` knows pytest, so that
``benchmarks`` can use the rest.
"""
