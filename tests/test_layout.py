"""The shape of the repository: what stands where, how long, under which name."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "addons" / "smtpguard"
MODULES = sorted(PACKAGE.rglob("*.py"))
BY_NAME = [str(path.relative_to(PACKAGE)) for path in MODULES]

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

# Module -> why no file of tests bears its name.
TESTED_ELSEWHERE = {
    "__main__.py": "tests/test_cli.py runs it",
    "mime/openentity.py": "fields alone; tests/mime/test_parser.py fills them",
}

# import-linter sees what these floors import; these need no import.
PURE = ("model", "errors", "wire", "mime", "dialogue", "policy", "locking")
# The reader and a command in one file, for the isolated PC.
NOT_PURE = "locking/unlock.py"
IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "__import__"}
CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

# What is not ours or not committed.
SKIPPED_FOLDERS = re.compile(r"\.(?!ci$)|__pycache__$|dist$|htmlcov$|.*\.egg-info$")

# Taken apart, so that this file does not find itself.
HOSTS = (
    "py" + "pi.org",
    "python" + "hosted.org",
    "registry." + "npmjs.org",
    "debian" + ".org",
    "golang" + ".org",
    "crates" + ".io",
)
MACHINE_PATH = re.compile(
    r"(?<![\w.~>)}-])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me")) + r")/"
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def project_files(folder: Path = ROOT) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if not SKIPPED_FOLDERS.match(path.name):
                found += project_files(path)
        elif path.suffix not in {".pem", ".key", ".pyc"}:
            found.append(path)
    return found


def functions(module: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(module) if isinstance(node, kinds)]


def has_logic(module: ast.Module) -> bool:
    """Whether any function does something: values and protocols have none that do."""
    return any(
        not all(
            isinstance(statement, ast.Pass)
            or (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
            )
            for statement in function.body
        )
        for function in functions(module)
    )


def test_addons_holds_the_script_and_the_package_alone() -> None:
    """mitmproxy leaves the folder on sys.path: each name in it can be imported."""
    names = {path.name for path in (ROOT / "addons").iterdir()}
    assert names - {"__pycache__"} == {"smtpguard", "smtpguard.py"}


def test_no_module_bears_the_name_of_one_in_the_standard_library() -> None:
    names = {path.stem for path in PACKAGE.iterdir()} - {"__init__", "__main__"}
    assert names & sys.stdlib_module_names == set()


def test_packages_are_one_level_deep() -> None:
    assert [name for name in BY_NAME if name.count("/") > 1] == []


def test_there_is_no_utils_module() -> None:
    catch_alls = {"utils", "util", "helpers", "common", "misc"}
    assert [path for path in MODULES if path.stem in catch_alls] == []


@pytest.mark.parametrize("path", MODULES, ids=BY_NAME)
def test_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


@pytest.mark.parametrize("path", MODULES, ids=BY_NAME)
def test_module_is_short_enough_to_be_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    long = [
        f"{function.name}: {function.end_lineno - function.lineno + 1} lines"
        for function in functions(parsed(path))
        if function.end_lineno is not None
        and function.end_lineno - function.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


def impure_calls(module: ast.Module) -> list[str]:
    called = (
        (ast.unparse(node.func), node.lineno)
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
    )
    return [
        f"line {line}: {name}"
        for name, line in called
        if name in IMPURE_CALLS or ".".join(name.split(".")[-2:]) in CLOCKS
    ]


def test_pure_floors_open_no_file_and_read_no_clock() -> None:
    found = {
        str(path.relative_to(PACKAGE)): calls
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in PURE
        and path != PACKAGE / NOT_PURE
        and (calls := impure_calls(parsed(path)))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ["open('x')", "datetime.now(tz=UTC)", "datetime.date.today()", "print(1)"],
)
def test_an_impure_call_is_seen(text: str) -> None:
    assert impure_calls(ast.parse(f"def f():\n    return {text}\n")) != []


@pytest.mark.parametrize("path", MODULES, ids=BY_NAME)
def test_module_has_its_own_file_of_tests(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    if name in TESTED_ELSEWHERE or not has_logic(parsed(path)):
        return
    mirror = ROOT / "tests" / Path(name).with_name(f"test_{path.name}")
    if path.name == "__init__.py":
        mirror = mirror.with_name(f"test_{path.parent.name}.py")
    assert mirror.is_file(), f"{mirror.relative_to(ROOT)} is missing"


def normal(name: str) -> str:
    """Return the one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {normal(re.split(r"[<>=]", one)[0]) for one in project["dependencies"]}


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    """What another package happens to bring may be gone with its next version."""
    imported = set()
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    distributions = packages_distributions()
    needed = {
        normal(distributions[name][0])
        for name in imported - sys.stdlib_module_names - {"smtpguard"}
    }
    assert declared() - needed == set()
    assert needed - declared() == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_what_is_declared_is_locked(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    locked = set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))
    assert declared() - locked == set()


def test_every_exception_from_the_mirror_is_needed() -> None:
    assert [
        name
        for name in TESTED_ELSEWHERE
        if not (PACKAGE / name).is_file()
        or (ROOT / "tests" / Path(name).with_name(f"test_{Path(name).name}")).is_file()
    ] == []


def test_no_file_names_a_registry_or_a_folder_of_some_machine() -> None:
    found = []
    for path in project_files():
        # Mails, scripts and recordings are octets: latin-1 reads any of them.
        for number, line in enumerate(path.read_text("latin-1").split("\n"), 1):
            if MACHINE_PATH.search(line) or any(host in line for host in HOSTS):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("see /wo" + "rk/main", True),
        ('path = "/ro' + 'ot/x"', True),
        ("cd ../wo" + "rk/x", False),
        ("~/ho" + "me/x", False),
        ("a net" + "work/mask", False),
    ],
    ids=["prose", "quoted", "relative", "under-home", "word"],
)
def test_a_folder_of_some_machine_is_told_from_others(
    line: str, *, caught: bool
) -> None:
    assert bool(MACHINE_PATH.search(line)) == caught


def test_there_is_one_kind_of_lock_file() -> None:
    """uv's own lock file names the host that each package came from."""
    locks = {path.name for path in ROOT.glob("*.lock")}
    assert locks == {
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-build.lock",
    }


@pytest.mark.parametrize(
    "name",
    ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"],
)
def test_every_locked_package_has_its_version_and_a_hash(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) >= 8
    bad = [
        entry.split("\n")[0]
        for entry in entries
        if not re.match(r"[a-z0-9-]+==\S+", entry) or "--hash=sha256:" not in entry
    ]
    assert bad == []


def test_what_is_released_is_locked_as_it_is_tested() -> None:
    locked = [
        set(re.findall(r"^([a-z0-9-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    ]
    assert locked[0] - locked[1] == set()
