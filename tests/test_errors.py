from __future__ import annotations

from smtpguard import errors
from smtpguard.model.problem import Problem
from smtpguard.model.reply import Reply


def test_protocol_error_carries_what_to_answer_and_whether_to_go_on() -> None:
    refused = Reply.make(501, "5.5.4", "Syntax")
    error = errors.ProtocolError("bad path", refused)
    assert (str(error), error.reply, error.closes) == ("bad path", refused, False)
    assert errors.ProtocolError("noise", refused, closes=True).closes


def test_rules_error_shows_every_problem_on_a_line_of_its_own() -> None:
    problems = tuple(Problem("r.yaml", n, 1, f"fault {n}", "slug") for n in (1, 2))
    error = errors.RulesError(problems)
    assert str(error).splitlines() == [str(problem) for problem in problems]
    assert error.problems == problems


def test_whatever_is_raised_on_purpose_has_one_base() -> None:
    kinds = (errors.ProtocolError, errors.RulesError, errors.ReplayError)
    assert all(issubclass(kind, errors.SmtpGuardError) for kind in kinds)


def test_an_error_of_the_system_is_told_in_words_and_with_its_place() -> None:
    full = OSError(28, "No space left on device", "/var/tmp")
    assert errors.os_text(full) == "No space left on device (/var/tmp)"
    assert errors.os_text(OSError(21, "Is a directory")) == "Is a directory"
    assert errors.os_text(OSError("shorter than it was")) == "shorter than it was"
