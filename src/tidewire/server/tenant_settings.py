"""How the settings of several tenants are written, and what each takes over from the server's.

A file names tenants as ``[tenants.NAME]``, with any of its sections below it:

    [tenants.acme]
    hosts = ["realtime.acme.example"]

    [tenants.acme.database]
    url = "postgresql://…"

A tenant's settings are those of the server with the tenant's own over them, except for
`OWN_SECTIONS`: nothing of these is taken over, since no database, secret or key is shared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from tidewire.core.errors import SetupError

OWN_SECTIONS = frozenset({"tenant", "database", "auth"})
"""What each tenant says for itself; where there are tenants, the server has none of it."""

PROCESS_SECTIONS = frozenset({"server", "log", "demo"})
"""What belongs to the process: no tenant may set it."""

PROCESS_PATHS = frozenset({"database.port", "stream.renderer"})
"""The like, in sections of which tenants set the rest."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_RESERVED = frozenset({"default"})
_NAME_ADVICE = (
    "Lower-case letters, digits and hyphens, 40 at most: it is the first label of a host."
)

RawValues = dict[str, Any]
"""Path to value, as it was written."""


def split_tenants(document: Mapping[str, Any], place: str) -> tuple[RawValues, dict[str, Any]]:
    """Take the tenants out of a settings document.

    Args:
        document: The parsed file.
        place: Where it was read, for errors.

    Returns:
        The rest of the document, and for each tenant, in order, the paths it sets.

    Raises:
        SetupError: A name is no label of a host, or a tenant is no table.
    """
    rest = {key: value for key, value in document.items() if key != "tenants"}
    tables = document.get("tenants", {})
    if not isinstance(tables, dict):
        raise SetupError(f"tenants in {place} is no table.", "Write [tenants.NAME] for each.")
    tenants: dict[str, Any] = {}
    for name, table in cast("dict[str, Any]", tables).items():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise SetupError(f"{name!r} in {place} is no name for a tenant.", _NAME_ADVICE)
        if not isinstance(table, dict):
            raise SetupError(f"tenants.{name} in {place} is no table.")
        tenants[name] = dict(_flatten(cast("dict[str, Any]", table)))
    return rest, tenants


def _flatten(table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Paths that one tenant sets; keys outside a section are of the section `tenant`."""
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"tenant.{key}", value
            continue
        for inner, content in cast("dict[str, Any]", value).items():
            yield f"{key}.{inner}", content


def tenant_variables(
    environment: Mapping[str, str], prefix: str, names: Iterable[str]
) -> list[tuple[str, str, str, str]]:
    """Variables that set something of a tenant, such as ``TIDEWIRE_TENANTS__ACME__AUTH__…``.

    Args:
        environment: All variables.
        prefix: What those of tenants begin with.
        names: Tenants that the file names; in a variable's name, ``-`` is written ``_``.

    Returns:
        Tenant, path, value and the variable's name, for each.

    Raises:
        SetupError: One speaks of a tenant that the file does not name.
    """
    by_label = {name.upper().replace("-", "_"): name for name in names}
    found: list[tuple[str, str, str, str]] = []
    for variable in sorted(environment):
        if not variable.startswith(prefix):
            continue
        label, _, rest = variable.removeprefix(prefix).partition("__")
        name = by_label.get(label)
        if name is None or not rest:
            raise SetupError(
                f"The variable {variable} speaks of a tenant that the settings file does not name.",
                "Tenants are named in the file given with --config, as [tenants.NAME].",
            )
        section, separator, key = rest.lower().partition("__")
        path = f"{section}.{key}" if separator else f"tenant.{section}"
        found.append((name, path, environment[variable], variable))
    return found


def may_set(path: str) -> bool:
    """Whether a tenant may set `path` for itself."""
    return path.partition(".")[0] not in PROCESS_SECTIONS and path not in PROCESS_PATHS


def layered(server: Mapping[str, Any], own: Mapping[str, Any], name: str) -> RawValues:
    """All values of one tenant: the server's below, its own above, and its slot's name."""
    taken_over = {
        path: value
        for path, value in server.items()
        if path.partition(".")[0] not in OWN_SECTIONS or path in PROCESS_PATHS
    }
    # Slots belong to the whole cluster, which tenants may share.
    return {**taken_over, "database.slot": f"tidewire_{name.replace('-', '_')}", **own}


def refuse_shared(server: Mapping[str, Any]) -> None:
    """Refuse values of the server that would have to be shared by its tenants.

    Raises:
        SetupError: There is one.
    """
    for path in server:
        if path.partition(".")[0] in OWN_SECTIONS and path not in PROCESS_PATHS:
            raise SetupError(
                f"{path} is set for the server, which has tenants.",
                "Each tenant has its own: set it below [tenants.NAME].",
            )


def refuse_alike(tenants: Mapping[str, tuple[str, str, list[str]]]) -> None:
    """Refuse tenants that would not be apart.

    Args:
        tenants: Name to database URL ("" for one of the embedded server), slot and hosts.

    Raises:
        SetupError: Two have one database, or one host.
    """
    users: dict[tuple[str, str], str] = {}
    for name, (url, slot, hosts) in tenants.items():
        marks = [("the database", url), ("the slot", f"{slot} {url}")] if url else []
        marks += [("the host", host.lower()) for host in hosts]
        for kind, value in marks:
            other = users.setdefault((kind, value), name)
            if other != name or (kind == "the host" and hosts.count(value) > 1):
                told = f" {value}" if kind == "the host" else ""
                raise SetupError(
                    f"The tenants {other} and {name} have {kind}{told} in common.",
                    "Tenants share nothing: give each its own.",
                )
