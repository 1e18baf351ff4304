from __future__ import annotations

import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from smtpguard import __version__, loading
from smtpguard.errors import RulesError
from smtpguard.loading import (
    CertificatesError,
    check_rules,
    default_rules,
    load_for_clients,
    load_pipeline,
    local_time,
)
from smtpguard.options import rules_path
from tests.nameserver import NameServer
from tests.proxy.peers import make_authority


ROOT = Path(__file__).resolve().parent.parent
GOOD = """\
version: 1
domains: [own.test]
lists:
  staff: {file: staff.txt}
policies:
  - name: only
    identity: xclient
    rcpt_to:
      - {match: ["@staff", "postmaster@own.test"], action: allow}
      - {match: "*", action: deny}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(GOOD)
    (tmp_path / "staff.txt").write_text("a@own.test\nb@own.test\n")
    return tmp_path


def test_a_rule_file_is_loaded_with_the_files_it_names(folder: Path) -> None:
    pipeline = load_pipeline(str(folder / "rules.yaml"), "mx.test")
    assert pipeline.own_name == "mx.test"
    assert [Path(file).name for file in pipeline.rules.files] == [
        "rules.yaml",
        "staff.txt",
    ]


def test_a_broken_file_raises_with_every_problem(folder: Path) -> None:
    text = GOOD.replace("deny", "dney").replace("xclient", "xcleint")
    (folder / "rules.yaml").write_text(text)
    with pytest.raises(RulesError) as caught:
        load_pipeline(str(folder / "rules.yaml"))
    assert [problem.line for problem in caught.value.problems] == [7, 10]


def test_a_reload_keeps_a_list_that_shrank_too_much(folder: Path) -> None:
    (folder / "staff.txt").write_text(
        "".join(f"u{number}@own.test\n" for number in range(100))
    )
    old = load_pipeline(str(folder / "rules.yaml"))
    (folder / "staff.txt").write_text("u1@own.test\n")
    new = load_pipeline(str(folder / "rules.yaml"), previous=old)
    assert [problem.slug for problem in new.rules.warnings] == ["list-shrank"]
    assert [len(one.entries) for one in new.rules.file_lists] == [100]


def test_check_tells_errors_and_where_there_are_none_warnings(folder: Path) -> None:
    path = folder / "rules.yaml"
    assert check_rules(str(path)) == ()
    path.write_text(GOOD.replace("identity: xclient", "identity: none"))
    assert [(one.slug, one.severity) for one in check_rules(str(path))] == [
        ("no-identity", "warning")
    ]
    assert [one.slug for one in check_rules(str(folder / "none.yaml"))] == [
        "cannot-read"
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (
            "no certificate\n",
            "no certificate with its key in it (no start line, PEM lib)",
        ),
        ("WEAK", "ee key too small"),
    ],
)
def test_check_reads_the_certificates(
    folder: Path, content: str | None, why: str
) -> None:
    path, pem = folder / "rules.yaml", folder / "mx.pem"
    if content == "WEAK":
        key = rsa.generate_private_key(65537, 1024)
        make_authority(folder).issue("mx.own.test", file="mx.pem", key=key)
    elif content is not None:
        pem.write_text(content)
    tls = f"    tls: {{client: {{certificate: {pem}}}}}\n    rcpt_to:"
    path.write_text(GOOD.replace("    rcpt_to:", tls))
    (problem,) = check_rules(str(path))
    assert (problem.severity, problem.slug, problem.line) == ("error", "cannot-read", 6)
    assert problem.text == f"policy only: cannot use the certificate {pem}: {why}"
    # A replay serves nobody.
    assert load_pipeline(str(path)).rules.policies[0].name == "only"


def with_tls(folder: Path, tls: str) -> str:
    """Write rules with settings of the client's leg; return their path."""
    path = folder / "rules.yaml"
    lines = f"    tls: {{client: {{{tls}}}}}\n    rcpt_to:"
    path.write_text(GOOD.replace("    rcpt_to:", lines))
    return str(path)


