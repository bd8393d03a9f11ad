import re
from pathlib import Path

import pytest

from tests.support.settings_reference import PAGE, render_settings_page
from tidewire.core.errors import SetupError
from tidewire.server.settings import Settings, load_settings, setting_fields


def write_config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tidewire.toml"
    path.write_text(text)
    return path


def test_without_any_layer_the_defaults_stand() -> None:
    assert load_settings(environment={}) == Settings()


def test_environment_wins_over_the_file_and_flags_win_over_both(tmp_path: Path) -> None:
    config = write_config(
        tmp_path, '[server]\nport = 1\nhost = "a"\ndata_dir = "from-file"\n[log]\nlevel = "error"'
    )
    settings = load_settings(
        config_file=config,
        environment={"TIDEWIRE_SERVER__PORT": "2", "TIDEWIRE_SERVER__HOST": "b"},
        flags={"server.port": 3, "log.level": None},
    )
    assert settings.server.port == 3
    assert settings.server.host == "b"
    assert settings.server.data_dir == "from-file"
    assert settings.log.level == "error"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[server]\nprot = 1", "server.prot"),
        ("[sever]\nport = 1", "sever.port"),
        ("[sever]", "sever"),
        ("port = 1", "port"),
        ("[server.port]\nx = 1", "server.port"),
    ],
)
def test_a_key_of_the_file_that_is_no_setting_is_refused_with_its_path(
    tmp_path: Path, text: str, path: str
) -> None:
    config = write_config(tmp_path, text)
    with pytest.raises(SetupError, match=re.escape(path)) as caught:
        load_settings(config_file=config, environment={})
    assert str(config) in caught.value.problem


def test_a_mistyped_key_names_the_one_that_was_meant(tmp_path: Path) -> None:
    config = write_config(tmp_path, "[server]\nprot = 1")
    with pytest.raises(SetupError) as caught:
        load_settings(config_file=config, environment={})
    assert caught.value.advice == "Did you mean server.port?"


@pytest.mark.parametrize("name", ["TIDEWIRE_SERVER__PROT", "TIDEWIRE_SERVER_PORT"])
def test_a_variable_that_looks_like_a_setting_and_is_none_is_refused(name: str) -> None:
    with pytest.raises(SetupError, match="server") as caught:
        load_settings(environment={name: "1"})
    assert "TIDEWIRE_SERVER__PORT" in caught.value.advice


def test_variables_of_others_are_left_alone() -> None:
    environment = {"TIDEWIRE_BENCH": "1", "SERVER__PORT": "x", "PATH": "/bin"}
    assert load_settings(environment=environment) == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TIDEWIRE_SERVER__PORT", "many"),
        ("TIDEWIRE_SERVER__PORT", "70000"),
        ("TIDEWIRE_SERVER__PORT", "-1"),
        ("TIDEWIRE_LOG__LEVEL", "loud"),
        ("TIDEWIRE_DEMO__SIMULATE", "maybe"),
        ("TIDEWIRE_DATABASE__SLOT", "Bad-Name"),
        ("TIDEWIRE_LIMITS__PRESENCE_GRACE_S", "nan seconds"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_setting_and_place(name: str, text: str) -> None:
    path = name.removeprefix("TIDEWIRE_").lower().replace("__", ".")
    with pytest.raises(SetupError) as caught:
        load_settings(environment={name: text})
    assert path in caught.value.problem
    assert name in caught.value.problem


def test_a_file_may_not_write_a_number_as_text(tmp_path: Path) -> None:
    config = write_config(tmp_path, '[server]\nport = "4000"')
    with pytest.raises(SetupError, match=r"server\.port .* expected `int`, got `str`"):
        load_settings(config_file=config, environment={})


def test_the_environment_spells_numbers_switches_and_lists_as_text() -> None:
    settings = load_settings(
        environment={
            "TIDEWIRE_SERVER__PORT": "81",
            "TIDEWIRE_SERVER__DRAIN_TIMEOUT_S": "1.5",
            "TIDEWIRE_DEMO__SIMULATE": "yes",
            "TIDEWIRE_SERVER__TRUSTED_PROXIES": "10.0.0.1, ::1",
        }
    )
    assert settings.server.port == 81
    assert settings.server.drain_timeout_s == 1.5
    assert settings.demo.simulate is True
    assert settings.server.trusted_proxies == ["10.0.0.1", "::1"]


def test_a_short_secret_is_refused_without_showing_it() -> None:
    with pytest.raises(SetupError, match="32 or more") as caught:
        load_settings(environment={"TIDEWIRE_AUTH__JWT_SECRET": "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_and_one_that_is_not_toml_are_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        load_settings(config_file=tmp_path / "absent.toml", environment={})
    with pytest.raises(SetupError, match="is not TOML"):
        load_settings(config_file=write_config(tmp_path, "server = ["), environment={})


def test_every_setting_is_described() -> None:
    assert [field.path for field in setting_fields().values() if not field.description] == []


def test_the_reference_page_is_in_step_with_the_code() -> None:
    assert PAGE.read_text() == render_settings_page(), (
        "run: python -m tests.support.settings_reference"
    )


def test_tables_come_from_the_file_as_tables_and_from_the_environment_as_json(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tidewire.toml"
    file.write_text('[auth.required_claims]\niss = "us"\nlevel = 2\n')
    settings = load_settings(config_file=file, environment={})
    assert settings.auth.required_claims == {"iss": "us", "level": 2}
    environment = {"TIDEWIRE_AUTH__REQUIRED_CLAIMS": '{"iss": "them"}'}
    settings = load_settings(config_file=file, environment=environment)
    assert settings.auth.required_claims == {"iss": "them"}


@pytest.mark.parametrize("text", ["{", "[]", "hush", '{"a": 1}', ""])
def test_a_table_that_is_none_is_refused_without_showing_it(text: str) -> None:
    name = "TIDEWIRE_AUTH__SECRET_KEYS"
    with pytest.raises(SetupError) as refused:
        load_settings(environment={name: text})
    assert "auth.secret_keys" in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://x/y", "jwks.json", "https://a b"])
def test_an_address_of_keys_is_http(url: str) -> None:
    with pytest.raises(SetupError, match=r"auth\.jwks_url"):
        load_settings(environment={"TIDEWIRE_AUTH__JWKS_URL": url})
