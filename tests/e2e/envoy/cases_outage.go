package main

import (
	"context"
	"encoding/binary"
	"net/http"
	"syscall"
)

func away(b *bench) {
	server, dependency, proxies := b.begin("default_failure_threshold = 3\ndefault_timeout_seconds = 3600", answers(200), 2, plan{checkMs: 100})
	client := overHTTP1()
	served := 0
	serve := func(count int) {
		for range count {
			for _, proxy := range proxies {
				reply := client.get(proxy.url("/"))
				b.check(reply.code == 200, "a request failed: %v", reply)
				served++
			}
		}
	}
	// counts says whether breakerd takes part: of one more request through each proxy, the outcome counts.
	counts := func() bool {
		before := server.outcomes("dependency").successful
		serve(1)
		return server.outcomes("dependency").successful > before
	}
	b.until("outcomes count", counts)

	server.process.kill()
	serve(50)
	server.start()
	b.until("outcomes count after a restart", counts)

	server.process.signal(syscall.SIGSTOP)
	serve(10)
	server.process.signal(syscall.SIGCONT)
	b.until("outcomes count after a pause", counts)
	b.check(dependency.counted().calls == served, "%d requests reached the dependency, and %d were served", dependency.counted().calls, served)
	counted := server.outcomes("dependency")
	b.check(counted.failed == 0 && server.state("dependency") == closed, "an outage of breakerd counts against the dependency: %+v", counted)

	// The breaker protects as before.
	dependency.behaves(answers(500))
	b.untilOpen(client, proxies[1].url("/"))
	server.process.kill()
	b.check(client.get(proxies[1].url("/")).code == 500, "without breakerd the request did not go on to the dependency")
	server.start()
	b.until("the circuit is open after a restart too", func() bool { return client.get(proxies[0].url("/")).rejectedBy() == "OPEN" })
}

func cut(b *bench) {
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 1\ndefault_success_threshold = 1\nhalf_open_permit_timeout = \"1s\"")
	dependency := b.dependency(answers(200))
	relay := b.relay(server.grpc)
	proxy := b.proxies(1, server, plan{dependency: dependency.port, log: relay.port})[0]
	client := overHTTP1()
	b.serves(client, proxy, 10)
	b.until("outcomes count", func() bool { return server.outcomes("dependency") == outcomes{successful: 10} })

	// Late: what was held back counts once it comes.
	relay.set(false, true)
	b.serves(client, proxy, 200)
	b.check(server.outcomes("dependency").successful < 210, "the log was not held back")
	relay.set(false, false)
	b.until("late entries count", func() bool { return server.outcomes("dependency") == outcomes{successful: 210} })

	// Lost: the entries of a time without a log are gone, and no failure.
	relay.set(true, false)
	b.until("the log is cut", func() bool { return !relay.connected() })
	b.serves(client, proxy, 200)
	counted := server.outcomes("dependency")
	b.check(counted == outcomes{successful: 210}, "outcomes without a log: %+v", counted)
	relay.set(false, false)
	b.until("the log is back", func() bool {
		b.serves(client, proxy, 1)
		return server.outcomes("dependency").successful > 210
	})
	counted = server.outcomes("dependency")
	b.check(counted.failed == 0 && counted.ignored == 0 && server.state("dependency") == closed, "lost entries count against the dependency: %+v", counted)

	// A probe whose entry is lost gives its place back after its lease, and does not open the circuit again.
	dependency.behaves(answers(500))
	b.untilOpen(client, proxy.url("/"))
	openings := server.openings("dependency")
	relay.set(true, false)
	b.until("the log is cut", func() bool { return !relay.connected() })
	dependency.behaves(answers(200))
	b.until("two probes, one after the other, whose outcomes are lost", func() bool {
		client.get(proxy.url("/"))
		return dependency.counted().calls >= 2
	})
	b.check(server.state("dependency") == halfOpen && server.openings("dependency") == openings, "a lost probe opened the circuit")
	relay.set(false, false)
	b.until("a probe closes the circuit", func() bool {
		client.get(proxy.url("/"))
		return server.state("dependency") == closed
	})

	// A failure that comes after the lease of its probe does not open the circuit again: another probe has its place by then.
	dependency.behaves(answers(500))
	b.untilOpen(client, proxy.url("/"))
	openings = server.openings("dependency")
	relay.set(false, true)
	dependency.behaves(answers(500))
	probed := func() bool {
		client.get(proxy.url("/"))
		return dependency.counted().calls >= 1
	}
	b.until("a probe fails, and its entry is held back", probed)
	dependency.behaves(answers(200))
	b.until("its lease ends, and another probe has its place", probed)
	relay.set(false, false)
	b.until("a probe closes the circuit", func() bool {
		client.get(proxy.url("/"))
		return server.state("dependency") == closed
	})
	b.check(server.openings("dependency") == openings, "a failure after its lease opened the circuit")
}

