import asyncio
import json
from pathlib import Path

import pytest

from tests.support.signing_keys import SigningKey, key_set
from tidewire.adapters.jwt import key_file
from tidewire.adapters.jwt.key_file import FILE_BYTES_MAX, KeyFile
from tidewire.core.errors import SetupError


def write(path: Path, *kids: str) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(key_set(*[SigningKey("Ed25519", kid) for kid in kids]))
    aside.replace(path)


def spoil(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def kids(source: KeyFile) -> list[str]:
    return [key.kid for key in source.keys]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "jwks.json"
    write(file, "one")
    return file


async def test_a_changed_file_is_read_again_and_the_change_is_told(path: Path) -> None:
    source = KeyFile(path)
    changes = 0

    def count() -> None:
        nonlocal changes
        changes += 1

    source.on_change = count
    assert kids(source) == ["one"]
    await source.refresh()
    assert (kids(source), changes, source.looks) == (["one"], 0, 1)
    write(path, "one", "two")
    await source.refresh()
    assert (kids(source), changes, source.looks) == (["one", "two"], 1, 2)


async def test_it_is_looked_at_without_being_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "LOOK_S", 0.01)
    source = KeyFile(path)
    changed = asyncio.Event()
    source.on_change = changed.set
    task = asyncio.create_task(source.run())
    write(path, "two")
    async with asyncio.timeout(5):
        await changed.wait()
    assert kids(source) == ["two"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("content", [b"{", b'{"keys":[]}', b'{"keys":[7]}', None])
async def test_the_former_keys_stay_when_the_file_becomes_no_good(
    path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    source = KeyFile(path)
    spoil(path, content)
    await source.refresh()
    assert kids(source) == ["one"]
    write(path, "two")
    await source.refresh()
    assert kids(source) == ["two"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        (b"{", "is no JWKS: it is no JSON"),
        (b'{"keys":[]}', "holds no key"),
        (b" " * (FILE_BYTES_MAX + 1), "is longer than"),
        (json.dumps({"keys": [{"kty": "oct", "kid": "a", "k": "c2hvcnQ"}]}).encode(), "5 bytes"),
        (key_set(SigningKey("RS256", rsa_bits=1024), SigningKey("Ed25519")), "1024 bits"),
    ],
)
def test_a_file_that_is_no_good_is_refused_at_the_start(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "jwks.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SetupError, match=problem) as refused:
        KeyFile(file)
    assert "auth.jwks_file" in refused.value.advice
    assert "c2hvcnQ" not in str(refused.value)
