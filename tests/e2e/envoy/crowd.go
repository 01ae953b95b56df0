package main

import (
	"sync"
	"sync/atomic"
)

// A crowd sends requests through some proxies, each of its clients one at a time, until it is stopped.
type crowd struct {
	bench *bench
	// replies of 200, of a circuit that is half-open, and others
	served, rejected, other atomic.Int64
	stop                    func()
}

func (b *bench) crowd(size int, proxies []*proxy) *crowd {
	c := &crowd{bench: b}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for index := range size {
		clients.Go(func() {
			client := overHTTP1()
			for {
				select {
				case <-done:
					return
				default:
				}
				switch reply := client.get(proxies[index%len(proxies)].url("/")); {
				case reply.rejectedBy() == "HALF_OPEN":
					c.rejected.Add(1)
				case reply.code == 200:
					c.served.Add(1)
				default:
					c.other.Add(1)
				}
			}
		})
	}
	c.stop = sync.OnceFunc(func() { close(done); clients.Wait() })
	b.onCleanUp(c.stop)
	return c
}

// isRejected waits until so many more of its requests are, beside the probes.
func (c *crowd) isRejected(more int64) {
	before := c.rejected.Load()
	c.bench.until("requests are rejected beside the probes", func() bool { return c.rejected.Load() > before+more })
}
