"""Settings: what can be set, how it is called, and where each value came from.

Built-in defaults < TOML file < environment ``TIDEWIRE_SECTION__KEY`` < flags. A key that is
not a setting is refused with its path, wherever it stands. This is the only file that reads
the environment. The reference page of the docs is generated from these classes.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from tidewire.core.errors import SetupError
from tidewire.core.host_name import is_host_name
from tidewire.core.origin import OriginPolicy
from tidewire.server.auth_settings import AuthSettings
from tidewire.server.broadcast_settings import BroadcastSettings
from tidewire.server.journal_settings import JournalSettings
from tidewire.server.limit_settings import LimitSettings
from tidewire.server.settings_sections import (
    ChangeSettings,
    ChannelSettings,
    DatabaseSettings,
    DemoSettings,
    LogSettings,
    SecuritySettings,
    ServerSettings,
    StreamSettings,
    TenantSettings,
)
from tidewire.server.tenant_settings import (
    layered,
    may_set,
    refuse_alike,
    refuse_shared,
    split_tenants,
    tenant_variables,
)

ENVIRONMENT_PREFIX = "TIDEWIRE_"
_TENANT_PREFIX = f"{ENVIRONMENT_PREFIX}TENANTS__"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings, by section.

    Attributes:
        tenants: Name to the whole settings of each tenant; empty where there is only one.
    """

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    stream: StreamSettings = StreamSettings()
    changes: ChangeSettings = ChangeSettings()
    channels: ChannelSettings = ChannelSettings()
    auth: AuthSettings = AuthSettings()
    broadcast: BroadcastSettings = BroadcastSettings()
    journal: JournalSettings = JournalSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    demo: DemoSettings = DemoSettings()
    tenant: TenantSettings = TenantSettings()
    security: SecuritySettings = SecuritySettings()
    tenants: dict[str, Settings] = {}


SECTIONS = tuple(name for name in Settings.__struct_fields__ if name != "tenants")
"""Names of the sections, in the order of the reference."""


class SettingField(NamedTuple):
    """One setting, described.

    Attributes:
        path: Such as ``server.port``.
        type: Its annotated type.
        default: Its built-in value.
        description: For people.
    """

    path: str
    type: Any
    default: Any
    description: str

    @property
    def environment_name(self) -> str:
        """The variable that sets it, such as ``TIDEWIRE_SERVER__PORT``."""
        return ENVIRONMENT_PREFIX + self.path.replace(".", "__").upper()


def setting_fields() -> dict[str, SettingField]:
    """Every setting by its path, in the order of the classes above."""
    found: dict[str, SettingField] = {}
    for section in msgspec.structs.fields(Settings):
        if section.name not in SECTIONS:
            continue
        for field in msgspec.structs.fields(section.type):
            path = f"{section.name}.{field.name}"
            made = field.default_factory
            default = field.default if made is msgspec.NODEFAULT else made()
            found[path] = SettingField(path, field.type, default, _description(field.type))
    return found


def _description(annotated: Any) -> str:
    return next((m.description or "" for m in get_args(annotated)[1:] if isinstance(m, Meta)), "")


