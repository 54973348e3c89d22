"""HTTP servers for tests: one that speaks as a Ray dashboard does, as far as jobs are submitted to
it, and one that is some other website."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ray


class Website:
    """Answers every request with a page; keeps what it was asked. A context manager."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                site.asked.append(f"{self.command} {self.path}")
                site.bodies.append(self.rfile.read(size))
                status, body = site.answer(self.command, self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str) -> tuple[int, bytes]:
        return 200, b"<html>Welcome</html>"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Dashboard(Website):
    """Takes packages and jobs; every job has ended well as soon as it is asked after."""

    def answer(self, method: str, path: str) -> tuple[int, bytes]:
        if path == "/api/version":
            return 200, json.dumps({"version": "4", "ray_version": ray.__version__}).encode()
        if path.startswith("/api/packages/"):
            return (200, b"") if method == "PUT" else (404, b"")
        if path == "/api/jobs/":
            return 200, json.dumps({"job_id": "job-1", "submission_id": "job-1"}).encode()
        if path == "/api/jobs/job-1":
            job = {"type": "SUBMISSION", "submission_id": "job-1", "status": "SUCCEEDED"}
            return 200, json.dumps(job | {"entrypoint": "", "driver_exit_code": 0}).encode()
        return 404, b""