func replicas(b *bench) {
	servers := b.replicas(2, "default_failure_threshold = 3\ndefault_timeout_seconds = 2\ndefault_success_threshold = 1\nhalf_open_permit_timeout = \"2s\"")
	dependency := b.dependency(answers(200))
	proxies := b.proxies(2, servers[0], plan{dependency: dependency.port, replicas: []int{servers[1].grpc}})
	client := overHTTP1()
	for _, proxy := range proxies {
		b.serves(client, proxy, 50)
	}
	b.until("all outcomes count, at whichever replica", func() bool {
		sum := 0
		for _, server := range servers {
			counted := server.outcomes("dependency")
			b.check(counted.failed+counted.ignored+counted.late == 0, "%+v", counted)
			sum += counted.successful
		}
		return sum == 100
	})
	for _, server := range servers {
		b.check(server.checks("OK") > 0, "a replica was not asked")
	}

	dependency.behaves(answers(500))
	b.untilOpen(client, proxies[0].url("/"))
	// Open, or half-open once the wait is over.
	b.until("it is not closed at both replicas", func() bool {
		return servers[0].state("dependency") != closed && servers[1].state("dependency") != closed
	})
	dependency.behaves(answers(200))
	b.until("both replicas are closed again", func() bool {
		client.get(proxies[0].url("/"))
		client.get(proxies[1].url("/"))
		return servers[0].state("dependency") == closed && servers[1].state("dependency") == closed
	})

	servers[0].process.kill()
	for _, proxy := range proxies {
		b.serves(client, proxy, 50)
	}
	b.check(servers[1].state("dependency") == closed, "the circuit opened when a replica went")
}

func forged(b *bench) {
	server, dependency, proxies := b.begin("default_failure_threshold = 3\ndefault_timeout_seconds = 3600\n[envoy]\nenabled = true\npermit_header = \"x-breakerd-permit\"", answers(200), 1, plan{})
	proxy, client := proxies[0], overHTTP1()
	send := func() reply {
		return client.send(context.Background(), http.MethodGet, proxy.url("/"), nil, http.Header{
			"X-Breakerd-Permit":                 {"Zm9yZ2Vk"},
			"X-Breakerd-Service":                {"another"},
			"X-Envoy-Auth-Failure-Mode-Allowed": {"true"},
			"X-Request-Id":                      {"00000000-0000-4000-8000-000000000000"},
		})
	}
	for range 3 {
		b.check(send().code == 200, "a request with forged headers was not served")
		permits := dependency.counted().headers["X-Breakerd-Permit"]
		b.check(len(permits) == 1 && permits[0] != "Zm9yZ2Vk" && permits[0] != "", "the dependency got the permits %q", permits)
	}
	b.until("they count as others do", func() bool { return server.outcomes("dependency") == outcomes{successful: 3} })

	// Entries that come from no proxy of ours: with a permit that breakerd has not sealed, and with one that has counted already.
	used := dependency.counted().headers.Get("X-Breakerd-Permit")
	for _, permit := range []string{"Zm9yZ2Vk", "", used} {
		entry := logEntry(permit, 500)
		stream := overHTTP2().callWith("http://"+loopback(server.grpc)+"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs", nil, entry, entry, entry)
		b.check(stream.code == 200, "the stream was not answered: %v", stream)
	}
	dependency.behaves(answers(500))
	for range 3 {
		b.check(send().code == 500, "rejected after forged failures")
	}
	b.until("three real failures open the circuit", func() bool { return server.state("dependency") == open })
	counted := server.outcomes("dependency")
	b.check(counted.failed == 3 && counted.successful == 3, "forged entries count: %+v", counted)
	dependency.behaves(answers(200))
	for range 20 {
		b.check(send().rejectedBy() == "OPEN", "forged headers pass an open circuit")
	}
	b.check(dependency.counted().calls == 0, "forged headers passed an open circuit")
}

// logEntry is a message of the access log with one entry of HTTP that has this permit and this code.
func logEntry(permit string, code uint64) []byte {
	fields := field(1, field(1, []byte("permit")), field(2, field(3, []byte(permit))))
	metadata := field(1, field(1, []byte("envoy.filters.http.ext_authz")), field(2, fields))
	common := field(1, field(17, metadata))
	response := field(4, field(1, binary.AppendUvarint([]byte{1 << 3}, code)))
	return field(2, field(1, common, response))
}
