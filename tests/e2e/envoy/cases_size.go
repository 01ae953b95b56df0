package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func routes(b *bench) {
	const count = 500
	// Every second route fails: the path says which.
	asRouted := func(_ int, w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/bad") {
			w.WriteHeader(500)
		}
	}
	server, dependency, proxies := b.begin("default_failure_threshold = 1\ndefault_timeout_seconds = 3600\n[envoy]\nenabled = true\n[metrics]\nbreakers_with_own_series = 1000", asRouted, 1, plan{routes: count})
	proxy, client := proxies[0], overHTTP1()
	url := func(route int) string {
		return proxy.url(fmt.Sprintf("/r%d/%s", route, [...]string{"good", "bad"}[route%2]))
	}
	// Every route once, on some connections at a time.
	all := func() []reply {
		replies := make([]reply, count)
		var next atomic.Int64
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for route := next.Add(1) - 1; route < count; route = next.Add(1) - 1 {
					replies[route] = client.get(url(int(route)))
				}
			})
		}
		clients.Wait()
		return replies
	}
	for route, reply := range all() {
		b.check(reply.code == [...]int{200, 500}[route%2], "the first request of route %d: %v", route, reply)
	}
	b.until("half of them are open", func() bool {
		opened := 0
		for metric, value := range server.metrics() {
			if strings.HasPrefix(metric, `circuit_breaker_state{service="dependency",name="r`) && value == float64(open) {
				opened++
			}
		}
		return opened == count/2
	})
	for route, reply := range all() {
		if route%2 == 0 {
			b.check(reply.code == 200, "a route that works: %v", reply)
		} else {
			b.check(reply.rejectedBy() == "OPEN" && strings.Contains(reply.body, fmt.Sprintf(`"r%d"`, route)), "a route that fails: %v", reply)
		}
	}
	b.check(dependency.counted().calls == count+count/2, "%d requests reached the dependency", dependency.counted().calls)
}

