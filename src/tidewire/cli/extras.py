"""Tells plainly when a command needs the optional server part."""

from __future__ import annotations

import importlib
from types import ModuleType

from tidewire.core.errors import SetupError


def import_server_part(module: str, *, command: str) -> ModuleType:
    """Import a module of the server for `command`.

    Raises:
        SetupError: A package of the server extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "tidewire":
            raise
        raise SetupError(
            f"`tidewire {command}` needs the server part, which is not installed "
            f"(missing: {missing}).",
            "Install it with: pip install 'tidewire[server]'",
        ) from error
