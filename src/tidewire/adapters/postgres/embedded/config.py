"""The text of the embedded server's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

SETTINGS_FILE = "tidewire.conf"
_PORT_LINE = re.compile(r"^port = '(\d{1,5})'$", re.MULTILINE)

ACCESS_RULES = """\
# Written by Tidewire when the cluster was made. The socket lies in a folder of mode 0700.
local  all          all                trust
local  replication  all                trust
host   all          all  127.0.0.1/32  scram-sha-256
host   replication  all  127.0.0.1/32  scram-sha-256
"""


def server_settings(
    *, major: int, port: int, socket_folder: Path, extra: Mapping[str, str]
) -> dict[str, str]:
    """Every setting that differs from PostgreSQL's own default; `extra` wins.

    A small footprint, since this server has one machine to itself with everything else that
    runs there, and what the change stream needs.
    """
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(socket_folder),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "wal_level": "logical",
        # Logical decoding sends flushed WAL only: with the default of 200 ms a transaction
        # committed with synchronous_commit = off waits that long to be seen.
        "wal_writer_delay": "10ms",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        # A slot that nobody reads must not fill the disk; one that lost its WAL is told.
        "max_slot_wal_keep_size": "1GB",
        "wal_sender_timeout": "60s",
        "max_logical_replication_workers": "0",
        "shared_buffers": "32MB",
        "min_wal_size": "48MB",
        "max_wal_size": "512MB",
        "huge_pages": "off",
        "jit": "off",
        "timezone": "UTC",
        "log_min_messages": "warning",
        # A failing statement or a violated key would put row data into the log.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        # Ours: the migrations see by it that the whole cluster is Tidewire's.
        "tidewire.embedded": "on",
    }
    if major >= 18:
        settings["io_workers"] = "1"
    return settings | dict(extra)


def render_settings(settings: Mapping[str, str]) -> str:
    """The settings as a file for `include`."""
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return "\n".join(["# Written by Tidewire at every start.", *lines, ""])


def port_in(text: str) -> int | None:
    """The port in what `render_settings` wrote; None when there is none."""
    match = _PORT_LINE.search(text)
    return int(match[1]) if match else None


def _quoted(value: str) -> str:
    if any(character in value for character in "\n\r\0"):
        raise ValueError("a setting's value is one line")
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
