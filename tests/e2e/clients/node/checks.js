// Puts the Guard of the document to the test: says "ok - NAME" or "not ok - NAME: WHY" of what its caller sees.
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { Denied, Guard, v1 } from "./client.js"; // the document's, whose example runs when it is imported
import { details } from "./errors.js";
import secured from "./tls.js";

const HANG_MS = 60_000; // only a hang takes so long
const { E2E_PLAIN, E2E_GONE, E2E_SILENT } = process.env;

class Trouble extends Error {}

function check(name, holds, why) {
  if (!holds) process.exitCode = 1;
  console.log(holds ? `ok - ${name}` : `not ok - ${name}: ${why}`);
}

const guardAt = (address) => new Guard(address, grpc.credentials.createInsecure());

/** What comes out of a promise, be it an error. */
const outcome = (promise) => promise.catch((error) => error);

const fail = async () => {
  throw new Trouble("out of order");
};

async function outcomes(guard) {
  check("a call's result reaches the caller", (await guard.call("node.success", async () => 42)) === 42);
  let error = await outcome(guard.call("node.failure", fail));
  check("a call's error reaches the caller", error instanceof Trouble, error);
  const cancel = new AbortController();
  error = await outcome(
    guard.call("node.cancelled", () => {
      const call = sleep(HANG_MS, undefined, { signal: cancel.signal });
      cancel.abort();
      return call;
    }),
  );
  check("an AbortError reaches the caller", error?.name === "AbortError", error);
}

async function opening(guard) {
  for (let i = 0; i < 5; i += 1) await outcome(guard.call("node.opens", fail));
  let made = false;
  const error = await outcome(
    guard.call("node.opens", async () => {
      made = true;
    }),
  );
  check("an open breaker throws Denied", error instanceof Denied, error);
  check("what an open breaker denies is not called", !made);
}

async function withoutBreakerd(what, address) {
  const guard = guardAt(address);
  const begun = performance.now();
  const answer = await outcome(guard.call(`node.${what}`, async () => "made"));
  const ms = performance.now() - begun;
  check(`with breakerd ${what} the call goes ahead`, answer === "made" && ms < HANG_MS, `${answer}, ${ms} ms`);
  const said = await outcome(guard.ready(100));
  check(`with breakerd ${what} ready says no`, said instanceof Error, said);
}

async function errors() {
  const configs = new v1.ConfigService(E2E_PLAIN, grpc.credentials.createInsecure());
  const wrong = { service: "node.errors", thresholds: { failureRateThreshold: 120 } };
  const error = await new Promise((resolve) => configs.UpdateConfig(wrong, resolve));
  const said = JSON.stringify(details(error));
  check("the details of an error name the field", said.includes("failure_rate_threshold"), said);
}

const guard = guardAt(E2E_PLAIN);
const why = await outcome(guard.ready(HANG_MS));
check("ready says yes", why === undefined, why);
await outcomes(guard);
await opening(guard);
await withoutBreakerd("gone", E2E_GONE);
await withoutBreakerd("silent", E2E_SILENT);
const answer = await outcome(secured.call("node.tls", async () => "made"));
check("over TLS with a token the call is made", answer === "made", answer);
await errors();
process.exit(); // channels that are open would keep it running
