package main

import (
	"sync"
	"time"
)

// Two attempts: the second one goes out when the first one has not answered in 0.2 s, and then both go on.
const hedged = "retry_policy: { retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s }, hedge_policy: { hedge_on_per_try_timeout: true }"

func hedges(b *bench) {
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 3600")
	dependency := b.dependency(answers(200))
	patient := b.proxies(1, server, plan{dependency: dependency.port, route: "timeout: 60s, " + hedged})[0]
	hasty := b.proxies(1, server, plan{dependency: dependency.port, route: "timeout: 2s, " + hedged})[0]
	client := overHTTP1()
	var expected outcomes
	for index, request := range []struct {
		first     string
		proxy     *proxy
		behaviour behaviour
		code      int
	}{
		{"hangs, and the second one answers", patient, inTurn(hangs, answers(200)), 200},
		{"fails, and the second one answers", patient, inTurn(answers(500), answers(200)), 200},
		{"fails, and so does the second one", patient, answers(500), 500},
		// Envoy waits for the first one for as long as the route may take.
		{"hangs, and the second one fails", hasty, inTurn(hangs, answers(500)), 504},
		{"hangs, and so does the second one", hasty, hangs, 504},
	} {
		dependency.behaves(request.behaviour)
		began := time.Now()
		reply := client.get(request.proxy.url("/"))
		took := time.Since(began).Seconds()
		b.check(reply.code == request.code && reply.rejectedBy() == "", "the first attempt %s: %v", request.first, reply)
		b.check(dependency.counted().calls == 2, "the first attempt %s: %d attempts reached the dependency", request.first, dependency.counted().calls)
		if reply.code == 200 {
			expected.successful++
		} else {
			expected.failed++
		}
		b.until("both attempts are one outcome of one entry", func() bool {
			return server.outcomes("dependency") == expected && server.entries()["recorded"] == index+1
		})
		b.check(server.checks("OK") == index+1, "%d requests are %d checks", index+1, server.checks("OK"))
		if index == 0 {
			// Of the attempt that answered: that the request waited for another one before is not in the log.
			logged := server.metrics()[`circuit_breaker_call_duration_seconds_sum{service="dependency"}`]
			b.check(logged > 0 && logged < took-0.15, "a request of two attempts took %f s, and %f s in the log", took, logged)
		}
	}
	b.check(server.state("dependency") == open, "three failures have not opened the circuit")
	b.until("the history has the class of the last one", func() bool {
		history := server.history("dependency")
		return len(history) == 1 && history[0].Class == "upstream_request_timeout"
	})
	dependency.behaves(answers(200))
	b.check(client.get(patient.url("/")).rejectedBy() == "OPEN" && dependency.counted().calls == 0, "a hedged request passed an open circuit")
}

// hedgedProbes shows what a permit does not bound: attempts of the proxy.
func hedgedProbes(b *bench) {
	const probes, attempts = 3, 2
	server, dependency, proxies := b.begin(recovering(probes), answers(500), 2, plan{route: "timeout: 60s, " + hedged})
	b.untilOpen(overHTTP1(), proxies[0].url("/"))
	openings, late := server.openings("dependency"), server.outcomes("dependency").late

	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	b.onCleanUp(release)
	dependency.behaves(holds(released))
	crowd := b.crowd(16, proxies)
	b.until("both attempts of each probe are in flight", func() bool { return dependency.counted().running == probes*attempts })
	crowd.isRejected(200)
	counted := dependency.counted()
	b.check(counted.peak == probes*attempts && counted.calls == probes*attempts, "%d probes were permitted, and the dependency saw %d attempts, %d at a time", probes, counted.calls, counted.peak)
	b.check(server.outcomes("dependency").successful == 0 && crowd.served.Load() == 0, "probes were served while the dependency held all")

	release()
	b.until("the circuit is closed", func() bool { return server.state("dependency") == closed })
	b.until("clients are served", func() bool { return crowd.served.Load() > probes })
	crowd.stop()
	sent := int(crowd.served.Load())
	// A probe that was permitted while the others were answered is late: they have closed the circuit.
	b.until("each request is one outcome", func() bool {
		counted := server.outcomes("dependency")
		return counted.successful+counted.late-late == sent
	})
	b.check(server.openings("dependency") == openings, "probes that were answered late have failed")
}

// retriedProbes shows how often probes reach the dependency when their proxies retry, and how many at a time.
func retriedProbes(b *bench) {
	const probes, attempts = 3, 3
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	b.onCleanUp(release)
	for _, failing := range []struct {
		by        string
		perTry    string
		behaviour behaviour
		class     string
		// Most attempts at a time: the dependency can still have one that its proxy gave up.
		peak int
	}{
		{"503", "60s", holdsAndAnswers(released, 503), "upstream_retry_limit_exceeded", probes},
		{"per_try_timeout", "1s", hangs, "upstream_request_timeout", probes * attempts},
	} {
		server := b.newBreakerd("breakerd-"+failing.by, recovering(probes))
		server.start()
		dependency := b.dependency(answers(500))
		route := "timeout: 60s, retry_policy: { retry_on: 5xx, num_retries: 2, per_try_timeout: " + failing.perTry + " }"
		proxies := b.proxies(2, server, plan{dependency: dependency.port, route: route})
		b.untilOpen(overHTTP1(), proxies[0].url("/"))
		openings := server.openings("dependency")
		dependency.behaves(failing.behaviour)
		crowd := b.crowd(16, proxies)
		b.until("the probes are in flight", func() bool { return len(dependency.counted().requests) == probes })
		// The next time it stays open.
		server.command("config", "set", "dependency", "timeout_seconds=3600")
		crowd.isRejected(50)
		release()
		b.until("the probes have failed", func() bool { return server.openings("dependency") == openings+1 })
		b.until("all attempts have ended", func() bool {
			counted := dependency.counted()
			return counted.calls >= probes*attempts && counted.running == 0
		})
		crowd.stop()
		counted := dependency.counted()
		b.check(counted.calls == probes*attempts && counted.peak <= failing.peak, "%s: %d attempts reached the dependency, %d at a time", failing.by, counted.calls, counted.peak)
		b.check(len(counted.requests) == probes, "%s: the attempts are of %d requests", failing.by, len(counted.requests))
		for id, count := range counted.requests {
			b.check(count == attempts, "%s: request %s reached the dependency %d times", failing.by, id, count)
		}
		b.check(crowd.served.Load() == 0, "%s: %d were served", failing.by, crowd.served.Load())
		b.until("the history has the class of the probes", func() bool {
			opened := server.history("dependency")[0]
			return opened.To == "STATE_OPEN" && opened.Class == failing.class
		})
	}
}
