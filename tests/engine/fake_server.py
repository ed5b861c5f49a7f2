"""Stands in for a vLLM server: answers its calls in a millisecond, and fails where it is told to.

    python fake_server.py FOLDER PORT

Every call is written down in FOLDER/calls. At the path named in FOLDER/die-at the process ends; at the one in
FOLDER/loses-its-engine-at the call does not come back, as where the process behind vLLM's server has died; each once.
What FOLDER/refusal says is the answer to new weights.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[[str, Any], tuple[int, str]]
"""(path, what was sent) -> (status, body)."""


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """A whole answer of /v1/completions: the prompt's last id over and over, each with the log-prob minus seed."""
    ids = [body["prompt"][-1]] * body["max_tokens"]
    log_probs = {"token_logprobs": [-float(body.get("seed", 0))] * len(ids)}
    return {"choices": [{"token_ids": ids, "logprobs": log_probs, "finish_reason": "length"}]}


def serve(port: int, answer: Answer) -> ThreadingHTTPServer:
    """A server on a port of this machine; 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._answer(json.loads(self.rfile.read(length) or b"null"))

        def _answer(self, body: Any) -> None:
            status, text = answer(self.path.partition("?")[0], body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked may be tired of waiting
                self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    ThreadingHTTPServer.request_queue_size = 256
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def usual_answer(path: str, body: Any) -> tuple[int, str]:
    """What a server in good health says."""
    if path == "/v1/completions":
        return 200, json.dumps(completion(body))
    return 200, json.dumps({"success": True, "is_paused": False})


def main(folder: Path, port: int) -> None:
    """Serves until it is killed."""
    lost = threading.Event()

    def answer(path: str, body: Any) -> tuple[int, str]:
        with (folder / "calls").open("a") as calls:
            calls.write(json.dumps([os.getpid(), path, body]) + "\n")
        dies_at = folder / "die-at"
        if dies_at.exists() and dies_at.read_text() == path:
            dies_at.unlink()
            os._exit(7)
        loses = folder / "loses-its-engine-at"
        if loses.exists() and loses.read_text() == path:
            loses.unlink()
            lost.set()
            time.sleep(600)
        refusal = folder / "refusal"
        if refusal.exists() and path == "/update_weights":
            return 500, refusal.read_text()
        return (503, "") if lost.is_set() and path == "/health" else usual_answer(path, body)

    print("the fake server is up", flush=True)
    serve(port, answer).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
