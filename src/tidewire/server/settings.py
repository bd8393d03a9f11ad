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
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from tidewire.core.errors import SetupError
from tidewire.core.host_name import is_host_name
from tidewire.core.origin import OriginPolicy
from tidewire.engine.limits import Limits
from tidewire.server.auth_settings import AuthSettings
from tidewire.server.broadcast_settings import BroadcastSettings
from tidewire.server.limit_settings import LimitSettings
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
_DRAIN_TIMEOUT_S = Limits().drain_timeout_s


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the server listens and how it ends."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one at each start.")
    ] = 4000
    public_url: Annotated[
        str,
        Meta(
            description="Address that browsers reach this server under, when a proxy stands in "
            "front; empty for http://host:port."
        ),
    ] = ""
    trusted_proxies: Annotated[
        list[str],
        Meta(
            description="Addresses or networks of proxies whose X-Forwarded-For is believed; "
            "comma-separated in the environment."
        ),
    ] = []
    tls_certificate: Annotated[
        str, Meta(description="PEM file with the certificate chain; empty speaks plain HTTP.")
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM file with the certificate's key.")] = ""
    admin_jwt_secret: Annotated[
        str,
        Meta(
            description="Secret of the tokens that open /api/tenants, 32 bytes or more; empty "
            "keeps these routes shut."
        ),
    ] = ""
    metrics_jwt_secret: Annotated[
        str,
        Meta(
            description="Secret of the tokens that open /metrics, 32 bytes or more; empty leaves "
            "it open."
        ),
    ] = ""
    data_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="Folder for keys, lock and, without database.url, the database.",
        ),
    ] = ".tidewire"
    ready_file: Annotated[
        str, Meta(description="File written once the server is ready; empty for none.")
    ] = ""
    drain_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=5,
            description="Seconds that open connections get to end after SIGTERM. The whole stop "
            "takes 10 s at most.",
        ),
    ] = _DRAIN_TIMEOUT_S


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The PostgreSQL that is streamed from."""

    url: Annotated[
        str,
        Meta(description="postgresql:// URL of your own database; empty starts an embedded one."),
    ] = ""
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Loopback port of the embedded database; 0 takes a free one the first "
            "time and keeps it.",
        ),
    ] = 0
    checker_url: Annotated[
        str,
        Meta(
            description="postgresql:// URL of the same database by the login that judges rows: it "
            "needs nothing but to be a member of the roles that tokens name. Empty for "
            "tidewire_check, which the server makes where it may."
        ),
    ] = ""
    slot: Annotated[
        str,
        Meta(pattern="^[a-z0-9_]{1,63}$", description="Name of the replication slot."),
    ] = "tidewire"
    publication: Annotated[
        str, Meta(min_length=1, max_length=63, description="Name of the publication.")
    ] = "supabase_realtime"


class StreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How changes are read and rendered."""

    renderer: Annotated[
        Literal["auto", "python"],
        Meta(
            description="auto renders rows by the compiled module where it is there; python "
            "always by its slower twin, which gives the same bytes."
        ),
    ] = "auto"


class ChangeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told what of changes."""

    key_only_deletes: Annotated[
        Literal["send", "drop"],
        Meta(
            description="A DELETE under row security of which the log holds the key only (the "
            "table's replica identity is not FULL) cannot be judged: send tells the key to "
            "everyone subscribed whose filter it meets, as Supabase does; drop tells nobody "
            "whom row security binds."
        ),
    ] = "send"


class ChannelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is let into channels."""

    private_only: Annotated[
        bool, Meta(description="Whether only private channels may be joined.")
    ] = False
    policy_poll_s: Annotated[
        float,
        Meta(
            ge=0.5,
            le=300,
            description="Seconds between looks at policies, grants and memberships while private "
            "channels are open. What the change stream tells acts at once; memberships of roles, "
            "and everything where event triggers cannot be had, act after this time at most.",
        ),
    ] = 5.0


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is shown.")
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"],
        Meta(
            description="text for people, json for one object a line; auto is text on a terminal "
            "and json elsewhere."
        ),
    ] = "auto"


class DemoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sample data of ``tidewire demo``; without meaning for ``tidewire serve``."""

    simulate: Annotated[bool, Meta(description="Whether robot organizers edit the data.")] = False
    edits_per_s: Annotated[
        float, Meta(gt=0, le=200, description="Edits of all robots together, per second.")
    ] = 2.0
    seed: Annotated[int, Meta(description="Another number makes other rows.")] = 1


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The project that is served. A server of several has `[tenants.NAME]` for each instead."""

    hosts: Annotated[
        list[str],
        Meta(
            description="Host names of the tenant, without ports. A host whose first label is "
            "the tenant's name is one too. Without tenants, empty takes every host."
        ),
    ] = []
    suspended: Annotated[
        bool, Meta(description="Whether it is shut: connections are refused with 403.")
    ] = False


class SecuritySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call from a browser."""

    allowed_origins: Annotated[
        list[str],
        Meta(
            description="Origins that pages may call from, such as https://app.example.org or "
            "https://*.example.org; others get 403. Empty allows every origin."
        ),
    ] = []


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
