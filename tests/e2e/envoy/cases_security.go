package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The metrics need no credentials, so that the suite can read them whatever gRPC requires.
const openMetrics = "\n[http]\ntls = false\nauth = false\n"

func withTLS(own *certificate) string {
	return fmt.Sprintf("%s[tls]\ncertificate = %q\nkey = %q\n", openMetrics, own.chain, own.key)
}

// passes says that requests pass a proxy whose checks fail, and that the proxy counts them so.
func (b *bench) passes(proxy *proxy, count, code int) {
	const counter = "cluster.dependency.ext_authz.failure_mode_allowed"
	client, before := overHTTP1(), proxy.statistic(counter)
	for range count {
		reply := client.get(proxy.url("/"))
		b.check(reply.code == code && reply.rejectedBy() == "", "a request whose check fails: %v", reply)
	}
	b.until("the proxy has counted that they passed by failure_mode_allow", func() bool { return proxy.statistic(counter) == before+count })
}

func tlsVerified(b *bench) {
	ours := b.authority("ours")
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 3600" + withTLS(ours.certify("breakerd", "breakerd.example", "127.0.0.1")))
	dependency := b.dependency(answers(200))
	trusting := func(authority *authority, name string) *proxy {
		return b.proxies(1, server, plan{dependency: dependency.port, tls: &peer{authority: authority, name: name}})[0]
	}
	good := trusting(ours, "breakerd.example")
	client := overHTTP1()
	b.serves(client, good, 10)
	// Without a name to match, Envoy accepts every certificate of the authority.
	b.serves(client, trusting(ours, ""), 10)
	b.until("checks and outcomes come over TLS", func() bool {
		return server.checks("OK") == 20 && server.outcomes("dependency") == outcomes{successful: 20}
	})

	// One trusts another authority, and one expects another name: neither sends what it knows to this breakerd.
	dependency.behaves(answers(500))
	for _, wrong := range []struct {
		authority       *authority
		name, statistic string
	}{
		{b.authority("stranger"), "breakerd.example", "cluster.log.ssl.fail_verify_error"},
		{ours, "another.example", "cluster.log.ssl.fail_verify_san"},
	} {
		before, proxy := server.failedHandshakes(), trusting(wrong.authority, wrong.name)
		b.passes(proxy, 10, 500)
		b.until("breakerd has counted failed handshakes", func() bool { return server.failedHandshakes() > before })
		b.until("the log has tried to connect too", func() bool { return proxy.statistic(wrong.statistic) > 0 })
		proxy.process.kill()
	}
	b.check(server.checks("OK") == 20 && server.outcomes("dependency") == outcomes{successful: 20} && server.state("dependency") == closed,
		"proxies that do not trust breakerd were served: %d checks, %+v", server.checks("OK"), server.outcomes("dependency"))

	b.untilOpen(client, good.url("/"))
}

