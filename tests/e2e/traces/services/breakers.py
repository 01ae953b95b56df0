"""Asks breakerd before a call, and reports how it went."""

import grpc
from breakerd.v1 import breaker_service_pb2 as pb, breaker_service_pb2_grpc, common_pb2

SECONDS_MAX = 10  # a busy machine; a service would wait for 50 ms


class Denied(Exception):
    """The breaker is open."""


class Breakers:
    def __init__(self, address):
        self.stub = breaker_service_pb2_grpc.BreakerServiceStub(grpc.insecure_channel(address))

    def guarded(self, service, call):
        request = pb.AllowRequestRequest(service=service)
        answer = self.stub.AllowRequest(request, timeout=SECONDS_MAX)
        if not answer.allowed:
            raise Denied(service)
        outcome = common_pb2.OUTCOME_FAILURE
        try:
            result = call()
            outcome = common_pb2.OUTCOME_SUCCESS
            return result
        finally:
            report = pb.RecordOutcomeRequest(permit=answer.permit, service=service, outcome=outcome)
            self.stub.RecordOutcome(report, timeout=SECONDS_MAX)
