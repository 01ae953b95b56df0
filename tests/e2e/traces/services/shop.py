"""The first service: POST /checkout over HTTP, which asks breakerd before it calls billing. Prints its port."""

import http.server
import sys
import threading

import telemetry

end = telemetry.start()  # before a channel is made

import grpc
from opentelemetry import propagate, trace

from breakers import Breakers, Denied

breakers, billing = Breakers(sys.argv[1]), grpc.insecure_channel(sys.argv[2])
charge = billing.unary_unary("/billing.Billing/Charge")
tracer = trace.get_tracer("shop")


class Checkout(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        order = self.rfile.read(int(self.headers["content-length"]))
        caller = propagate.extract(self.headers)
        with tracer.start_as_current_span("POST /checkout", context=caller, kind=trace.SpanKind.SERVER):
            try:
                breakers.guarded("billing", lambda: charge(order, timeout=10))
                answer = 200, "paid"
            except Denied:
                answer = 503, "denied"
            except grpc.RpcError as error:
                answer = 502, error.details()
        self.send_response(answer[0])
        self.end_headers()
        self.wfile.write(answer[1].encode())

    def log_message(self, *_):
        """Says nothing."""


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Checkout)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
telemetry.until_asked_to_stop()
server.shutdown()
end()
