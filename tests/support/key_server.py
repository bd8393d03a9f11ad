"""An address that serves a JWKS, as an authentication service would."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class KeyServer:
    """Serves one document on a loopback port while its block runs.

    Attributes:
        document: What it answers with.
        status: HTTP status of the answer.
        headers: More of its head.
        delay_s: Seconds before it answers.
        asked_s: When it was asked, by the monotonic clock.
    """

    def __init__(self, document: bytes = b"") -> None:
        self.document = document
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.asked_s: list[float] = []
        self._release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked_s.append(time.monotonic())
                outer._release.wait(outer.delay_s)
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(outer.document)))
                self.end_headers()
                self.wfile.write(outer.document)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
                """Say nothing."""

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    return  # who asked has gone

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/jwks.json"

    def __enter__(self) -> KeyServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=5)
