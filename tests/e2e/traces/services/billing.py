"""The second service: Charge over gRPC, which asks breakerd before it calls the bank. Prints its port."""

import sys
from concurrent import futures

import telemetry

end = telemetry.start()  # before a server or a channel is made

import grpc

from breakers import Breakers, Denied

breakers = Breakers(sys.argv[1])


def bank(order):
    if order == b"fails":
        raise ConnectionError("no bank")
    return b"charged"


def charge(order, context):
    try:
        return breakers.guarded("bank", lambda: bank(order))
    except (ConnectionError, Denied) as error:
        context.abort(grpc.StatusCode.UNAVAILABLE, repr(error))


server = grpc.server(futures.ThreadPoolExecutor(4))
handler = grpc.unary_unary_rpc_method_handler(charge)  # of bytes: no proto is needed
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("billing.Billing", {"Charge": handler})])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
telemetry.until_asked_to_stop()
server.stop(1).wait()
end()
