package main

import (
	"net/http"
	"strconv"
)

func retries(b *bench) {
	server, dependency, proxies := b.begin("default_failure_threshold = 3\ndefault_timeout_seconds = 3600", inTurn(answers(500), answers(500), answers(200)), 1,
		plan{route: "timeout: 60s, retry_policy: { retry_on: 5xx, num_retries: 2 }"})
	client := overHTTP1()
	b.serves(client, proxies[0], 5)
	b.check(dependency.counted().calls == 15, "5 requests of 3 attempts reached the dependency %d times", dependency.counted().calls)
	b.until("there are 5 outcomes", func() bool { return server.outcomes("dependency") == outcomes{successful: 5} })

	dependency.behaves(answers(503))
	for range 3 {
		client.get(proxies[0].url("/"))
	}
	b.until("three failures have opened the circuit", func() bool { return server.state("dependency") == open })
	b.check(server.outcomes("dependency") == outcomes{successful: 5, failed: 3}, "%+v", server.outcomes("dependency"))
	b.check(dependency.counted().calls == 9, "3 requests of 3 attempts reached the dependency %d times", dependency.counted().calls)
}

func grpcStatus(b *bench) {
	server, dependency, proxies := b.begin("default_failure_threshold = 4\ndefault_timeout_seconds = 3600", answersGrpc(0, false), 1, plan{http2: true})
	client, method := overHTTP2(), proxies[0].url("/shop.Orders/Get")

	reply := client.call(method)
	b.check(reply.grpcStatus == "0", "a call that succeeds: %v", reply)
	// NOT_FOUND is an answer: the dependency works.
	dependency.behaves(answersGrpc(5, true))
	reply = client.call(method)
	b.check(reply.grpcStatus == "5", "a call that finds nothing: %v", reply)
	b.until("both are successes", func() bool { return server.outcomes("dependency") == outcomes{successful: 2} })

	// INTERNAL after a message, and UNAVAILABLE instead of one. The HTTP status of both is 200.
	for _, failing := range []behaviour{answersGrpc(13, false), answersGrpc(14, true), answersGrpc(13, false), answersGrpc(14, true)} {
		dependency.behaves(failing)
		reply = client.call(method)
		b.check(reply.code == 200 && reply.rejectedBy() == "", "a call that fails: %v", reply)
	}
	b.until("four failures have opened the circuit", func() bool { return server.state("dependency") == open })
	b.check(server.outcomes("dependency") == outcomes{successful: 2, failed: 4}, "%+v", server.outcomes("dependency"))

	dependency.behaves(answersGrpc(0, false))
	reply = client.call(method)
	b.check(reply.grpcStatus == "14" && reply.rejectedBy() == "OPEN" && reply.header.Get("retry-after") != "", "a rejected call: %v", reply)
	b.check(reply.header.Get("grpc-status-details-bin") != "", "a rejected call has no details: %v", reply)
	b.check(dependency.counted().calls == 0, "a rejected call reached the dependency")
}

// flags shows the class of each failure, by services that count only one class: others are successes then.
func flags(b *bench) {
	nobody := b.freePort()
	kinds := []struct {
		class     string
		behaviour behaviour // nil: nothing listens
		http2     bool
		code      int
	}{
		{"upstream_request_timeout", hangs, false, 504},
		{"upstream_connection_failure", nil, false, 503},
		{"upstream_connection_termination", resets, false, 503},
		{"upstream_remote_reset", func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true, 503},
		{"http_502", answers(502), false, 502},
		{"http_429", answers(429), false, 429},
	}
	server := b.breakerd("default_failure_threshold = 1\ndefault_timeout_seconds = 3600")
	client := overHTTP1()
	for _, kind := range kinds {
		port := nobody
		if kind.behaviour != nil {
			port = b.dependency(kind.behaviour).port
		}
		route := "timeout: 60s"
		if kind.code == http.StatusGatewayTimeout {
			route = "timeout: 0.3s"
		}
		proxy := b.proxies(1, server, plan{dependency: port, http2: kind.http2, route: route})[0]
		server.command("config", "set", "dependency", "--create", "ignore_error_classes="+kind.class)
		before := server.outcomes("dependency")
		reply := client.get(proxy.url("/"))
		b.check(reply.code == kind.code && reply.rejectedBy() == "", "%s: %v", kind.class, reply)
		b.until(kind.class+" is ignored", func() bool { return server.outcomes("dependency").ignored == before.ignored+1 })

		server.command("config", "unset", "dependency")
		server.command("config", "set", "dependency", "record_error_classes="+kind.class)
		client.get(proxy.url("/"))
		b.until(kind.class+" opens the circuit", func() bool { return server.state("dependency") == open })
		server.command("config", "unset", "dependency")
		server.command("reset", "dependency")
		proxy.process.kill()
	}
	b.check(server.outcomes("dependency").successful == 0, "%+v", server.outcomes("dependency"))

	// A retry-after of the dependency is the least that the circuit stays open, if the thresholds say so.
	server.command("config", "set", "dependency", "honor_retry_after=true", "timeout_seconds=1", "max_wait=3600")
	busy := b.dependency(func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("retry-after", "1800")
		w.WriteHeader(503)
	})
	proxy := b.proxies(1, server, plan{dependency: busy.port})[0]
	rejected := b.untilOpen(client, proxy.url("/"))
	wait, err := strconv.Atoi(rejected.header.Get("retry-after"))
	b.check(err == nil && wait > 1700 && wait <= 1800, "retry-after of the rejection is %q", rejected.header.Get("retry-after"))
}
