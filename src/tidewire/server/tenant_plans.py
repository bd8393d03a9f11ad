"""What the tenants of a server are made from: folders, secrets, keys and addresses of databases.

The only tenant of a server keeps its things in the data folder itself; of several, each has a
folder of its own below ``tenants/``.
"""

from __future__ import annotations

from collections.abc import Callable

from tidewire.core.errors import SetupError
from tidewire.server.data_folder import TENANTS_FOLDER, DataFolder
from tidewire.server.keys import claims_of_keys, keys_made_at_s, make_keys, with_opaque_keys
from tidewire.server.settings import Settings
from tidewire.server.tenant import DEFAULT_TENANT, TenantPlan


def needs_embedded(settings: Settings) -> bool:
    """Whether some tenant has no database of its own."""
    tenants = settings.tenants.values() if settings.tenants else [settings]
    return any(not tenant.database.url for tenant in tenants)


def plan_tenants(
    settings: Settings,
    folder: DataFolder,
    *,
    embedded_url: Callable[[str], str],
    is_demo: bool,
    now_s: float,
) -> list[TenantPlan]:
    """A plan for each tenant, in the order of the settings.

    Args:
        settings: All of them.
        folder: The server's; folders and secrets that are missing are made.
        embedded_url: Address of a database of the embedded server by its tenant's name; only
            asked where `needs_embedded`.
        is_demo: Whether there is sample data.
        now_s: Seconds since 1970 UTC; keys made now count from then.

    Raises:
        SetupError: Something cannot be made, or does not go together.
    """
    if not settings.tenants:
        return [_plan(DEFAULT_TENANT, settings, folder, embedded_url, now_s, is_demo=is_demo)]
    if is_demo:
        raise SetupError(
            "Sample data is for a server of one tenant.", "Leave the tenants out of the settings."
        )
    return [
        _plan(name, own, folder.within(TENANTS_FOLDER, name), embedded_url, now_s, server=folder)
        for name, own in settings.tenants.items()
    ]


def _plan(
    name: str,
    settings: Settings,
    folder: DataFolder,
    embedded_url: Callable[[str], str],
    now_s: float,
    *,
    is_demo: bool = False,
    server: DataFolder | None = None,
) -> TenantPlan:
    secret = settings.auth.jwt_secret or folder.jwt_secret
    made_at_s = keys_made_at_s(folder.path, now_s=now_s)
    signed = make_keys(secret, made_at_s=made_at_s, claims=claims_of_keys(settings.auth))
    return TenantPlan(
        name=name,
        settings=settings,
        folder=folder.path,
        database_url=settings.database.url or embedded_url(name),
        secret=secret,
        keys=with_opaque_keys(signed, folder.secret),
        is_demo=is_demo,
        # Logins belong to the whole cluster, which tenants may share.
        checker_password=(server or folder).secret("checker_password"),
    )
