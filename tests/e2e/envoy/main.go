// The suite of breakerd behind Envoy: real proxies, a real breakerd, and dependencies that count what reaches them.
//
//	suite BREAKERD ENVOY EXAMPLE [CASE...]
//
// Each case has its own breakerd, proxies and dependency on loopback, and prints a line: "ok - envoy: NAME", or "not ok - envoy: NAME: WHY".
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// A testCase fails by a call of `fail` of its bench, which does not return.
type testCase struct {
	name  string
	title string
	run   func(*bench)
}

var cases = []testCase{
	{"dies", "a dependency dies behind two proxies: both circuits open at once, and rejected calls do not reach it", dies},
	{"recovers", "it recovers by probes, no more at a time than are permitted for both proxies", recovers},
	{"leaves", "a probe whose client goes away gives its place back", leaves},
	{"away", "breakerd is killed, stopped and started again: traffic goes on", away},
	{"retries", "several attempts of the proxy are one outcome", retries},
	{"hedges", "attempts of the proxy at the same time are one check and one outcome", hedges},
	{"probes", "a hedged probe reaches the dependency twice under one permit", hedgedProbes},
	{"retried", "a probe that is retried reaches the dependency as often as it has attempts, and no more probes at a time than are permitted", retriedProbes},
	{"grpc", "gRPC: failures are read from trailers, a rejection is UNAVAILABLE", grpcStatus},
	{"tcp", "TCP: a dependency dies behind two proxies: connections are closed at once, probes reach it when it is back, and close the circuit", tcpDies},
	{"tcpends", "TCP: how a connection ended decides its outcome", tcpEnds},
	{"flags", "a dependency that hangs, resets or refuses connections is told apart by class", flags},
	{"cut", "entries that are lost or late read as no failure", cut},
	{"forged", "headers and entries that a client forges change nothing", forged},
	{"tls", "TLS: a proxy that does not trust breakerd's certificate lets requests pass, and tells it nothing", tlsVerified},
	{"mutual", "mutual TLS: a proxy is known by its certificate, and without one it is not served", tlsMutual},
	{"callers", "clients of a proxy are callers by their certificates", callers},
	{"tokens", "a token for other services, of another role or unknown allows no check, and requests pass", tokens},
	{"rotated", "a proxy takes a new token while it runs", tokenRotated},
	{"renewed", "certificates of breakerd and of a proxy are renewed while both run: no request fails, and no outcome is lost", certificatesRenewed},
	{"drains", "replicas are stopped and started one by one: what they have got counts, proxies go to the other one, and no request fails", drains},
	{"streams", "more streams of logs than are permitted are refused, and requests go on", streamsRefused},
	{"replicas", "two replicas are one breaker: checks spread, and outcomes count wherever they are logged", replicas},
	{"routes", "a proxy with 500 routes has 500 breakers", routes},
	{"host", "a filter that is disabled, and enabled for a virtual host, checks requests to that host only", virtualHost},
	{"load", "under load each request that was served is one outcome", load},
	{"example", "examples/envoy runs as it stands", example},
}

// Not among the others: it compares, and fails by no figure.
var costCase = testCase{"cost", "what checks and the log cost", cost}

var (
	seconds = flag.Int("seconds", 5, "seconds of the case `load`, and of each round of `cost`")
	rate    = flag.Int("rate", 1000, "requests a second of the case `load`")
	verbose = flag.Bool("v", false, "print the logs of the programs of a case that failed")
)

// programs are what the suite runs, and the URL of a Postgres.
type programs struct{ breakerd, envoy, example, postgres string }

func main() {
	flag.Parse()
	if flag.NArg() < 3 {
		fmt.Fprintln(os.Stderr, "usage: suite [FLAGS] BREAKERD ENVOY EXAMPLE [CASE...]")
		os.Exit(2)
	}
	of := programs{flag.Arg(0), flag.Arg(1), flag.Arg(2), os.Getenv("BREAKERD_TEST_POSTGRES_URL")}
	chosen := flag.Args()[3:]
	for _, name := range chosen {
		if name != costCase.name && !slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name }) {
			fmt.Fprintf(os.Stderr, "no such case: %s\n", name)
			os.Exit(2)
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)

	failed := false
	if slices.Contains(chosen, costCase.name) {
		cases = append(cases, costCase)
	}
	for _, c := range cases {
		if len(chosen) > 0 && !slices.Contains(chosen, c.name) {
			continue
		}
		bench := &bench{programs: of, began: time.Now()}
		done := make(chan string, 1)
		go func() { done <- bench.try(c.run) }()
		var why string
		select {
		case why = <-done:
		case <-time.After(3 * time.Minute):
			why = "no end after three minutes"
		case <-stop:
			bench.cleanUp()
			os.Exit(130)
		}
		if why != "" && *verbose {
			bench.printLogs()
		}
		bench.cleanUp()
		if why == "" {
			fmt.Printf("ok - envoy: %s\n", c.title)
		} else {
			fmt.Printf("not ok - envoy: %s: %s\n", c.title, why)
			failed = true
		}
		fmt.Fprintf(os.Stderr, "envoy: %s took %.1f s\n", c.name, time.Since(bench.began).Seconds())
	}
	if failed {
		os.Exit(1)
	}
}
