package main

import (
	"io"
	"net"
	"sync"
	"time"
)

func tcpDies(b *bench) {
	const probes = 3
	server := b.breakerd(recovering(probes))
	dependency := b.tcpDependency(repeats)
	proxies := b.proxies(2, server, plan{dependency: dependency.port})
	for _, proxy := range proxies {
		b.until("the TCP listener is there", func() bool { return listens(proxy.tcp) })
		for range 5 {
			b.check(echoes(proxy.tcp), "a connection was not carried")
		}
	}
	b.until("connections that were carried are successes", func() bool { return server.outcomes("dependency") == outcomes{successful: 10} })

	// The second proxy sees none of the failures that open the circuit.
	dependency.dies()
	b.until("refused connections open the circuit", func() bool {
		b.check(!echoes(proxies[0].tcp), "a connection to a dependency that is dead was carried")
		return server.state("dependency") == open
	})
	b.until("probes that are refused open it again", func() bool {
		b.check(!echoes(proxies[1].tcp), "a connection to a dependency that is dead was carried")
		return server.openings("dependency") >= 3
	})
	b.until("each failure is one outcome", func() bool {
		counted := server.outcomes("dependency")
		return counted.successful == 10 && server.entries()["recorded"] == 10+counted.failed
	})
	failed := server.outcomes("dependency").failed

	// It is back, and holds what reaches it: a connection that ends was closed by its proxy.
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	b.onCleanUp(release)
	dependency.becomes(holdsUntil(released))
	dependency.lives()
	openings := server.openings("dependency")
	crowd := b.tcpCrowd(16, proxies)
	crowd.areClosed(50)
	b.until("the probes are held", func() bool { return dependency.counted().held == probes })
	crowd.areClosed(200)
	counted := dependency.counted()
	b.check(counted.reached == probes && counted.peak == probes, "%d probes were permitted, and %d connections reached the dependency, %d at a time", probes, counted.reached, counted.peak)
	b.check(crowd.carried.Load() == 0, "%d were carried while the dependency held all", crowd.carried.Load())

	release()
	b.until("the circuit is closed", func() bool { return server.state("dependency") == closed })
	b.until("connections of both proxies are carried", func() bool { return crowd.carried.Load() > 100 })
	crowd.stop()
	b.check(server.openings("dependency") == openings, "it opened again, for the %d. time", server.openings("dependency"))
	carried := int(crowd.carried.Load())
	b.until("each connection is one outcome, and one that was closed is none", func() bool {
		counted, entries := server.outcomes("dependency"), server.entries()
		return counted.successful+counted.late >= 10+carried && counted.failed == failed && entries["no_permit"] == counted.rejected
	})
	reached := dependency.counted().reached
	b.check(reached == carried, "%d connections reached the dependency, and %d were carried", reached, carried)
}

// tcpEnds shows what the end of a connection says of the dependency: one failure opens the circuit, and the history has its class.
func tcpEnds(b *bench) {
	server := b.breakerd("default_failure_threshold = 1\ndefault_timeout_seconds = 3600")
	dependency := b.tcpDependency(repeats)
	with := func(options string) *proxy {
		// Its listener of HTTP is there: so is that of TCP, in a moment. To try would be a connection that counts.
		return b.proxies(1, server, plan{dependency: dependency.port, tcp: options})[0]
	}
	plain, idle, aged := with(""), with("idle_timeout: 0.3s"), with("max_downstream_connection_duration: 0.3s")
	connects := func(proxy *proxy) *net.TCPConn {
		var connection net.Conn
		b.until("the TCP listener is there", func() bool {
			var err error
			connection, err = net.Dial("tcp", loopback(proxy.tcp))
			return err == nil
		})
		return connection.(*net.TCPConn)
	}
	// What clients do: one waits for an answer, one leaves when the dependency has its byte, and one sends none.
	waits := func(proxy *proxy) {
		connection := connects(proxy)
		defer connection.Close()
		connection.SetDeadline(time.Now().Add(patience))
		connection.Write([]byte{1})
		io.ReadFull(connection, make([]byte, 1))
	}
	leaves := func(linger int) func(*proxy) {
		return func(proxy *proxy) {
			connection := connects(proxy)
			connection.Write([]byte{1})
			b.until("the dependency is reached", func() bool { return dependency.counted().reached == 1 })
			connection.SetLinger(linger)
			connection.Close()
		}
	}
	sendsNothing := func(proxy *proxy) { connects(proxy).Close() }
	// What the dependency does.
	reads := func(connection *net.TCPConn) { io.ReadFull(connection, make([]byte, 1)) }
	isSilent := func(connection *net.TCPConn) { io.Copy(io.Discard, connection) }
	resets := func(connection *net.TCPConn) {
		reads(connection)
		connection.SetLinger(0)
	}
	success, failure, ignored := outcomes{successful: 1}, outcomes{failed: 1}, outcomes{ignored: 1}
	for _, end := range []struct {
		what    string
		proxy   *proxy
		treats  treatment // nil: it is dead
		client  func(*proxy)
		outcome outcomes
		class   string // of a failure
	}{
		{"the dependency answers and closes", plain, repeats, waits, success, ""},
		{"the dependency closes without an answer", plain, reads, waits, success, ""},
		{"the dependency resets", plain, resets, waits, failure, "upstream_remote_reset"},
		{"the dependency is silent, and the client closes", plain, isSilent, leaves(-1), success, ""},
		{"the dependency is silent, and the client resets", plain, isSilent, leaves(0), success, ""},
		{"the dependency is silent for idle_timeout", idle, isSilent, waits, success, ""},
		{"the connection is as old as its proxy allows", aged, isSilent, waits, success, ""},
		{"the client sends nothing, until idle_timeout", idle, repeats, sendsNothing, ignored, ""},
		{"the client sends nothing, and the connection is as old as its proxy allows", aged, repeats, sendsNothing, ignored, ""},
		{"the dependency refuses connections", plain, nil, waits, failure, "upstream_connection_failure"},
	} {
		if end.treats == nil {
			dependency.dies()
		} else {
			dependency.becomes(end.treats)
		}
		before := server.outcomes("dependency")
		end.client(end.proxy)
		var counted outcomes
		b.until(end.what+": it is an outcome", func() bool {
			counted = server.outcomes("dependency")
			return counted != before
		})
		counted.successful, counted.failed, counted.ignored = counted.successful-before.successful, counted.failed-before.failed, counted.ignored-before.ignored
		b.check(counted == end.outcome, "%s: %+v", end.what, counted)
		if end.class != "" {
			b.until(end.what+": the history has it", func() bool {
				history := server.history("dependency")
				return len(history) > 0 && history[0].To == "STATE_OPEN"
			})
			class := server.history("dependency")[0].Class
			b.check(class == end.class, "%s: its class is %s", end.what, class)
			server.command("reset", "dependency")
		}
	}
}
