from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tidewire.core.errors import SetupError
from tidewire.server.tls import tls_context


def test_without_files_there_is_no_tls() -> None:
    assert tls_context("", "") is None


def test_a_certificate_and_its_key_make_a_context(tmp_path: Path) -> None:
    context = tls_context(*make_certificate(tmp_path))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_key = make_certificate(tmp_path / "other")
    for pair, told in [
        ((certificate, ""), "one is missing"),
        ((certificate, str(tmp_path / "none")), "is not there"),
        ((key, certificate), "cannot be used"),
        ((certificate, other_key), "cannot be used"),
    ]:
        with pytest.raises(SetupError, match=told):
            tls_context(*pair)


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="encrypted"):
        tls_context(*make_certificate(tmp_path, b"word"))
