from __future__ import annotations

from pathlib import Path

import pytest

from tidewire.core.errors import SetupError
from tidewire.server.settings import Settings, load_settings

URL = "postgresql://one@db.example/app"


def load(tmp_path: Path, text: str, **environment: str) -> Settings:
    file = tmp_path / "tidewire.toml"
    file.write_text(text)
    return load_settings(config_file=file, environment=environment)


def refusal(tmp_path: Path, text: str, **environment: str) -> str:
    with pytest.raises(SetupError) as caught:
        load(tmp_path, text, **environment)
    return str(caught.value)


def test_without_tenants_there_are_none(tmp_path: Path) -> None:
    assert load(tmp_path, "").tenants == {}


def test_a_tenant_takes_over_what_it_does_not_set(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        [limits]
        connections_max = 7
        payload_bytes_max = 2048
        [security]
        allowed_origins = ["https://a.example"]
        [tenants.acme]
        hosts = ["Acme.example"]
        [tenants.acme.limits]
        connections_max = 3
        [tenants.acme.auth.required_claims]
        iss = "acme"
        [tenants.b-2]
        suspended = true
        """,
    )
    acme, other = settings.tenants["acme"], settings.tenants["b-2"]
    assert list(settings.tenants) == ["acme", "b-2"]
    assert acme.tenant.hosts == ["Acme.example"]
    assert (acme.limits.connections_max, acme.limits.payload_bytes_max) == (3, 2048)
    assert (other.limits.connections_max, other.tenant.suspended) == (7, True)
    assert other.security.allowed_origins == ["https://a.example"]
    assert acme.auth.required_claims == {"iss": "acme"}
    assert other.auth.required_claims == {}
    assert settings.limits.connections_max == 7


def test_each_tenant_has_a_slot_of_its_own(tmp_path: Path) -> None:
    text = "[tenants.a-b]\n[tenants.c.database]\nslot = 'mine'"
    tenants = load(tmp_path, text).tenants
    assert (tenants["a-b"].database.slot, tenants["c"].database.slot) == ("tidewire_a_b", "mine")


def test_variables_set_what_a_file_should_not_hold(tmp_path: Path) -> None:
    environment = {
        "TIDEWIRE_TENANTS__A_B__DATABASE__URL": URL,
        "TIDEWIRE_TENANTS__A_B__HOSTS": "x.example, y.example",
        "TIDEWIRE_TENANTS__A_B__LIMITS__CONNECTIONS_MAX": "9",
    }
    tenant = load(tmp_path, "[tenants.a-b]", **environment).tenants["a-b"]
    assert tenant.database.url == URL
    assert tenant.tenant.hosts == ["x.example", "y.example"]
    assert tenant.limits.connections_max == 9


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tenants.acme]\ncolour = 1", "tenants.acme.colour"),
        ("[tenants.acme.limits]\ncolour = 1", "tenants.acme.limits.colour"),
        ("[tenants.acme.server]\nport = 1", "belongs to the whole server"),
        ("[tenants.acme.log]\nlevel = 'debug'", "belongs to the whole server"),
        ("[tenants.acme.database]\nport = 1", "belongs to the whole server"),
        ("[tenants.acme.limits]\nconnections_max = 0", "does not fit"),
        ("[tenants.Acme]", "no name for a tenant"),
        ("[tenants.'a.b']", "no name for a tenant"),
        ("[tenants.'a-']", "no name for a tenant"),
        ("[tenants.default]", "no name for a tenant"),
        (f"[tenants.{'a' * 41}]", "no name for a tenant"),
        ("tenants = 3", "no table"),
        ("[tenants]\nacme = 3", "no table"),
        ("[tenants.acme]\nhosts = ['http://x']", "no host name"),
        ("[tenants.acme.auth]\njwt_secret = 'short'", "tenants.acme"),
        ("[tenants.acme.security]\nallowed_origins = ['x']", "no origin"),
        ("[auth]\njwt_secret = 'x'\n[tenants.acme]", "auth.jwt_secret is set for the server"),
        ("[database]\nurl = 'postgresql://a@b/c'\n[tenants.acme]", "database.url is set"),
        ("[tenants.a]\nhosts=['h']\n[tenants.b]\nhosts=['H']", "host h in common"),
        (
            f"[tenants.a.database]\nurl='{URL}'\n[tenants.b.database]\nurl='{URL}'",
            "the database in common",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, text)


def test_no_refusal_shows_a_secret(tmp_path: Path) -> None:
    text = f"[tenants.a.database]\nurl='{URL}:pw'\n[tenants.b.database]\nurl='{URL}:pw'"
    assert "pw" not in refusal(tmp_path, text)
    assert "hush" not in refusal(tmp_path, "[tenants.a.auth]\njwt_secret = 'hush'")


def test_a_variable_of_an_unknown_tenant_is_refused(tmp_path: Path) -> None:
    assert "does not name" in refusal(tmp_path, "[tenants.a]", TIDEWIRE_TENANTS__B__HOSTS="x")
    assert "does not name" in refusal(tmp_path, "", TIDEWIRE_TENANTS__B__HOSTS="x")


def test_the_embedded_servers_port_stays_the_servers(tmp_path: Path) -> None:
    settings = load(tmp_path, "[database]\nport = 5544\n[tenants.a]")
    assert settings.database.port == 5544
