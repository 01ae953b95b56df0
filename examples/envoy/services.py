"""Three services for the proxies of envoy.yaml: orders on port 9101, payments on 9102, search on 9103.

    POST /-/fail    answer every request with 500 from now on
    POST /-/heal    answer with 200 again
    GET  /-/calls   the requests since the start, without those under /-/
    anything else   a request of a client, through a proxy

They know nothing of breakers.
"""

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVICES = ("orders", "payments", "search")


class Service(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name, port):
        super().__init__(("127.0.0.1", port), Handler)
        self.name = name
        self.lock = threading.Lock()
        self.failing = False
        self.calls = 0

    def handle_error(self, request, client_address):
        """A proxy that ends takes its connections with it."""

    def call(self):
        """Counts a request, and says how it ends."""
        with self.lock:
            self.calls += 1
            return 500 if self.failing else 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        service = self.server
        if self.path == "/-/calls":
            self.answer(200, {"service": service.name, "calls": service.calls})
            return
        status = service.call()
        self.answer(status, {"service": service.name, "status": status})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path not in ("/-/fail", "/-/heal"):
            self.do_GET()
            return
        with self.server.lock:
            self.server.failing = self.path == "/-/fail"
        self.answer(200, {"service": self.server.name, "failing": self.server.failing})

    def answer(self, status, body):
        content = (json.dumps(body) + "\n").encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description="Three services that fail on demand.")
    parser.add_argument("--port", type=int, default=9101, help="port of orders; payments and search have the next two")
    first = parser.parse_args().port
    servers = [Service(name, first + index) for index, name in enumerate(SERVICES)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"{server.name} listens on port {server.server_address[1]}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
