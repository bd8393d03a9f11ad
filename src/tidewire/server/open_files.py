"""The operating system's limit of open files, which bounds the number of connections."""

from __future__ import annotations

import sys

RESERVE = 256
"""Files the process needs beside its connections: database, journal, logs, modules."""

if sys.platform == "win32":

    def raise_open_files() -> int | None:
        """Windows has no such limit on sockets."""
        return None

else:
    import resource

    def raise_open_files() -> int | None:
        """Raise the soft limit to the hard one.

        Returns:
            How many files may be open from now on; None when there is no limit.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
                soft = hard
            except (ValueError, OSError):
                pass  # macOS refuses some values below an unlimited hard limit
        return None if soft == resource.RLIM_INFINITY else soft


def open_files_warning(open_files: int | None, max_connections: int) -> str | None:
    """What a person should know when fewer connections fit than the settings allow.

    Args:
        open_files: As `raise_open_files` returned it.
        max_connections: As the settings say.
    """
    if open_files is None or open_files >= max_connections + RESERVE:
        return None
    return (
        f"The limit of open files is {open_files}: at most {max(0, open_files - RESERVE)} "
        f"connections fit, not the {max_connections} of the settings. Raise it with "
        f"'ulimit -n {max_connections + RESERVE}' or LimitNOFILE= in the systemd unit."
    )
