package org.example;

import com.google.rpc.BadRequest;
import io.github.breakerd.v1.ConfigServiceGrpc;
import io.github.breakerd.v1.Thresholds;
import io.github.breakerd.v1.UpdateConfigRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.PrintStream;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;

/** Puts the Guard of the document to the test: says "ok - NAME" or "not ok - NAME: WHY" of what its caller sees. */
public final class Checks {
    /** Only a hang takes so long. */
    private static final long HANG_MS = 60_000;

    private static boolean failed;

    private static final class Trouble extends Exception {}

    public static void main(String[] args) throws Exception {
        var guard = new Guard(channel("E2E_PLAIN"));
        check("ready says yes", !saysNo(guard, HANG_MS), "it says no");
        outcomes(guard);
        opening(guard);
        withoutBreakerd("gone");
        withoutBreakerd("silent");
        tls();
        errors();
        System.exit(failed ? 1 : 0); // channels that are open would keep it running
    }

    private static void outcomes(Guard guard) {
        var result = outcome(guard, "java.success", () -> 42);
        check("a call's result reaches the caller", result.equals(42), result);
        result = outcome(guard, "java.failure", Checks::fail);
        check("a call's exception reaches the caller", result instanceof Trouble, result);
        result = outcome(guard, "java.interrupted", () -> {
            Thread.currentThread().interrupt();
            Thread.sleep(HANG_MS);
            return "slept";
        });
        check("an interrupt reaches the caller", result instanceof InterruptedException, result);
        result = outcome(guard, "java.cancelled", () -> {
            var future = new CompletableFuture<String>();
            future.cancel(true);
            return future.join();
        });
        check("a cancellation reaches the caller", result instanceof CancellationException, result);
    }

    private static void opening(Guard guard) {
        for (int i = 0; i < 5; i++) {
            outcome(guard, "java.opens", Checks::fail);
        }
        var made = new AtomicBoolean();
        var result = outcome(guard, "java.opens", () -> {
            made.set(true);
            return "made";
        });
        check("an open breaker throws Denied", result instanceof Guard.Denied, result);
        check("what an open breaker denies is not called", !made.get(), "it was");
    }

    private static void withoutBreakerd(String what) {
        var guard = new Guard(channel("E2E_" + what.toUpperCase()));
        long begun = System.nanoTime();
        var result = outcome(guard, "java." + what, () -> "made");
        long ms = (System.nanoTime() - begun) / 1_000_000;
        check("with breakerd " + what + " the call goes ahead", result.equals("made") && ms < HANG_MS, result + ", " + ms + " ms");
        check("with breakerd " + what + " ready says no", saysNo(guard, 100), "it says yes");
    }

    private static void tls() throws Exception {
        // document: TLS and tokens
        var result = outcome(guard, "java.tls", () -> "made");
        check("over TLS with a token the call is made", result.equals("made"), result);
    }

    private static void errors() throws Exception {
        var wrong = UpdateConfigRequest.newBuilder().setService("java.errors")
                .setThresholds(Thresholds.newBuilder().setFailureRateThreshold(120)).build();
        var stdout = System.out;
        var said = new ByteArrayOutputStream();
        try {
            ConfigServiceGrpc.newBlockingStub(channel("E2E_PLAIN")).updateConfig(wrong);
        } catch (StatusRuntimeException error) {
            System.setOut(new PrintStream(said, true));
            // document: Errors
        } finally {
            System.setOut(stdout);
        }
        check("the details of an error name the field", said.toString().contains("failure_rate_threshold"), said);
    }

    private static ManagedChannel channel(String variable) {
        return Grpc.newChannelBuilder(System.getenv(variable), InsecureChannelCredentials.create()).build();
    }

    private static boolean saysNo(Guard guard, long ms) {
        try {
            guard.ready(ms);
            return false;
        } catch (StatusRuntimeException error) {
            return true;
        }
    }

    private static String fail() throws Trouble {
        throw new Trouble();
    }

    /** What comes out of a guarded call. */
    private static Object outcome(Guard guard, String service, Callable<?> call) {
        try {
            return guard.call(service, call);
        } catch (Exception error) {
            return error;
        }
    }

    private static void check(String name, boolean holds, Object why) {
        failed |= !holds;
        System.out.println(holds ? "ok - " + name : "not ok - " + name + ": " + why);
    }
}
