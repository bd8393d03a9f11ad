"""TLS on the server's own port, where no proxy in front does it."""

from __future__ import annotations

import ssl
from pathlib import Path

from tidewire.core.errors import SetupError

_ADVICE = "Give server.tls_certificate the whole chain and server.tls_key its key, both as PEM."


def tls_context(certificate: str, key: str) -> ssl.SSLContext | None:
    """What the port needs to speak TLS; None when neither file is named.

    TLS 1.2 and newer. The files are read now: a new certificate needs a restart.

    Raises:
        SetupError: One is named without the other, or they cannot be used.
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise SetupError("Of server.tls_certificate and server.tls_key one is missing.", _ADVICE)
    for file in (certificate, key):
        if not Path(file).expanduser().is_file():
            raise SetupError(f"The file {file} is not there.", _ADVICE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The sniffer looks for HTTP/1.1; a client that may choose would choose HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(
            Path(certificate).expanduser(), Path(key).expanduser(), password=_no_password
        )
    except (ssl.SSLError, OSError) as error:
        raise SetupError(f"The certificate cannot be used: {error}.", _ADVICE) from error
    return context


def _no_password() -> str:
    """Stand in for the terminal, where OpenSSL would ask and wait for ever."""
    raise SetupError(
        "The key of server.tls_key is encrypted.",
        "Take its password away: openssl pkey -in KEY -out NEW",
    )
