from __future__ import annotations

import resource

import pytest

from tidewire.server.open_files import RESERVE, open_files_warning, raise_open_files


def test_the_soft_limit_is_raised_to_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [100, 5000]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, pair: limits.__setitem__(0, pair[0]))
    assert raise_open_files() == 5000
    assert limits == [5000, 5000]


def test_a_limit_that_cannot_be_raised_is_lived_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (100, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_open_files() == 100


def test_too_few_files_are_said_with_what_to_do() -> None:
    warning = open_files_warning(1024, 10_000)
    assert warning is not None
    assert "768" in warning
    assert f"ulimit -n {10_000 + RESERVE}" in warning
    assert open_files_warning(10_000 + RESERVE, 10_000) is None
    assert open_files_warning(None, 10_000) is None
