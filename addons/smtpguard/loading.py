"""Rule files from disk: the one place that says which, and reads them.

A rule file may name others (lists, includes) relative to itself; ``Ruleset.files``
tells which, so that whoever watches for changes watches them all.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, cast

from smtpguard import policy
from smtpguard.errors import RulesError, ScanError, os_text
from smtpguard.model.problem import Problem
from smtpguard.pipeline import Pipeline
from smtpguard.policy.files import read_file
from smtpguard.unpacking import Inspector


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.model.blocker import Blocker
    from smtpguard.model.keeper import Keeper
    from smtpguard.ownmail import OwnMail
    from smtpguard.policy import Ruleset
    from smtpguard.scanning import Scanners


SPOOL_OCTETS = 1024 * 1024
"""Of a part that is encrypted, which are kept in memory; a longer one goes to disk."""


class CertificatesError(RulesError):
    """Rules that name certificates of no use; ``files`` are those to be mended."""

    def __init__(self, problems: tuple[Problem, ...], files: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.files = files


def local_time() -> datetime:
    """Return the second that it is where this machine is, with its zone."""
    return _second(int(time.time()))


@lru_cache(maxsize=1)
def _second(since_1970: int) -> datetime:
    """Look the zone up once a second, not once a question."""
    return datetime.fromtimestamp(since_1970).astimezone()


def load_pipeline(
    path: str, own_name: str = "smtpguard.invalid", previous: Pipeline | None = None
) -> Pipeline:
    """Load a rule file with all it names. Raises RulesError with every problem.

    ``previous`` is what a reload replaces: a list that shrank too much is kept, and so
    are the processes that enter archives; none is started before it is needed.
    """
    old = previous.rules if previous is not None else None
    rules = policy.load(path, read_file, previous=old)
    return Pipeline(
        rules,
        local_time,
        own_name,
        Inspector() if previous is None else previous.inspector,
        seconds=time.monotonic,
        spool=_spool,
        scanners=_scanners(rules, previous),
    )


def _scanners(rules: Ruleset, previous: Pipeline | None) -> Scanners | None:
    """Return who asks the scanners of these rules; None where they name none.

    A reload keeps what is known of scanners that are as they were.
    """
    if previous is not None and previous.scanners is not None:
        return previous.scanners
    if not rules.scanners:
        return None
    # Here, since whoever names no scanner does without the libraries.
    from smtpguard.scanners.stations import Stations  # noqa: PLC0415

    return Stations()


def _spool() -> BinaryIO:
    return cast("BinaryIO", SpooledTemporaryFile(SPOOL_OCTETS))


def load_for_clients(
    path: str, own_name: str, previous: Pipeline | None = None, ciphers: str = ""
) -> Pipeline:
    """Load a rule file and read the certificates it names. Raises RulesError.

    For whoever serves clients: better at the start than at each client's handshake.
    This pipeline asks the DNS. ``ciphers`` are those that clients are offered, "" for
    OpenSSL's own choice.
    """
    pipeline = load_pipeline(path, own_name, previous)
    check_certificates(pipeline.rules, ciphers)
    if pipeline.scanners is not None:
        pipeline.scanners.keep(frozenset(pipeline.rules.scanners))
    # Here, since whoever serves nobody does without.
    from smtpguard.nameservice import ask_texts  # noqa: PLC0415

    asks = partial(ask_texts, pipeline.rules.dns)
    own_mail = _own_mail(pipeline.rules, previous)
    return replace(
        pipeline,
        ask=asks,
        keeper=_keeper(pipeline.rules, previous, own_mail),
        blocker=_blocker(pipeline.rules, previous),
        notifier=own_mail,
    )


def _own_mail(rules: Ruleset, previous: Pipeline | None) -> OwnMail | None:
    """Return who sends mail of ours as these rules say; None if they name no server."""
    if rules.delivery is None:
        return None
    # Here, since who sends nothing does without the libraries.
    from smtpguard.ownmail import OwnMail  # noqa: PLC0415

    known = previous.notifier if previous else None
    if isinstance(known, OwnMail) and known.is_for(rules.delivery, rules.alarm):
        return known
    return OwnMail(rules.delivery, local_time, rules.alarm)


def _keeper(
    rules: Ruleset, previous: Pipeline | None, own_mail: OwnMail | None
) -> Keeper | None:
    """Return who keeps what these rules put into quarantine; None if they name none."""
    settings = rules.quarantine
    if settings is None:
        return None
    # Here, since who keeps nothing does without a database.
    from smtpguard.keeping import FolderKeeper  # noqa: PLC0415

    known = previous.keeper if previous else None
    if isinstance(known, FolderKeeper) and known.is_for(settings, own_mail):
        return known
    keeper = FolderKeeper(settings, local_time, own_mail)
    keeper.start()
    return keeper


def _blocker(rules: Ruleset, previous: Pipeline | None) -> Blocker | None:
    """Return who refuses clients as these rules say; None if they name no memory."""
    if rules.block is None:
        return None
    # Here, since who blocks nobody does without programs and threads.
    from smtpguard.blocking.folderblocker import FolderBlocker  # noqa: PLC0415

    known = previous.blocker if previous else None
    if isinstance(known, FolderBlocker) and known.settings == rules.block:
        return known
    blocker = FolderBlocker(rules.block)
    blocker.start()
    return blocker


def check_rules(path: str) -> tuple[Problem, ...]:
    """Return every error of a rule file, or its warnings where it has none."""
    try:
        ruleset = policy.load(path, read_file)
        check_certificates(ruleset)
    except RulesError as error:
        return error.problems
    faults = (*_faulty_scanners(ruleset), *_faulty_files(ruleset))
    return faults or ruleset.warnings


def _faulty_scanners(ruleset: Ruleset) -> Iterator[Problem]:
    """Yield what is wrong with rules of YARA that these rules name."""
    tables = [one.antivirus for one in ruleset.policies]
    named = {spec: table for table in tables if table for spec in table.scanners}
    for spec, table in named.items():
        if spec.type != "yara" or not spec.rules or table.mark is None:
            continue
        # Here, since who names none does without the library.
        from smtpguard.scanners.yarachild import Rules  # noqa: PLC0415

        try:
            Rules(spec.rules).now()
        except ScanError as error:
            mark, text = table.mark, f"scanner {spec.name}: {error}"
            yield Problem(mark.file, mark.line, mark.column, text, "cannot-read")


def _faulty_files(ruleset: Ruleset) -> Iterator[Problem]:
    """Yield which files of ``delivery`` cannot be read, as each mail would find."""
    delivery = ruleset.delivery
    if delivery is None or delivery.mark is None:
        return
    for key, file in (("ca", delivery.ca), ("password_file", delivery.password_file)):
        try:
            if file:
                Path(file).read_bytes()
        except OSError as error:
            mark, text = delivery.mark, f"delivery.{key}: {os_text(error)}"
            yield Problem(mark.file, mark.line, mark.column, text, "cannot-read")


def check_certificates(ruleset: Ruleset, ciphers: str = "") -> None:
    """Read every certificate that is named, as a handshake would.

    Raises CertificatesError for those of no use.
    """
    named = [(one, one.settings.client_tls) for one in ruleset.policies]
    named = [(one, wanted) for one, wanted in named if wanted.certificate]
    if not named:
        return
    # Here, since it takes longer than all the rest.
    from smtpguard import tlscontext  # noqa: PLC0415

    problems, files = [], []
    for one, wanted in named:
        mark, least = one.mark, wanted.min_version
        kind = tlscontext.ContextKind(server=True, min_version=least, ciphers=ciphers)
        for _, file in wanted.certificate:
            try:
                tlscontext.with_certificate(file, kind)
            except tlscontext.UnusableError as error:
                text = f"policy {one.name}: cannot use the certificate {file}: {error}"
                problems.append(
                    Problem(mark.file, mark.line, mark.column, text, "cannot-read")
                )
                files.append(file)
    if problems:
        raise CertificatesError(tuple(problems), tuple(files))


def default_rules() -> Path:
    """Return the ``default.yaml`` that comes with smtpguard.

    In the wheel it lies in the package, in a working copy beside ``addons``.
    """
    package = Path(__file__).parent
    packed = package / "rules" / "default.yaml"
    return packed if packed.is_file() else package.parents[1] / "rules" / "default.yaml"
