package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

// untilOpen sends requests that fail until one is rejected by an open circuit, and gives that reply.
func (b *bench) untilOpen(client *client, url string) reply {
	var last reply
	b.until("a request is rejected", func() bool {
		last = client.get(url)
		b.check(last.code != 0, "no reply: %s", last.body)
		return last.rejectedBy() == "OPEN"
	})
	return last
}

func dies(b *bench) {
	server, dependency, proxies := b.begin("default_failure_threshold = 5\ndefault_timeout_seconds = 3600", answers(200), 2, plan{})
	client := overHTTP1()
	for _, proxy := range proxies {
		b.serves(client, proxy, 1)
	}

	// The second proxy sees none of the failures.
	dependency.behaves(answers(500))
	rejected := b.untilOpen(client, proxies[0].url("/"))
	b.check(server.state("dependency") == open, "the breaker is not open, but rejects")
	reached := dependency.counted().calls
	for _, proxy := range proxies {
		for range 50 {
			reply := client.get(proxy.url("/any/path?query"))
			b.check(reply.rejectedBy() == "OPEN", "not rejected while the circuit is open: %v", reply)
		}
	}
	b.check(dependency.counted().calls == reached, "%d rejected calls reached the dependency", dependency.counted().calls-reached)
	b.until("the rejected calls are counted, and no outcome more", func() bool {
		counted := server.outcomes("dependency")
		return counted.rejected >= 101 && counted.failed+counted.late == reached && counted.successful == 2
	})

	wait, err := strconv.Atoi(rejected.header.Get("retry-after"))
	b.check(err == nil && wait > 3500 && wait <= 3600, "retry-after is %q", rejected.header.Get("retry-after"))
	b.check(rejected.header.Get("content-type") == "application/json", "content-type is %q", rejected.header.Get("content-type"))
	var body struct {
		Error, Service, Name, State, Reason string
		Retry                               int `json:"retry_after_seconds"`
	}
	err = json.Unmarshal([]byte(rejected.body), &body)
	b.check(err == nil && body.Service == "dependency" && body.Name == "dependency" && body.State == "OPEN" && body.Reason != "" && body.Error != "" && body.Retry == wait,
		"the body of a rejection is %s", rejected.body)

	// An operator decides for all proxies too.
	dependency.behaves(answers(200))
	server.command("reset", "dependency")
	for _, proxy := range proxies {
		b.serves(client, proxy, 1)
	}
	server.command("override", "set", "dependency", "forced-open")
	for _, proxy := range proxies {
		reply := client.get(proxy.url("/"))
		b.check(reply.rejectedBy() == "FORCED_OPEN", "not rejected while the circuit is forced open: %v", reply)
	}
}

// recovering are settings of a circuit that is open for a second, and that so many probes close, all of which may be in flight.
func recovering(probes int) string {
	return fmt.Sprintf("default_failure_threshold = 3\ndefault_timeout_seconds = 1\ndefault_success_threshold = %d\npermitted_number_of_calls_in_half_open_state = %d", probes, probes)
}

func recovers(b *bench) {
	const probes = 3
	server, dependency, proxies := b.begin(recovering(probes), answers(500), 2, plan{})
	b.untilOpen(overHTTP1(), proxies[0].url("/"))
	openings := server.openings("dependency")

	// From now on the dependency holds what it gets, so that whatever is let through is in flight at once.
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	b.onCleanUp(release)
	dependency.behaves(holds(released))
	crowd := b.crowd(16, proxies)
	b.until("the probes are in flight", func() bool { return dependency.counted().running == probes })
	crowd.isRejected(200)
	counted := dependency.counted()
	b.check(counted.peak == probes && counted.calls == probes, "%d probes were permitted, and the dependency saw %d, %d at a time", probes, counted.calls, counted.peak)
	b.check(crowd.served.Load() == 0, "%d were served while the dependency held all", crowd.served.Load())

	release()
	b.until("the circuit is closed", func() bool { return server.state("dependency") == closed })
	b.until("the clients of both proxies are served", func() bool { return crowd.served.Load() > 100 })
	crowd.stop()
	b.check(server.openings("dependency") == openings, "it opened again, for the %d. time", server.openings("dependency"))
}

func leaves(b *bench) {
	// A probe that is not reported would keep its place for an hour.
	server, dependency, proxies := b.begin("default_failure_threshold = 3\ndefault_timeout_seconds = 1\ndefault_success_threshold = 1\nhalf_open_permit_timeout = 3600", answers(500), 2, plan{})
	client := overHTTP1()
	b.untilOpen(client, proxies[0].url("/"))
	openings := server.openings("dependency")

	dependency.behaves(hangs)
	leaving, leave := context.WithCancel(context.Background())
	defer leave()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		client := overHTTP1()
		for leaving.Err() == nil {
			client.send(leaving, http.MethodGet, proxies[0].url("/"), nil, nil)
		}
	}()
	b.until("the probe is in flight", func() bool { return dependency.counted().running == 1 })
	reply := client.get(proxies[1].url("/"))
	b.check(reply.rejectedBy() == "HALF_OPEN", "a second probe beside the only one that is permitted: %v", reply)

	leave()
	<-gone
	dependency.behaves(answers(200))
	b.until("the place is given to another request", func() bool { return client.get(proxies[1].url("/")).code == 200 })
	b.until("the circuit is closed", func() bool { return server.state("dependency") == closed })
	counted := server.outcomes("dependency")
	b.check(counted.ignored == 1, "%d outcomes were ignored: %+v", counted.ignored, counted)
	b.check(server.openings("dependency") == openings, "it opened again, for the %d. time", server.openings("dependency"))
}
