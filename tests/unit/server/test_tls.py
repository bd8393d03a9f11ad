from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidewire.core.errors import SetupError
from tidewire.server.tls import tls_context


def make_pair(folder: Path, password: bytes | None = None) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    (folder / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return str(folder / "c.pem"), str(folder / "k.pem")


def test_without_files_there_is_no_tls() -> None:
    assert tls_context("", "") is None


def test_a_certificate_and_its_key_make_a_context(tmp_path: Path) -> None:
    context = tls_context(*make_pair(tmp_path))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_key = make_pair(tmp_path / "other")
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
        tls_context(*make_pair(tmp_path, b"word"))
