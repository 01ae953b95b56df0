"""Puts the Guard of the document to the test: says "ok - NAME" or "not ok - NAME: WHY" of what its caller sees."""

import asyncio
import contextlib
import io
import os
import pathlib
import signal
import sys
import time

import grpc
from breakerd.v1 import config_service_pb2 as cfg, config_service_pb2_grpc

import client  # the document's, whose example runs when it is imported

Guard = client.Guard
HANG_SECONDS = 60  # only a hang takes so long
failed = False


class Trouble(Exception):
    """What the service does wrong."""


def check(name, holds, why=""):
    global failed
    failed = failed or not holds
    print(f"ok - {name}" if holds else f"not ok - {name}: {why}", flush=True)


def raised(guard, service, call):
    """What comes out of a guarded call."""
    try:
        return guard.call(service, call)
    except BaseException as error:
        return error


def fail():
    raise Trouble("out of order")


def ctrl_c():
    signal.raise_signal(signal.SIGINT)
    time.sleep(HANG_SECONDS)


def cancelled():
    raise asyncio.CancelledError


def outcomes(guard):
    check("a call's result reaches the caller", raised(guard, "python.success", lambda: 42) == 42)
    error = raised(guard, "python.failure", fail)
    check("a call's exception reaches the caller", isinstance(error, Trouble), repr(error))
    error = raised(guard, "python.interrupted", ctrl_c)
    check("Ctrl-C reaches the caller", isinstance(error, KeyboardInterrupt), repr(error))
    error = raised(guard, "python.cancelled", cancelled)
    check("a task's cancellation reaches the caller", isinstance(error, asyncio.CancelledError), repr(error))


def opening(guard):
    for _ in range(5):
        raised(guard, "python.opens", fail)
    calls = []
    error = raised(guard, "python.opens", lambda: calls.append("made"))
    check("an open breaker raises Denied", isinstance(error, client.Denied), repr(error))
    check("what an open breaker denies is not called", not calls, calls)


def without_breakerd():
    for what in ["gone", "silent"]:
        guard = Guard(grpc.insecure_channel(os.environ[f"E2E_{what.upper()}"]))
        begun = time.monotonic()
        answer = raised(guard, f"python.{what}", lambda: "made")
        took = time.monotonic() - begun
        check(f"with breakerd {what} the call goes ahead", answer == "made" and took < HANG_SECONDS, f"{answer!r}, {took} s")
        check(f"with breakerd {what} ready says no", guard.ready(0.1) is False)


def tls():
    # document: TLS and tokens
    answer = raised(guard, "python.tls", lambda: "made")
    check("over TLS with a token the call is made", answer == "made", repr(answer))


def errors(configs):
    wrong = cfg.UpdateConfigRequest(service="python.errors")
    wrong.thresholds.failure_rate_threshold = 120
    said = io.StringIO()
    try:
        configs.UpdateConfig(wrong, timeout=HANG_SECONDS)
    except grpc.RpcError as error:
        with contextlib.redirect_stdout(said):
            # document: Errors
    check("the details of an error name the field", "failure_rate_threshold" in said.getvalue(), said.getvalue())


# document: Watches


def watching(configs):
    told = []

    def tell(message):
        told.append(message.WhichOneof("event"))
        if told[-1] == "bookmark":
            raise Trouble("seen enough")

    with contextlib.suppress(Trouble):
        follow(configs, "python.watch", tell)
    check("a watch tells of the thresholds of a service", told[-1:] == ["bookmark"], told)


def main():
    channel = grpc.insecure_channel(os.environ["E2E_PLAIN"])
    guard = Guard(channel)
    check("ready says yes", guard.ready(HANG_SECONDS) is True)
    outcomes(guard)
    opening(guard)
    without_breakerd()
    tls()
    configs = config_service_pb2_grpc.ConfigServiceStub(channel)
    errors(configs)
    watching(configs)
    sys.exit(failed)


main()
