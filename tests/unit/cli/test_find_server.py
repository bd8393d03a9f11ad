from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tidewire.adapters.jwt.verifier import JwtVerifier
from tidewire.cli.find_server import Target, find_database_url, find_target
from tidewire.cli.main import group
from tidewire.core.errors import SetupError
from tidewire.server.ready_file import FOLDER_NAME, ReadyRecord, TenantRecord, write_record

SECRETS = {"acme": "a" * 16 + "0123456789abcdef", "blue": "b" * 16 + "0123456789abcdef"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tenants = {
        name: TenantRecord(
            f"http://{name}.localhost:4000",
            [],
            f"{name}-anon",
            f"{name}-service",
            secret,
            f"db-{name}",
        )
        for name, secret in SECRETS.items()
    }
    first = tenants["acme"]
    record = ReadyRecord(
        url="http://127.0.0.1:4000",
        anon_key=first.anon_key,
        service_role_key=first.service_role_key,
        jwt_secret=first.jwt_secret,
        database_url=first.database_url,
        dashboard_url="http://127.0.0.1:4000/",
        version="v",
        pid=os.getpid(),
        tenants=tenants,
    )
    write_record(record, tmp_path / FOLDER_NAME)
    return tmp_path


def test_without_a_name_the_first_tenant_is_meant(folder: Path) -> None:
    assert find_target(None, None, folder) == Target("http://127.0.0.1:4000", "acme-service")
    assert find_database_url(None, folder) == "db-acme"


def test_a_named_tenant_has_its_own_address_key_and_database(folder: Path) -> None:
    target = find_target(None, None, folder, "blue")
    assert target == Target("http://blue.localhost:4000", "blue-service")
    assert find_database_url(None, folder, "blue") == "db-blue"


def test_a_database_that_is_given_wins(folder: Path) -> None:
    assert find_database_url("given", folder, "blue") == "given"


def test_an_unknown_tenant_is_told_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(SetupError, match="no tenant green") as caught:
        find_target(None, None, folder, "green")
    assert "acme, blue" in caught.value.advice


@pytest.mark.parametrize("name", [*SECRETS])
def test_a_token_is_signed_for_its_tenant(folder: Path, name: str) -> None:
    result = CliRunner().invoke(
        group, ["token", "--tenant", name, "--data-dir", str(folder)], env={}
    )
    assert result.exit_code == 0, result.output
    claims = JwtVerifier(SECRETS[name]).verify(result.output.strip(), now_s=0)
    assert claims.role == "authenticated"


def test_the_settings_of_a_tenant_sign_too(tmp_path: Path) -> None:
    config = tmp_path / "t.toml"
    config.write_text(f"[tenants.acme.auth]\njwt_secret = '{SECRETS['acme']}'\n")
    arguments = ["token", "--tenant", "acme", "--config", str(config)]
    result = CliRunner().invoke(group, arguments, env={})
    assert JwtVerifier(SECRETS["acme"]).verify(result.output.strip(), now_s=0).role
    result = CliRunner().invoke(group, ["token", "--tenant", "x", "--config", str(config)], env={})
    assert result.exit_code != 0
