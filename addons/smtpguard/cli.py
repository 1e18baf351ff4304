"""The command line: ``smtpguard demo | run | check | inspect | replay | unlock ...``.

Exit status 0: fine; 1: a finding (a message is refused, a rule file is wrong, an
outcome is not the expected one, a container does not verify); 2: usage, something that
could not be read or written, or a gateway that cannot start. Owns arguments and
printing; ``unlock``, ``quarantine``, ``blocked`` and ``import`` have modules of their
own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smtpguard import (
    __version__,
    blockcommand,
    importcommand,
    quarantinecommand,
    unlockcommand,
)
from smtpguard.arguments import Once, path
from smtpguard.errors import RulesError, SmtpGuardError, os_text
from smtpguard.loading import check_rules, default_rules, load_pipeline
from smtpguard.policy.files import must_be_file
from smtpguard.terminal import visible


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from smtpguard.mailfiles import Unreadable
    from smtpguard.model.problem import Problem
    from smtpguard.replay.run import Replayed


FINE, FINDING, USAGE = 0, 1, 2
INTERRUPTED, NOT_READ = 130, 141
"""As a shell would report SIGINT and SIGPIPE."""
_STATUSES = (
    "exit status: 0 fine; 1 a finding (a message was refused, a rule file is wrong, an "
    "outcome is not the expected one, a container does not verify); 2 usage, something "
    "that could not be read or written, or a gateway that cannot start"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    _print_anything()
    arguments = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        status = command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough; the rest goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_READ
    except RulesError as error:
        print(*map(_line, error.problems), sep="\n", file=sys.stderr)
        return _status(error.problems)
    except (SmtpGuardError, OSError) as error:
        # Of several lines where it shows the log of a gateway that did not start.
        lines = f"smtpguard: {error}".split("\n")
        print(*map(visible, lines), sep="\n", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _print_anything() -> None:
    """Escape what the terminal has no character for, in file names above all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="smtpguard",
        description="SMTP gateway with TLS deep inspection",
        epilog=_STATUSES,
    )
    top.add_argument("--version", action="version", version=f"smtpguard {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_run(commands)
    _add_check(commands)
    _add_inspect(commands)
    _add_replay(commands)
    unlock = commands.add_parser("unlock", help="get locked parts back (.clk files)")
    unlockcommand.add_arguments(unlock)
    quarantinecommand.add_command(commands)
    blockcommand.add_commands(commands)
    importcommand.add_command(commands)
    return top


type _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def _add_rules(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--rules",
        metavar="FILE",
        default=str(default_rules()),
        action=Once,
        help="rule file (default: the rules/default.yaml that comes with smtpguard)",
    )


# -- demo, run -----------------------------------------------------------------------


def _add_demo(commands: _Commands) -> None:
    command = commands.add_parser(
        "demo", help="send telling mails through a gateway on this machine"
    )
    command.add_argument(
        "--web", action="store_true", help="use mitmweb and keep it open for a look"
    )
    command.add_argument("--json", action="store_true", help="one line a message")
    command.set_defaults(command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from smtpguard.demo import run_demo  # noqa: PLC0415 - aiosmtpd is needed only here

    return FINE if run_demo(web=arguments.web, as_json=arguments.json) else FINDING


def _add_run(commands: _Commands) -> None:
    command = commands.add_parser(
        "run", help="run the gateway in a lean mitmproxy, without a script watcher"
    )
    _add_rules(command)
    command.add_argument(
        "--mode",
        action="append",
        required=True,
        metavar="MODE",
        help="as mitmdump's: reverse:tcp://mx.example:25@2525, transparent ...",
    )
    command.add_argument(
        "--listen-host",
        metavar="HOST",
        help="default: the loopback; in transparent mode every address",
    )
    command.add_argument("--listen-port", metavar="PORT", type=int)
    command.add_argument("--confdir", metavar="DIR", help="where the CA lies")
    command.add_argument("-w", "--save", metavar="FILE", help="record sessions here")
    command.add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=1,
        help="processes side by side on the same ports; 0: one for each processor",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="any option of mitmproxy or smtpguard",
    )
    command.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from smtpguard.supervisor import run_workers  # noqa: PLC0415 - starts mitmproxy
    from smtpguard.workers import Setup  # noqa: PLC0415

    setup = Setup(
        rules=arguments.rules,
        modes=tuple(arguments.mode),
        listen_host=arguments.listen_host,
        listen_port=arguments.listen_port,
        confdir=arguments.confdir,
        save=arguments.save,
        options=tuple(arguments.set),
    )
    try:
        is_recorded = run_workers(setup, arguments.workers)
    except SystemExit:  # the gateway's own 1 is no finding
        return USAGE
    return FINE if is_recorded else USAGE


# -- check ---------------------------------------------------------------------------


def _add_check(commands: _Commands) -> None:
    command = commands.add_parser("check", help="say everything wrong with rule files")
    command.add_argument(
        "files", nargs="*", metavar="FILE", help="default: as for --rules elsewhere"
    )
    command.add_argument("--json", action="store_true", help="one object a problem")
    command.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    status = FINE
    for file in arguments.files or [str(default_rules())]:
        problems = check_rules(file)
        counts = Counter(problem.severity for problem in problems)
        if counts["error"]:
            status = max(status, _status(problems))
        if arguments.json:
            for problem in problems:
                print(json.dumps(_problem_record(problem)))
            continue
        for problem in problems:
            print(_line(problem))
        told = [_counted(counts[kind], kind) for kind in counts]
        print(f"{visible(file)}: {', '.join(told) or 'fine'}")
    return status


def _line(problem: Problem) -> str:
    return visible(str(problem))


def _status(problems: Iterable[Problem]) -> int:
    """Return 2 where the rule file itself cannot be read, 1 where it is wrong.

    What a rule file names and is not there is wrong in that rule file.
    """
    unread = (problem for problem in problems if problem.slug == "cannot-read")
    return FINDING if all(_is_readable(problem.file) for problem in unread) else USAGE


def _is_readable(file: str) -> bool:
    try:
        must_be_file(file)
        Path(file).open("rb").close()
    except (OSError, ValueError):
        return False
    return True


def _problem_record(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "severity": problem.severity,
        "slug": problem.slug,
        "text": problem.text,
    }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# -- inspect, replay -----------------------------------------------------------------


def _add_inspect(commands: _Commands) -> None:
    command = commands.add_parser(
        "inspect", help="say what the rules would do with message files"
    )
    command.add_argument(
        "paths", nargs="+", metavar="PATH", type=path, help="file, folder or mbox file"
    )
    _add_rules(command)
    once = partial(command.add_argument, action=Once)
    once("--policy", metavar="NAME", help="where several would match")
    once("--mail-from", metavar="ADDRESS", help="'<>' is the null reverse-path")
    command.add_argument("--rcpt-to", metavar="ADDRESS", action="append", default=[])
    once("--client-ip", metavar="IP", default="192.0.2.1", help="default: %(default)s")
    once("--helo", metavar="NAME", help="how the client greets; else not asked about")
    command.add_argument("--authenticated", action="store_true")
    command.add_argument("--tls", action="store_true", help="the client's leg has TLS")
    command.add_argument(
        "--raw", action="store_true", help="leave the octets of files as they are"
    )
    command.add_argument("--json", action="store_true", help="one line a message")
    command.add_argument(
        "--explain", action="store_true", help="tell each rule that was tried"
    )
    once(
        "--output", metavar="DIR", type=path, help="write what would go upstream there"
    )
    command.set_defaults(command=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    from smtpguard.inspecting import Inspector, Question  # noqa: PLC0415
    from smtpguard.mailfiles import Unreadable  # noqa: PLC0415

    question = Question(
        mail_from=arguments.mail_from,
        rcpt_to=tuple(arguments.rcpt_to),
        client_ip=arguments.client_ip,
        helo=arguments.helo,
        authenticated=arguments.authenticated,
        tls=arguments.tls,
        policy=arguments.policy,
        raw=arguments.raw,
    )
    status = FINE
    inspector = Inspector(load_pipeline(arguments.rules), question)
    for result in inspector.paths(arguments.paths):
        if isinstance(result, Unreadable):
            status = _complain(result)
            continue
        if not result.passed:
            status = max(status, FINDING)
        if arguments.json:
            print(json.dumps(result.to_json(explain=arguments.explain)))
        else:
            print(result.line())
            if arguments.explain:
                print(*result.explanation(), sep="\n")
        if arguments.output is not None:
            try:
                result.write(arguments.output)
            except OSError as error:
                status = _complain(os_text(error))
    return status


def _complain(problem: Unreadable | Exception | str) -> int:
    """Tell what could not be done; the run goes on, and ends with this status."""
    print(visible(f"smtpguard: {problem}"), file=sys.stderr)
    return USAGE


def _add_replay(commands: _Commands) -> None:
    command = commands.add_parser(
        "replay", help="send recorded sessions through the rules, without a network"
    )
    command.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        type=Path,
        help="recorded by -w, or a dialogue script (.smtp)",
    )
    _add_rules(command)
    command.add_argument("--json", action="store_true", help="one line a transaction")
    command.add_argument(
        "--explain", action="store_true", help="tell each rule that was tried"
    )
    command.set_defaults(command=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    status = FINE
    for result in _replayed(arguments):
        if isinstance(result, Exception):
            status = _complain(result)
            continue
        if result.record.get("error"):
            status = USAGE
        elif not result.passed:
            status = max(status, FINDING)
        if arguments.json:
            print(json.dumps(result.to_json(explain=arguments.explain)))
            continue
        print(result.line())
        if arguments.explain:
            print(*result.explanation(), sep="\n")
    return status


def _replayed(arguments: argparse.Namespace) -> Iterator[Replayed | Exception]:
    """Yield what becomes of each transaction; a bad file does not end the run."""
    from smtpguard.replay.run import replay_files  # noqa: PLC0415

    pipeline = load_pipeline(arguments.rules)
    for file in arguments.files:
        try:
            yield from replay_files([file], pipeline)
        except (SmtpGuardError, OSError) as error:
            yield error
