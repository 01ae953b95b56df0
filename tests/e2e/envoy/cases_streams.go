package main

import (
	"net/http"
	"syscall"
)

// drains stops each of two replicas in turn, as an upgrade does, while requests go on.
func drains(b *bench) {
	servers := b.replicas(2, "default_failure_threshold = 3\ndefault_timeout_seconds = 3600")
	dependency := b.dependency(answers(200))
	proxies := b.proxies(2, servers[0], plan{dependency: dependency.port, replicas: []int{servers[1].grpc}, ejects: true})
	crowd := b.crowd(4, proxies)
	counts := func(server *breakerd) {
		before := server.entries()["recorded"]
		b.until("outcomes count", func() bool { return server.entries()["recorded"] > before+100 })
	}
	b.until("outcomes count", func() bool { return servers[0].entries()["recorded"]+servers[1].entries()["recorded"] > 100 })
	for index, stopped := range servers {
		stopped.process.signal(syscall.SIGTERM)
		<-stopped.process.ended
		b.check(stopped.process.command.ProcessState.Success(), "a replica did not end well: %s", stopped.process.lastLines())
		// The streams of both proxies are at the other one now.
		counts(servers[1-index])
		stopped.start()
		// It rejects checks until it has loaded, and is left alone for that.
		b.until("it answers checks", func() bool { return stopped.checks("OK") > 100 })
		for _, proxy := range proxies {
			b.until("its proxies ask it again", func() bool { return proxy.statistic("cluster.breakerd.membership_healthy") == 2 })
		}
	}
	crowd.stop()
	served := int(crowd.served.Load())
	b.check(crowd.other.Load()+crowd.rejected.Load() == 0 && dependency.counted().calls == served, "of %d requests %d failed", dependency.counted().calls, crowd.other.Load()+crowd.rejected.Load())
	// Without that each second request passes without a check for as long as a replica is away. How many do meanwhile depends on the machine.
	for _, proxy := range proxies {
		ejected := proxy.statistic("cluster.breakerd.outlier_detection.ejections_total")
		b.check(ejected >= 2, "a proxy left out a replica that was away %d times", ejected)
	}
	for _, server := range servers {
		counted := server.outcomes("dependency")
		b.check(counted.failed+counted.rejected == 0, "stops count against the dependency: %+v", counted)
	}
	dependency.behaves(answers(500))
	b.untilOpen(overHTTP1(), proxies[0].url("/"))
	b.untilOpen(overHTTP1(), proxies[1].url("/"))
}

// streamsRefused has one place for the streams of three proxies, which try again with whatever they have to send.
func streamsRefused(b *bench) {
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 3600\n[envoy]\nenabled = true\n[grpc]\nwatches_max = 1")
	dependency := b.dependency(answers(200))
	of := plan{dependency: dependency.port, oneCluster: true}
	client := overHTTP1()
	first := b.proxies(1, server, of)[0]
	b.serves(client, first, 10)
	b.until("outcomes of the first proxy count", func() bool { return server.outcomes("dependency") == outcomes{successful: 10} })

	others := b.proxies(2, server, of)
	for _, proxy := range others {
		refused := server.logStreams("RESOURCE_EXHAUSTED")
		b.until("its streams are refused, and requests go on", func() bool {
			b.serves(client, proxy, 1)
			return server.logStreams("RESOURCE_EXHAUSTED") >= refused+20
		})
		const passed = "cluster.dependency.ext_authz.failure_mode_allowed"
		b.check(proxy.statistic(passed) == 0, "%d requests passed without a check", proxy.statistic(passed))
	}
	b.check(server.outcomes("dependency") == outcomes{successful: 10}, "outcomes of streams that are refused count: %+v", server.outcomes("dependency"))

	// What one may tell is for all.
	dependency.behaves(answers(500))
	b.untilOpen(client, first.url("/"))
	for _, proxy := range others {
		reply := client.get(proxy.url("/"))
		b.check(reply.rejectedBy() == "OPEN", "a proxy whose log is refused does not reject: %v", reply)
	}
	// Its place is free when it goes.
	server.command("reset", "dependency")
	dependency.behaves(answers(http.StatusOK))
	before := server.outcomes("dependency").successful
	first.process.kill()
	// Whichever of the others tries first gets it.
	b.until("outcomes of another one count", func() bool {
		b.serves(client, others[0], 1)
		b.serves(client, others[1], 1)
		return server.outcomes("dependency").successful > before
	})
}
