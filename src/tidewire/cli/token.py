"""``tidewire token``: mints a token and prints it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from tidewire.cli.extras import import_server_part
from tidewire.cli.find_server import data_dir_option, find_running, settings_of, tenant_option
from tidewire.core.errors import SetupError
from tidewire.server.data_folder import TENANTS_FOLDER
from tidewire.server.settings import load_settings

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """A length of time such as ``90s``, ``15m``, ``12h``, ``30d``; gives seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read `value`; a bare number is seconds."""
        match = re.fullmatch(r"(\d{1,10})([smhd]?)", str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is no duration such as 90s, 15m, 12h or 30d", param, ctx)
        return float(match[1]) * _UNITS_S[match[2] or "s"]


def _read_claims(pairs: tuple[str, ...]) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--claim")
        try:
            claims[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            claims[name] = text
    return claims


def _api_key(kind: str, config: Path | None, data_dir: Path | None, tenant: str | None) -> str:
    """The first key of this kind in the settings, else the one of the data folder."""
    settings = load_settings(config_file=config)
    auth = settings_of(settings, tenant).auth
    named = auth.publishable_keys if kind == "publishable" else auth.secret_keys
    if named:
        return next(iter(named.values()))
    keys = import_server_part("tidewire.server.keys", command="token")
    folder = data_dir or Path(settings.server.data_dir)
    if tenant is not None:
        folder = folder / TENANTS_FOLDER / tenant
    own: str | None = keys.own_opaque_key(folder, kind)
    if own is None:
        raise SetupError(
            "This data folder has no keys yet.",
            "Start a server on it once, or name another folder with --data-dir.",
        )
    return own


@click.command(
    help="Mint a token for a role and print it. The secret is the running server's, or the "
    "one in TIDEWIRE_AUTH__JWT_SECRET or --config."
)
@click.option("--role", default="authenticated", show_default=True, help="Database role.")
@click.option("--sub", help="Who it is for, usually a user's id.")
@click.option(
    "--claim",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another claim; VALUE is JSON or text. May be repeated.",
)
@click.option(
    "--expires-in", type=Duration(), default="1h", show_default=True, help="How long it lasts."
)
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file with settings."
)
@click.option(
    "--api-key",
    type=click.Choice(["publishable", "secret"]),
    help="Print the project's opaque key of this kind instead of minting a token.",
)
@data_dir_option
@tenant_option
def command(
    *,
    role: str,
    sub: str | None,
    pairs: tuple[str, ...],
    expires_in: float,
    config: Path | None,
    api_key: str | None,
    data_dir: Path | None,
    tenant: str | None,
) -> None:
    """Mint and print."""
    if api_key is not None:
        click.echo(_api_key(api_key, config, data_dir, tenant))
        return
    claims = _read_claims(pairs)
    if sub is not None:
        claims["sub"] = sub
    keys = import_server_part("tidewire.server.keys", command="token")
    settings = settings_of(load_settings(config_file=config), tenant)
    secret = settings.auth.jwt_secret or find_running(data_dir, tenant).jwt_secret
    token: str = keys.mint_token(
        secret, role, now_s=time.time(), lifetime_s=expires_in, claims=claims
    )
    click.echo(token)
