import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tidewire import __version__
from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.cli.extras import import_server_part
from tidewire.cli.find_server import Target, find_target
from tidewire.cli.main import COMMANDS, group
from tidewire.core.errors import SetupError
from tidewire.server.ready_file import FOLDER_NAME, ReadyRecord, write_record

TIDEWIRE = Path(sys.executable).with_name("tidewire")
SECRET = "s" * 40


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TIDEWIRE, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


@pytest.fixture
def running_folder(tmp_path: Path) -> Path:
    folder = tmp_path / ".tidewire"
    folder.mkdir()
    url = "http://127.0.0.1:4000"
    record = ReadyRecord(url, "anon", "service", SECRET, "db", url, "v", os.getpid())
    write_record(record, folder / FOLDER_NAME)
    return folder


def test_version_is_told() -> None:
    result = CliRunner().invoke(group, ["--version"])
    assert result.output == f"tidewire {__version__}\n"


def test_help_names_every_command_and_imports_none(tmp_path: Path) -> None:
    program = (
        "import sys; from click.testing import CliRunner; from tidewire.cli.main import group;"
        "print(CliRunner().invoke(group, ['--help']).output);"
        "print([m for m in sys.modules if m.startswith(('tidewire.server', 'tidewire.client',"
        " 'tidewire.cli.')) and m != 'tidewire.cli.main'])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=True
    ).stdout
    assert all(name in out for name in COMMANDS)
    assert out.rstrip().endswith("[]")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0
    assert CliRunner().invoke(command, ["--no-such-flag"]).exit_code == 2


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(group, ["dance"]).exit_code == 2


def test_an_unknown_setting_is_told_without_a_traceback(tmp_path: Path) -> None:
    result = run("serve", cwd=tmp_path, TIDEWIRE_SERVER__PROT="1")
    assert result.returncode == 1
    assert result.stderr == (
        "error: Unknown setting server.prot (in the environment).\n"
        "Did you mean TIDEWIRE_SERVER__PORT?\n"
    )


def test_a_client_command_without_a_server_says_what_to_do(tmp_path: Path) -> None:
    result = run("tail", "trips", cwd=tmp_path)
    assert result.returncode == 1
    assert "No server is running" in result.stderr
    assert "tidewire serve" in result.stderr


def test_a_running_server_is_found_through_its_folder(running_folder: Path) -> None:
    assert find_target(None, None, running_folder) == Target("http://127.0.0.1:4000", "service")
    assert find_target(None, "anon", running_folder).key == "anon"


def test_an_address_without_a_key_is_refused(running_folder: Path) -> None:
    with pytest.raises(SetupError, match="without --key"):
        find_target("http://elsewhere", None, running_folder)


def test_a_record_of_a_dead_server_counts_for_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=10)
    record = ReadyRecord("u", "a", "s", SECRET, "db", "u", "v", process.pid)
    write_record(record, tmp_path / FOLDER_NAME)
    with pytest.raises(SetupError, match="No server is running"):
        find_target(None, None, tmp_path)


def test_a_token_speaks_for_its_role_with_its_claims(running_folder: Path) -> None:
    result = run(
        "token", "--role", "authenticated", "--sub", "u1", "--claim", "org=7",
        "--claim", "team=sales", "--expires-in", "30d", cwd=running_folder.parent,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    claims = JwtVerifier(SECRET).verify(result.stdout.strip(), now_s=0)
    assert claims.role == "authenticated"
    assert claims.values["sub"] == "u1"
    assert claims.values["org"] == 7
    assert claims.values["team"] == "sales"
    assert claims.values["exp"] - claims.values["iat"] == 30 * 86400


@pytest.mark.parametrize("kind", ["publishable", "secret"])
def test_the_opaque_keys_of_a_data_folder_are_printed(tmp_path: Path, kind: str) -> None:
    missing = run("token", "--api-key", kind, cwd=tmp_path)
    assert missing.returncode == 1
    assert "no keys yet" in missing.stderr
    (tmp_path / ".tidewire").mkdir()
    (tmp_path / ".tidewire" / f"{kind}_key").write_text("r" * 43)
    result = run("token", "--api-key", kind, cwd=tmp_path)
    assert result.stdout.strip() == f"sb_{kind}_" + "r" * 43
    key = f"sb_{kind}_{'s' * 30}"
    name = f"TIDEWIRE_AUTH__{kind.upper()}_KEYS"
    result = run("token", "--api-key", kind, cwd=tmp_path, **{name: f'{{"mine":"{key}"}}'})
    assert result.stdout.strip() == key


def test_a_token_needs_no_server_when_the_secret_is_set(tmp_path: Path) -> None:
    result = run("token", "--role", "anon", cwd=tmp_path, TIDEWIRE_AUTH__JWT_SECRET="t" * 40)
    assert JwtVerifier("t" * 40).verify(result.stdout.strip(), now_s=0).role == "anon"


@pytest.mark.parametrize(
    "arguments", [("--expires-in", "soon"), ("--expires-in", "0h"), ("--claim", "alone")]
)
def test_a_bad_token_flag_is_wrong_usage(running_folder: Path, arguments: tuple[str, str]) -> None:
    assert run("token", *arguments, cwd=running_folder.parent).returncode == 2


def test_without_the_server_part_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [name for name in sys.modules if name.startswith("tidewire.server.listen")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SetupError, match="server part") as caught:
        import_server_part("tidewire.server.listen", command="serve")
    assert "tidewire[server]" in caught.value.advice


def test_json_lines_of_the_record_are_whole(running_folder: Path) -> None:
    assert json.loads((running_folder / FOLDER_NAME).read_text())["pid"] == os.getpid()