@pytest.mark.parametrize(
    ("settings", "ciphers", "good"),
    [
        ("", "", False),
        (", min_version: '1.0'", "", True),
        ("", "DEFAULT:@SECLEVEL=0", True),
        (", min_version: '1.0'", "DEFAULT:@SECLEVEL=2", False),
    ],
)
def test_a_certificate_is_judged_as_its_handshakes_will_judge_it(
    folder: Path, settings: str, ciphers: str, good: bool
) -> None:
    """A weak key is taken where old versions are, which need the lowest level."""
    key = rsa.generate_private_key(65537, 1024)
    pem = make_authority(folder).issue("mx.own.test", key=key)
    path = with_tls(folder, f"certificate: {pem}{settings}")
    if good:
        load_for_clients(path, "mx.test", ciphers=ciphers)
    else:
        with pytest.raises(CertificatesError, match="ee key too small"):
            load_for_clients(path, "mx.test", ciphers=ciphers)


def test_who_serves_clients_asks_the_dns_as_the_rules_say(folder: Path) -> None:
    with NameServer({"a.test": b"text"}) as server:
        dns = f'dns: {{servers: ["127.0.0.1:{server.port}"]}}\npolicies:'
        text = GOOD.replace("policies:", dns)
        path = folder / "rules.yaml"
        path.write_text(text)
        pipeline = load_for_clients(str(path), "mx.test")
        assert pipeline.ask is not None
        assert pipeline.ask(["a.test"]) == {"a.test": (b"text",)}
    assert load_pipeline(str(path)).ask is None


def test_the_files_that_must_be_mended_are_told(folder: Path) -> None:
    good = make_authority(folder).issue("mx.own.test")
    named = f"[{{name: a.test, file: {good}}}, {{name: b.test, file: /none.pem}}]"
    with pytest.raises(CertificatesError) as caught:
        load_for_clients(with_tls(folder, f"certificate: {named}"), "mx.test")
    assert caught.value.files == ("/none.pem",)
    assert len(caught.value.problems) == 1


