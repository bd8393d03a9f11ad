"""What a running server tells the programs of this machine: addresses and keys, as a file.

The same record is written to ``--ready-file`` and, for the client commands, into the data
folder. It holds secrets, so it is readable by its owner only.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

FOLDER_NAME = "server.json"
"""Name of the record in the data folder, there while the server runs."""


class DemoSignIn(msgspec.Struct, frozen=True):
    """A sample organizer's sign-in."""

    email: str
    password: str


class TenantRecord(msgspec.Struct, frozen=True):
    """One of several tenants.

    Attributes:
        url: Where it answers, by a name that leads to this machine.
        hosts: Host names that it answers to besides.
        anon_key: Public key of visitors.
        service_role_key: Key that sees everything.
        jwt_secret: What tokens are signed with.
        database_url: For any PostgreSQL client on this machine.
    """

    url: str
    hosts: list[str]
    anon_key: str
    service_role_key: str
    jwt_secret: str
    database_url: str


class ReadyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A running server.

    Attributes:
        url: Where it answers, such as ``http://127.0.0.1:4000``.
        anon_key: Public key of visitors.
        service_role_key: Key that sees everything.
        jwt_secret: What tokens are signed with.
        database_url: For any PostgreSQL client on this machine.
        dashboard_url: What to open in a browser.
        version: Of Tidewire.
        pid: Of the server's process.
        demo_users: Sign-ins of the sample organizers; only of `tidewire demo`.
        tenants: Each by its name, where there are several; the keys above are the first one's.
    """

    url: str
    anon_key: str
    service_role_key: str
    jwt_secret: str
    database_url: str
    dashboard_url: str
    version: str
    pid: int
    demo_users: list[DemoSignIn] | None = None
    tenants: dict[str, TenantRecord] | None = None


def write_record(record: ReadyRecord, path: Path) -> None:
    """Write `record` whole: a reader sees all of it or nothing. Mode 0600.

    Raises:
        OSError: The folder is not there, or may not be written.
    """
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def remove_record(path: Path, *, pid: int) -> None:
    """Remove a record that this process wrote; one that another wrote since is left alone."""
    record = read_record(path)
    if record is not None and record.pid == pid:
        with contextlib.suppress(OSError):
            path.unlink()


def read_record(path: Path) -> ReadyRecord | None:
    """The record at `path`; None when there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReadyRecord)
    except (OSError, msgspec.DecodeError):
        return None


def is_running(record: ReadyRecord) -> bool:
    """Whether the process that wrote `record` is still there."""
    try:
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
