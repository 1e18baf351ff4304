from __future__ import annotations

from smtpguard.model.problem import Problem


def test_problem_is_one_line_that_names_its_place() -> None:
    problem = Problem("rules/a.yaml", 14, 11, 'unknown action "stip"', "unknown-action")
    assert str(problem) == (
        'rules/a.yaml:14:11: error: unknown action "stip" [unknown-action]'
    )


def test_problems_sort_by_file_line_and_column() -> None:
    places = [("b", 1, 1), ("a", 2, 1), ("a", 1, 9), ("a", 1, 2)]
    problems = sorted(Problem(*place, "text", "slug") for place in places)
    found = [(one.file, one.line, one.column) for one in problems]
    assert found == [("a", 1, 2), ("a", 1, 9), ("a", 2, 1), ("b", 1, 1)]