func tlsMutual(b *bench) {
	const edge, mesh = "spiffe://example/ns/shop/sa/edge", "spiffe://example/ns/shop/sa/mesh"
	ours := b.authority("ours")
	settings := "default_failure_threshold = 3\ndefault_timeout_seconds = 3600\nminimum_reporters = 2" +
		withTLS(ours.certify("breakerd", "breakerd.example", "127.0.0.1")) + fmt.Sprintf("client_ca = %q\n", ours.file)
	server := b.breakerd(settings)
	operator := ours.certify("operator", "operator.example")
	server.access = []string{"BREAKERD_CA=" + ours.file, "BREAKERD_CERT=" + operator.chain, "BREAKERD_KEY=" + operator.key}
	dependency := b.dependency(answers(500))
	with := func(own *certificate) *proxy {
		return b.proxies(1, server, plan{dependency: dependency.port, tls: &peer{authority: ours, name: "breakerd.example", own: own}})[0]
	}
	first, second := with(ours.certify("edge", edge)), with(ours.certify("mesh", mesh))
	client := overHTTP1()
	fails := func(proxy *proxy, count int) {
		for range count {
			reply := client.get(proxy.url("/"))
			b.check(reply.code == 500, "a request was not served: %v", reply)
		}
	}

	// Two names are two reporters. Of one proxy alone the failures do not open the circuit.
	fails(first, 20)
	b.until("all failures count", func() bool { return server.outcomes("dependency") == outcomes{failed: 20} })
	b.check(server.state("dependency") == closed, "one reporter opened a circuit that needs two")
	fails(second, 1)
	b.until("a failure of the second one opens the circuit", func() bool { return server.state("dependency") == open })
	b.until("the history tells whose failure that was", func() bool { return len(server.history("dependency")) == 1 })
	opened := server.history("dependency")[0]
	b.check(opened == transition{"STATE_OPEN", "http_500", mesh}, "the history has %+v", opened)
	b.check(client.get(first.url("/")).rejectedBy() == "OPEN", "the first proxy does not reject")

	// Without a certificate, or with one of another authority, the connection is refused.
	checks := server.checks("OK")
	for _, own := range []*certificate{nil, b.authority("stranger").certify("forger", edge)} {
		before, proxy := server.failedHandshakes(), with(own)
		b.passes(proxy, 10, 500)
		b.until("breakerd has counted failed handshakes", func() bool { return server.failedHandshakes() > before })
		proxy.process.kill()
	}
	b.check(server.checks("OK") == checks && server.outcomes("dependency").failed == 21, "a proxy without a certificate was served")

	// With tokens, the certificate has the roles of its entry, under the name there. One without an entry has none.
	entries := b.tokenList()
	entries.addCertificate("shop-edge", "caller", edge, "dependency")
	entries.addCertificate("on-call", "operator", "operator.example", "*")
	server.process.kill()
	server.configure(strings.Replace(settings, "minimum_reporters = 2", "", 1) + entries.setting())
	server.start()
	server.command("reset", "dependency")
	b.passes(second, 10, 500)
	b.until("the certificate without an entry was refused", func() bool { return server.checks("UNAUTHENTICATED") > 0 && server.logStreams("UNAUTHENTICATED") > 0 })
	b.check(server.outcomes("dependency") == outcomes{}, "its outcomes count: %+v", server.outcomes("dependency"))
	b.untilOpen(client, first.url("/"))
	b.until("the history has the name of the entry", func() bool { return server.history("dependency")[0].Caller == "shop-edge" })
}

// callers of a proxy are told apart by their certificates, whatever the proxy itself shows to breakerd.
func callers(b *bench) {
	const front, back, host = "spiffe://example/ns/shop/sa/front", "spiffe://example/ns/shop/sa/back", "batch.example"
	ours := b.authority("ours")
	server, dependency, proxies := b.begin("default_failure_threshold = 3\ndefault_timeout_seconds = 3600\nminimum_reporters = 3", answers(500), 1, plan{clients: ours})
	fails := func(client *client, count int) {
		for range count {
			reply := client.get(proxies[0].url("/"))
			b.check(reply.code == 500, "a request was not served: %v", reply)
		}
	}
	fails(ours.client(front), 10)
	fails(ours.client(back), 10)
	b.until("all failures count", func() bool { return server.outcomes("dependency") == outcomes{failed: 20} })
	b.check(server.state("dependency") == closed, "two callers opened a circuit that needs three")
	// One without a URI is known by the name of its host.
	fails(ours.client(host), 1)
	b.until("the history tells which caller's failure opened the circuit", func() bool {
		history := server.history("dependency")
		return len(history) == 1 && history[0] == transition{"STATE_OPEN", "http_500", host}
	})
	b.check(dependency.counted().calls == 21, "%d requests reached the dependency", dependency.counted().calls)
}