def load_settings(
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Put the layers together, the later the stronger.

    Args:
        config_file: TOML file with a table per section; None for none.
        environment: Variables; None for the process's own.
        flags: Path to value of what was given on the command line; None values were not given.

    Raises:
        SetupError: A key is no setting, or a value does not fit it; says where it stands.
    """
    fields = setting_fields()
    variables = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    if config_file is not None:
        values, own = _from_file(config_file, fields)
    values |= _from_environment(variables, fields)
    for name, path, value, variable in tenant_variables(variables, _TENANT_PREFIX, own):
        own[name][path] = _tenant_value(
            fields, name, path, value, f"the variable {variable}", is_text=True
        )
    for path, value in (flags or {}).items():
        if value is not None:
            flag = f"--{path.rpartition('.')[2].replace('_', '-')}"
            values[path] = _checked(fields[path], value, f"the flag {flag}", is_text=False)
    return _with_tenants(values, own) if own else _assemble(values)


def _with_tenants(values: Mapping[str, Any], own: Mapping[str, dict[str, Any]]) -> Settings:
    refuse_shared(values)
    tenants: dict[str, Settings] = {}
    for name, paths in own.items():
        try:
            tenants[name] = _assemble(layered(values, paths, name))
        except SetupError as error:
            raise SetupError(f"tenants.{name}: {error.problem}", error.advice) from error
    refuse_alike(
        {
            name: (tenant.database.url, tenant.database.slot, tenant.tenant.hosts)
            for name, tenant in tenants.items()
        }
    )
    return msgspec.structs.replace(_assemble(values), tenants=tenants)


def _tenant_value(
    fields: Mapping[str, SettingField],
    name: str,
    path: str,
    value: Any,
    place: str,
    *,
    is_text: bool,
) -> Any:
    """One checked value of a tenant.

    Raises:
        SetupError: There is no such setting, it belongs to the server, or it does not fit.
    """
    if path not in fields:
        written = path.removeprefix("tenant.")
        raise _unknown(f"tenants.{name}.{written}", f"in {place}", path, fields)
    if not may_set(path):
        raise SetupError(
            f"{path} in {place} is set for the tenant {name}, and belongs to the whole server.",
            f"Set it outside of [tenants.{name}].",
        )
    return _checked(fields[path], value, place, is_text=is_text)


def _from_file(
    path: Path, fields: Mapping[str, SettingField]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What a file sets for the server, and for each tenant that it names."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(
            f"The settings file {path} cannot be read: {error.strerror}.",
            "Give the right path with --config, or leave it out.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"The settings file {path} is not TOML: {error}.") from error
    rest, tables = split_tenants(document, str(path))
    found: dict[str, Any] = {}
    for key, value in _flatten(rest):
        if key not in fields:
            raise _unknown(key, f"in {path}", key, fields)
        found[key] = _checked(fields[key], value, str(path), is_text=False)
    own = {
        name: {
            key: _tenant_value(fields, name, key, value, str(path), is_text=False)
            for key, value in table.items()
        }
        for name, table in tables.items()
    }
    return found, own


def _flatten(document: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Paths of all that a file sets; a top-level value or a deeper table keeps its own path."""
    for section, content in document.items():
        if not isinstance(content, dict):
            yield section, content
            continue
        table = cast(dict[str, Any], content)
        for key, value in table.items():
            yield f"{section}.{key}", value
        if not table and section not in Settings.__struct_fields__:
            yield section, table


def _from_environment(
    environment: Mapping[str, str], fields: Mapping[str, SettingField]
) -> dict[str, Any]:
    by_name = {field.environment_name: field for field in fields.values()}
    found: dict[str, Any] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name.startswith(_TENANT_PREFIX):
            continue
        field = by_name.get(name)
        if field is not None:
            value = environment[name]
            found[field.path] = _checked(field, value, f"the variable {name}", is_text=True)
        elif _is_meant_as_setting(name):
            path = name.removeprefix(ENVIRONMENT_PREFIX).replace("__", ".").lower()
            raise _unknown(path, "in the environment", name, by_name)
    return found


def _is_meant_as_setting(name: str) -> bool:
    """Whether a variable with our prefix looks like a setting, mistyped ones included."""
    rest = name.removeprefix(ENVIRONMENT_PREFIX)
    return "__" in rest or rest.partition("_")[0].lower() in Settings.__struct_fields__


def _unknown(path: str, place: str, written: str, known: Iterable[str]) -> SetupError:
    close = difflib.get_close_matches(written, list(known), n=1)
    advice = f"Did you mean {close[0]}?" if close else "All settings: docs/reference/settings.md."
    return SetupError(f"Unknown setting {path} ({place}).", advice)


def _checked(field: SettingField, value: Any, place: str, *, is_text: bool) -> Any:
    """`value` in the setting's type. Text (of the environment) may also spell numbers and bools."""
    if is_text and isinstance(field.default, bool):
        value = {"yes": True, "on": True, "no": False, "off": False}.get(value.lower(), value)
    if is_text and isinstance(field.default, list):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        if is_text and _is_table(field):
            value = msgspec.json.decode(value)
        return msgspec.convert(value, field.type, strict=not is_text)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        reason = str(error)
        raise SetupError(
            f"{field.path} in {place} does not fit: {reason[:1].lower()}{reason[1:]}.",
            f"{field.path}: {field.description}",
        ) from error


def _is_table(field: SettingField) -> bool:
    return get_origin(get_args(field.type)[0]) is dict


def _assemble(values: Mapping[str, Any]) -> Settings:
    sections: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, _, key = path.partition(".")
        sections.setdefault(section, {})[key] = value
    settings = msgspec.convert(sections, Settings)
    settings.auth.check()
    wrong_hosts = [host for host in settings.tenant.hosts if not is_host_name(host)]
    if wrong_hosts:
        raise SetupError(
            f"{wrong_hosts[0]!r} is no host name.", "Write it without scheme, port and path."
        )
    origin_policy(settings)
    return settings


def origin_policy(settings: Settings) -> OriginPolicy:
    """From which pages a tenant with these settings may be called.

    Raises:
        SetupError: Something that is to be allowed is no origin.
    """
    own_hosts = [*settings.tenant.hosts, urlsplit(settings.server.public_url).hostname or ""]
    try:
        return OriginPolicy(settings.security.allowed_origins, own_hosts=own_hosts)
    except ValueError as error:
        raise SetupError(
            f"security.allowed_origins: {error}.", "Write scheme and host, without a path."
        ) from error
