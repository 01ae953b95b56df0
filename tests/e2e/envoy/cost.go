package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// cost compares, in turn and for some rounds, a proxy without breakerd with one that asks, one that logs, and one that does both. Each proxy
// has one worker. Compare the ratios: breakerd, the dependency and the load share the machine with it.
func cost(b *bench) {
	const connections, rounds = 32, 5
	server := b.breakerd("default_failure_threshold = 1000000")
	dependency := b.dependency(answers(200))
	variants := []struct {
		name  string
		plan  plan
		rates []float64
		took  []time.Duration
	}{
		{name: "neither", plan: plan{noChecks: true, noLog: true}},
		{name: "checks", plan: plan{noLog: true}},
		{name: "log", plan: plan{noChecks: true}},
		{name: "checks and log", plan: plan{}},
	}
	proxies := make([]*proxy, len(variants))
	for index, variant := range variants {
		variant.plan.dependency = dependency.port
		proxies[index] = b.proxies(1, server, variant.plan)[0]
	}
	for range rounds {
		for index := range variants {
			took := b.saturate(proxies[index].url("/"), connections, time.Duration(*seconds)*time.Second)
			variants[index].rates = append(variants[index].rates, float64(len(took))/float64(*seconds))
			variants[index].took = append(variants[index].took, took...)
		}
	}
	fmt.Printf("%-16s %10s %8s %10s %10s\n", "", "calls/s", "ratio", "p50 ms", "p99 ms")
	base := median(variants[0].rates)
	for _, variant := range variants {
		slices.Sort(variant.took)
		at := func(share float64) float64 {
			return float64(variant.took[int(share*float64(len(variant.took)-1))].Microseconds()) / 1000
		}
		fmt.Printf("%-16s %10.0f %8.3f %10.2f %10.2f\n", variant.name, median(variant.rates), median(variant.rates)/base, at(0.5), at(0.99))
	}
}

// saturate sends as many requests as are answered on so many connections, and gives the time that each took.
func (b *bench) saturate(url string, connections int, during time.Duration) []time.Duration {
	end := time.Now().Add(during)
	took := make([][]time.Duration, connections)
	var clients sync.WaitGroup
	for index := range connections {
		clients.Go(func() {
			client := overHTTP1()
			for time.Now().Before(end) {
				began := time.Now()
				if client.get(url).code != 200 {
					return
				}
				took[index] = append(took[index], time.Since(began))
			}
		})
	}
	clients.Wait()
	all := slices.Concat(took...)
	b.check(len(all) > 0, "no request was served")
	return all
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