func tokens(b *bench) {
	list := b.tokenList()
	edge := list.add("edge", "caller", "dependency")
	other := list.add("other", "caller", "another", "another.*")
	reader, operator := list.add("dashboard", "reader"), list.add("on-call", "operator")
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 3600" + openMetrics + list.setting())
	server.access = []string{"BREAKERD_TOKEN=" + operator}
	dependency := b.dependency(answers(200))
	with := func(checkToken, logToken string) *proxy {
		return b.proxies(1, server, plan{dependency: dependency.port, checkToken: checkToken, logToken: logToken})[0]
	}
	client := overHTTP1()
	good := with(edge, edge)
	b.serves(client, good, 10)
	b.until("outcomes count under a token of the service", func() bool { return server.outcomes("dependency") == outcomes{successful: 10} })
	// A permit is the right to report under it: the log may have the token of a caller of other services.
	b.serves(client, with(edge, other), 10)
	b.until("outcomes count that another caller reports", func() bool { return server.outcomes("dependency") == outcomes{successful: 20} })
	counted := server.entries()
	b.check(counted["recorded"] == 20 && len(counted) == 1, "entries: %v", counted)

	dependency.behaves(answers(500))
	for _, refused := range []struct {
		token, check string
		// code that its streams end with; empty: they are read
		log string
	}{
		{other, "PERMISSION_DENIED", ""},
		{reader, "PERMISSION_DENIED", "PERMISSION_DENIED"},
		{"bk_" + strings.Repeat("A", 43), "UNAUTHENTICATED", "UNAUTHENTICATED"},
		{"", "UNAUTHENTICATED", "UNAUTHENTICATED"},
	} {
		checks, streams, entries := server.checks(refused.check), 0, server.entries()["no_permit"]
		if refused.log != "" {
			streams = server.logStreams(refused.log)
		}
		proxy := with(refused.token, refused.token)
		b.passes(proxy, 10, 500)
		b.until("its checks are refused, "+refused.check, func() bool { return server.checks(refused.check) == checks+10 })
		if refused.log == "" {
			b.until("its entries have no permit", func() bool { return server.entries()["no_permit"] == entries+10 })
		} else {
			b.until("its log is refused, "+refused.log, func() bool { return server.logStreams(refused.log) > streams })
			b.check(server.entries()["no_permit"] == entries, "entries came of a log that is refused: %v", server.entries())
		}
		proxy.process.kill()
	}
	b.check(server.outcomes("dependency") == outcomes{successful: 20} && server.state("dependency") == closed, "they count: %+v", server.outcomes("dependency"))
	b.check(server.refused("permission_denied") >= 20 && server.refused("unauthenticated") >= 20, "refusals are not counted")

	b.untilOpen(client, good.url("/"))
	b.until("the history has the name of the token", func() bool {
		history := server.history("dependency")
		return len(history) == 1 && history[0] == transition{"STATE_OPEN", "http_500", "edge"}
	})
}

func tokenRotated(b *bench) {
	list := b.tokenList()
	first, operator := list.add("edge", "caller", "dependency"), list.add("on-call", "operator")
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 3600" + openMetrics + list.setting())
	server.access = []string{"BREAKERD_TOKEN=" + operator}
	dependency := b.dependency(answers(200))
	credential := b.secret(first)
	rotating := b.proxies(1, server, plan{dependency: dependency.port, credential: credential.file})[0]
	// One that has the token in its configuration keeps it for as long as it runs.
	static := b.proxies(1, server, plan{dependency: dependency.port, checkToken: first, logToken: first})[0]
	client := overHTTP1()
	b.serves(client, rotating, 10)
	b.serves(client, static, 10)
	b.until("outcomes count", func() bool { return server.outcomes("dependency") == outcomes{successful: 20} })

	// Both tokens are valid, the proxy takes the second one, and the first one goes.
	second := list.add("edge", "caller", "dependency")
	b.until("breakerd knows the second token", func() bool { return server.knows(second) })
	updates := rotating.statistic(credential.updates)
	credential.set(second)
	b.until("the proxy has the second token", func() bool { return rotating.statistic(credential.updates) > updates })
	list.remove(first)
	b.until("the first token is refused", func() bool { return !server.knows(first) })
	refused := server.checks("UNAUTHENTICATED")
	b.serves(client, rotating, 100)
	b.check(server.checks("UNAUTHENTICATED") == refused, "%d checks with the second token were refused, %+v", server.checks("UNAUTHENTICATED")-refused, server.entries())
	// The stream of the log was opened with the first token. It ends, and with it what its proxy sends before it opens another one.
	before := server.outcomes("dependency").successful
	b.until("outcomes count under the second token", func() bool {
		b.serves(client, rotating, 1)
		return server.outcomes("dependency").successful > before
	})
	counted := server.outcomes("dependency")
	b.check(counted.failed == 0 && server.state("dependency") == closed, "a rotation counts against the dependency: %+v", counted)

	dependency.behaves(answers(500))
	b.untilOpen(client, rotating.url("/"))
	b.passes(static, 10, 500)
	b.until("they are one client", func() bool { return server.history("dependency")[0].Caller == "edge" })
}