def test_rules_without_certificates_need_no_openssl(folder: Path) -> None:
    """It takes longer to import than to check the rules."""
    script = (
        "import sys; from smtpguard.loading import check_rules;"
        "print(check_rules(sys.argv[1]), 'OpenSSL' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "rules.yaml")],
        env={"PYTHONPATH": str(ROOT / "addons"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "() False\n"


def test_a_certificate_with_its_key_is_no_problem(folder: Path) -> None:
    path = folder / "rules.yaml"
    pem = make_authority(folder).issue("mx.own.test")
    tls = f"    tls: {{client: {{certificate: {pem}}}}}\n    rcpt_to:"
    path.write_text(GOOD.replace("    rcpt_to:", tls))
    assert check_rules(str(path)) == ()


def test_local_time_is_that_of_the_moment_and_has_a_zone() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    told = local_time()
    assert before <= told <= datetime.now(UTC)
    assert told.utcoffset() is not None


def test_local_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for second in (1_800_000_000.9, 1_800_000_001.1, 1_800_000_001.9):
        monkeypatch.setattr("time.time", lambda second=second: second)
        told.append(local_time().timestamp())
    assert told == [1_800_000_000, 1_800_000_001, 1_800_000_001]


def test_the_default_rules_of_a_working_copy_lie_beside_addons() -> None:
    assert default_rules() == ROOT / "rules" / "default.yaml"
    assert not [
        one for one in check_rules(str(default_rules())) if one.severity == "error"
    ]


def test_option_and_command_line_mean_the_same_default() -> None:
    assert rules_path("") == default_rules()


def test_the_default_rules_of_a_wheel_lie_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "smtpguard"
    (package / "rules").mkdir(parents=True)
    (package / "rules" / "default.yaml").write_text("version: 1\n")
    monkeypatch.setattr(loading, "__file__", str(package / "loading.py"))
    assert default_rules() == package / "rules" / "default.yaml"


def test_an_editable_install_copies_nothing(tmp_path: Path) -> None:
    """A copy of the rules would grow old, and be taken for part of the package."""
    build = "import sys, hatchling.build as b; print(b.build_editable(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("smtpguard-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "_smtpguard.pth",
        f"smtpguard-{__version__}.dist-info",
    }


@pytest.mark.slow
def test_the_wheel_has_the_package_with_the_rules_and_works(tmp_path: Path) -> None:
    """Built as an installer would, and run from the archive itself."""
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "-t",
            "wheel",
            "-d",
            str(tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("smtpguard-*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*")}
    assert "smtpguard/rules/default.yaml" in names
    assert "smtpguard/py.typed" in names
    assert "smtpguard.py" not in names
    checked = subprocess.run(
        [sys.executable, "-m", "smtpguard", "check"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(unpacked), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert str(unpacked / "smtpguard/rules/default.yaml") in checked.stdout


def test_check_compiles_the_rules_of_yara(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "version: 1\nscanners: {y: {type: yara, rules: own}}\npolicies:\n"
        "  - name: a\n    identity: xclient\n"
        '    rcpt_to: [{match: "*", action: deny}]\n'
        '    filenames: [{match: "*", action: scan}]\n'
        "    antivirus: {scanner: y}\n"
    )
    [missing] = check_rules(str(rules))
    assert (missing.line, missing.slug) == (8, "cannot-read")
    (tmp_path / "own").mkdir()
    source = tmp_path / "own" / "a.yar"
    source.write_text("rule a { condition: nothing }")
    [faulty] = check_rules(str(rules))
    assert f"scanner y: {source}:1:21: " in faulty.text
    source.write_text("rule a { condition: true }")
    assert check_rules(str(rules)) == ()


def with_block(folder: Path, more: str = "") -> str:
    path = folder / "rules.yaml"
    block = f"block: {{folder: blocked{more}}}\npolicies:"
    path.write_text(GOOD.replace("policies:", block))
    return str(path)


def test_who_serves_clients_remembers_whom_it_blocks(folder: Path) -> None:
    path = with_block(folder)
    assert load_pipeline(path).blocker is None
    first = load_for_clients(path, "mx.test")
    assert first.blocker is not None
    assert (folder / "blocked").is_dir()
    assert load_for_clients(path, "mx.test", first).blocker is first.blocker


def test_other_settings_have_another_memory_of_the_same_folder(folder: Path) -> None:
    first = load_for_clients(with_block(folder), "mx.test")
    second = load_for_clients(with_block(folder, ", time: 1h"), "mx.test", first)
    assert first.blocker is not None
    assert second.blocker is not None
    assert second.blocker is not first.blocker
    first.blocker.block("192.0.2.1", "r:1", "a.1", firewall=True)
    assert second.blocker.refusal("192.0.2.1")
    second.stop()
    first.stop()


def test_without_the_key_nobody_remembers(folder: Path) -> None:
    first = load_for_clients(with_block(folder), "mx.test")
    (folder / "rules.yaml").write_text(GOOD)
    path = str(folder / "rules.yaml")
    assert load_for_clients(path, "mx.test", first).blocker is None


def test_who_sends_mail_of_ours_is_kept_while_the_rules_say_the_same(
    folder: Path,
) -> None:
    path = folder / "rules.yaml"
    delivery = "delivery: {host: mx.test, from: guard@own.test}\n"
    path.write_text(
        GOOD.replace("lists:", f"{delivery}quarantine: {{folder: q}}\nlists:")
    )
    first = load_for_clients(str(path), "mx.test")
    second = load_for_clients(str(path), "mx.test", first)
    assert first.notifier is not None
    assert second.notifier is first.notifier
    assert second.keeper is first.keeper
    path.write_text(path.read_text().replace("mx.test", "other.test"))
    third = load_for_clients(str(path), "mx.test", second)
    assert third.notifier is not second.notifier
    # Copies that it keeps are to go where the rules say now.
    assert third.keeper is not second.keeper
    path.write_text(GOOD)
    fourth = load_for_clients(str(path), "mx.test", third)
    assert (fourth.notifier, fourth.keeper) == (None, None)


def test_check_tells_files_of_delivery_that_cannot_be_read(folder: Path) -> None:
    path = folder / "rules.yaml"
    delivery = "{host: mx.test, tls: tls, ca: ca.pem, user: gw, password_file: secret}"
    path.write_text(GOOD.replace("lists:", f"delivery: {delivery}\nlists:"))
    found = [str(one).removeprefix(f"{path}:") for one in check_rules(str(path))]
    assert found == [
        f"3:11: error: delivery.{key}: No such file or directory ({folder / name}) "
        "[cannot-read]"
        for key, name in (("ca", "ca.pem"), ("password_file", "secret"))
    ]
    (folder / "ca.pem").touch()
    (folder / "secret").touch()
    assert check_rules(str(path)) == ()
