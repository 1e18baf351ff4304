"""What smtpguard costs, beside plain mitmproxy and beside nothing, in one run.

``python -m benchmarks`` (``make bench``) compares speed, on the way and in reading;
``bombs``, ``linearity``, ``crowd``, ``soak`` and ``mitmweb`` are further modes of the
same harness. See ``run``.
"""