func certificatesRenewed(b *bench) {
	const edge, moved = "spiffe://example/ns/shop/sa/edge", "spiffe://example/ns/shop/sa/moved"
	ours := b.authority("ours")
	shown := func() *certificate { return ours.certify("breakerd", "breakerd.example", "127.0.0.1") }
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 3600" + withTLS(shown()) + fmt.Sprintf("client_ca = %q\n", ours.file))
	operator := ours.certify("operator", "operator.example")
	server.access = []string{"BREAKERD_CA=" + ours.file, "BREAKERD_CERT=" + operator.chain, "BREAKERD_KEY=" + operator.key}
	dependency := b.dependency(answers(200))
	secret := filepath.Join(b.directory, "own.yaml")
	ours.certify("edge-1", edge).secret(b, secret)
	of := plan{dependency: dependency.port, tls: &peer{authority: ours, name: "breakerd.example", secret: secret}}
	proxies := b.proxies(2, server, of)
	crowd := b.crowd(4, proxies)
	counts := func(more int64) func() bool {
		until := crowd.served.Load() + more
		return func() bool { return int64(server.outcomes("dependency").successful) >= until }
	}
	b.until("outcomes count", counts(100))
	connections := func() (count int) {
		for _, proxy := range proxies {
			count += proxy.statistic("cluster.breakerd.upstream_cx_total") + proxy.statistic("cluster.log.upstream_cx_total")
		}
		return count
	}
	before := connections()

	// breakerd's: new connections get it, and those that proxies have go on.
	first := ours.shownAt(server.grpc, operator)
	renewed := shown()
	b.until("new connections get the renewed certificate", func() bool { return ours.shownAt(server.grpc, operator) != first })
	b.check(ours.shownAt(server.grpc, operator) == ours.read(renewed.chain).SerialNumber.String(), "new connections get another certificate than the renewed one")
	b.until("outcomes count after it", counts(100))

	// Theirs, under another name: connections that they have go on under the first one.
	const updates = "cluster.breakerd.client_ssl_socket_factory.ssl_context_update_by_sds"
	had := []int{proxies[0].statistic(updates), proxies[1].statistic(updates)}
	ours.certify("edge-2", moved).secret(b, secret)
	for index, proxy := range proxies {
		b.until("a proxy has its renewed certificate", func() bool { return proxy.statistic(updates) > had[index] })
	}
	b.until("outcomes count after it", counts(100))
	b.check(connections() == before, "proxies have made %d connections, after %d", connections(), before)
	crowd.stop()
	served := int(crowd.served.Load())
	b.check(crowd.other.Load() == 0 && dependency.counted().calls == served, "of %d requests %d failed, and %d reached the dependency", served+int(crowd.other.Load()), crowd.other.Load(), dependency.counted().calls)
	b.until("each request is one outcome", func() bool { return server.outcomes("dependency").successful == served })
	b.check(server.outcomes("dependency") == outcomes{successful: served} && server.failedHandshakes() == 0, "%+v, and %d handshakes failed", server.outcomes("dependency"), server.failedHandshakes())

	// Both are used by connections that are made now.
	dependency.behaves(answers(500))
	server.process.kill()
	server.start()
	b.untilOpen(overHTTP1(), proxies[0].url("/"))
	b.until("the history has the name of the renewed certificate", func() bool {
		history := server.history("dependency")
		return len(history) == 1 && history[0].Caller == moved
	})
}
