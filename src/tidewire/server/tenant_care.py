"""Shows and renews tenants for those who look after the server."""

from __future__ import annotations

from typing import Any

from tidewire.http.tenant_admin import TenantHealth
from tidewire.ports.change_source import StreamState
from tidewire.server.tenant_directory import TenantDirectory
from tidewire.server.tenant_runner import TenantRunner


class TenantCare:
    """Implements `http.tenant_admin.TenantAdmin`."""

    def __init__(self, directory: TenantDirectory) -> None:
        """Args: all tenants."""
        self._directory = directory

    def descriptions(self) -> dict[str, dict[str, Any]]:
        """Each tenant's settings by its name, without secrets."""
        return {runner.name: _describe(runner) for runner in self._directory.runners}

    def health(self, name: str) -> TenantHealth | None:
        """How a tenant is; None for an unknown one."""
        runner = self._directory.named(name)
        if runner is None:
            return None
        tenant = runner.tenant
        if tenant is None:
            return TenantHealth(
                healthy=False, db_connected=False, replication_connected=False, connected_cluster=0
            )
        is_live = tenant.source.status.state is StreamState.LIVE
        return TenantHealth(
            healthy=is_live,
            db_connected=is_live or bool(tenant.source.status.epoch),
            replication_connected=is_live,
            connected_cluster=tenant.node.stats.connections,
            node=tenant.node.name,
        )

    def make_anew(self, name: str) -> bool:
        """End a tenant's connections and make its parts anew; False for an unknown one."""
        runner = self._directory.named(name)
        if runner is not None:
            runner.reload()
        return runner is not None


def _describe(runner: TenantRunner) -> dict[str, Any]:
    """What may be shown: chosen by name, so that a new secret is not shown by accident."""
    settings = runner.plan.settings
    return {
        "external_id": runner.name,
        "name": runner.name,
        "suspend": settings.tenant.suspended,
        "hosts": settings.tenant.hosts,
        "max_concurrent_users": settings.limits.connections_max,
        "max_channels_per_client": settings.limits.channels_per_connection_max,
        "extensions": [
            {
                "type": "postgres_cdc_rls",
                "settings": {
                    "publication": settings.database.publication,
                    "slot_name": settings.database.slot,
                },
            }
        ],
    }