func load(b *bench) {
	oneOfTenFails := func(call int, w http.ResponseWriter, _ *http.Request) {
		if call%10 == 0 {
			w.WriteHeader(500)
		}
	}
	server, dependency, proxies := b.begin("default_failure_threshold = 1000000", oneOfTenFails, 2, plan{})
	began := time.Now()
	end := began.Add(time.Duration(*seconds) * time.Second)
	var turns, sent, good, bad, other atomic.Int64
	var clients sync.WaitGroup
	for index := range 32 {
		clients.Go(func() {
			client := overHTTP1()
			for {
				// Each request has its time. A machine that is too slow sends fewer.
				time.Sleep(time.Until(began.Add(time.Duration(turns.Add(1)-1) * time.Second / time.Duration(*rate))))
				if time.Now().After(end) {
					return
				}
				sent.Add(1)
				switch client.get(proxies[index%2].url("/")).code {
				case 200:
					good.Add(1)
				case 500:
					bad.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	clients.Wait()
	took := time.Since(began)
	b.check(other.Load() == 0 && good.Load() > 0, "of %d requests %d ended otherwise", sent.Load(), other.Load())
	b.check(dependency.counted().calls == int(sent.Load()), "of %d requests %d reached the dependency", sent.Load(), dependency.counted().calls)
	b.until(fmt.Sprintf("%d good and %d bad outcomes are counted", good.Load(), bad.Load()), func() bool {
		return server.outcomes("dependency").successful == int(good.Load()) && server.outcomes("dependency").failed == int(bad.Load())
	})
	counted := server.outcomes("dependency")
	b.check(counted == outcomes{successful: int(good.Load()), failed: int(bad.Load())}, "%+v", counted)
	fmt.Fprintf(os.Stderr, "envoy: %d requests in %.1f s (%.0f a second), as many outcomes\n", sent.Load(), took.Seconds(), float64(sent.Load())/took.Seconds())
}

// example plays what examples/envoy/README.md says, on other ports.
func example(b *bench) {
	folder := b.programs.example
	grpc, http, services := b.freePort(), b.freePort(), b.freePorts(3)
	ports := []string{"50051", fmt.Sprint(grpc), "9101", fmt.Sprint(services), "9102", fmt.Sprint(services + 1), "9103", fmt.Sprint(services + 2)}
	text, err := os.ReadFile(filepath.Join(folder, "envoy.yaml"))
	b.check(err == nil, "read the example: %v", err)
	server := &breakerd{bench: b, name: "breakerd", config: filepath.Join(folder, "breakerd.toml"), grpc: grpc, http: http}
	server.start()
	b.start("services", "python3", filepath.Join(folder, "services.py"), "--port", fmt.Sprint(services))
	// Requests before they listen are failures of theirs, and can open a circuit once a proxy has logged them.
	b.until("the services listen", func() bool { return listens(services) && listens(services+1) && listens(services+2) })
	proxies := make([]*proxy, 2)
	for index := range proxies {
		proxies[index] = &proxy{http: b.freePort()}
		config := strings.NewReplacer(append(ports, "10000", fmt.Sprint(proxies[index].http))...).Replace(string(text))
		proxies[index].process = b.start(fmt.Sprintf("proxy-%d", index), b.programs.envoy, "--config-yaml", config, "--concurrency", "1",
			"--disable-hot-restart", "--log-level", "error")
	}
	client := overHTTP1()
	for _, proxy := range proxies {
		for _, path := range []string{"/orders", "/payments/1", "/search?q=shoes", "/healthz"} {
			b.until(path+" is served", func() bool {
				b.check(!proxy.process.hasEnded(), "a proxy ended: %s", proxy.process.lastLines())
				return client.get(proxy.url(path)).code == 200
			})
		}
	}
	service := func(path string) string { return fmt.Sprintf("http://127.0.0.1:%d/-/%s", services+1, path) }
	response, err := client.client.Post(service("fail"), "", nil)
	b.check(err == nil && response.StatusCode == 200, "break payments: %v", err)
	b.untilOpen(client, proxies[0].url("/payments/1"))
	// A check that is late on a busy machine passes: its request reaches the service and fails there.
	b.until("the second proxy rejects", func() bool { return client.get(proxies[1].url("/payments/2")).rejectedBy() == "OPEN" })
	orders := client.get(proxies[1].url("/orders"))
	b.check(orders.code == 200, "orders are not served while payments are open: %v", orders)
	response, err = client.client.Post(service("heal"), "", nil)
	b.check(err == nil && response.StatusCode == 200, "heal payments: %v", err)
	b.until("payments are served again", func() bool { return client.get(proxies[1].url("/payments/3")).code == 200 })
	b.until("the circuit is closed", func() bool {
		client.get(proxies[0].url("/payments/4"))
		return server.state("payments") == closed
	})
}

func virtualHost(b *bench) {
	server := b.breakerd("default_failure_threshold = 3\ndefault_timeout_seconds = 3600")
	dependency := b.dependency(answers(500))
	proxy := b.proxies(1, server, plan{dependency: dependency.port, onlyLocalhost: true})[0]
	client := overHTTP1()
	guarded := fmt.Sprintf("http://localhost:%d/", proxy.http)
	b.untilOpen(client, guarded)
	reached := dependency.counted().calls
	for range 5 {
		reply := client.get(proxy.url("/"))
		b.check(reply.code == 500 && reply.rejectedBy() == "", "a request to the host without a breaker: %v", reply)
		reply = client.get(guarded)
		b.check(reply.rejectedBy() == "OPEN", "a request to the host with a breaker: %v", reply)
	}
	b.check(dependency.counted().calls == reached+5, "%d requests reached the dependency, of 5 that could", dependency.counted().calls-reached)
	b.until("the rejected requests are counted, and no outcome of the other host", func() bool {
		counted := server.outcomes("dependency")
		return counted.rejected >= 6 && counted.failed+counted.late == reached
	})
}
