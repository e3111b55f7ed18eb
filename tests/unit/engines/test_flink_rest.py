"""A cluster that answers with what is no answer: who asks is told, and tries again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from zipline.engines.flink.rest import Jobs, UnknownJobError, UnreachableError


@contextmanager
def answering(status: int, body: bytes, length: int) -> Iterator[str]:
    """The address of a server that answers everything with this, and says that it is so long."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "length", "said"),
    [(b'{"state": "RUN', 100, "does not answer"), (b"<html>a proxy</html>", 20, "is no JSON")],
)
def test_an_answer_that_is_cut_off_or_is_none_is_no_answer(body: bytes, length: int, said: str) -> None:
    with answering(200, body, length) as address, pytest.raises(UnreachableError, match=said):
        Jobs(address).state("a")


def test_a_job_that_is_not_known_is_told_apart() -> None:
    with answering(404, b"{}", 2) as address, pytest.raises(UnknownJobError):
        Jobs(address).state("a")
