package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A tcpDependency counts the connections that reach it, and treats each as it is told. It can die, and come back on its port.
type tcpDependency struct {
	bench *bench
	port  int

	lock        sync.Mutex
	listener    net.Listener
	treats      treatment
	connections map[net.Conn]struct{}
	counts      tcpCounts
}

// tcpCounts are the connections that have reached a dependency since the last change of its treatment, those that it holds, and the
// most that it held at a time.
type tcpCounts struct{ reached, held, peak int }

// A treatment is how a dependency deals with a connection, which is closed when it returns.
type treatment func(*net.TCPConn)

func (b *bench) tcpDependency(first treatment) *tcpDependency {
	d := &tcpDependency{bench: b, port: b.freePort(), treats: first, connections: map[net.Conn]struct{}{}}
	d.lives()
	b.onCleanUp(d.dies)
	return d
}

// lives takes connections.
func (d *tcpDependency) lives() {
	listener, err := net.Listen("tcp", loopback(d.port))
	d.bench.check(err == nil, "listen: %v", err)
	d.lock.Lock()
	defer d.lock.Unlock()
	d.listener = listener
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go d.serve(connection.(*net.TCPConn))
		}
	}()
}

// dies refuses further connections, and resets those that it has.
func (d *tcpDependency) dies() {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.listener.Close()
	for connection := range d.connections {
		connection.(*net.TCPConn).SetLinger(0)
		connection.Close()
	}
}

func (d *tcpDependency) serve(connection *net.TCPConn) {
	d.lock.Lock()
	d.connections[connection] = struct{}{}
	d.counts.reached++
	d.counts.peak = max(d.counts.peak, len(d.connections))
	treats := d.treats
	d.lock.Unlock()
	treats(connection)
	d.lock.Lock()
	delete(d.connections, connection)
	d.lock.Unlock()
	connection.Close()
}

// becomes one that treats further connections so, and counts anew.
func (d *tcpDependency) becomes(next treatment) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.treats, d.counts = next, tcpCounts{peak: len(d.connections)}
}

func (d *tcpDependency) counted() tcpCounts {
	d.lock.Lock()
	defer d.lock.Unlock()
	counted := d.counts
	counted.held = len(d.connections)
	return counted
}

// repeats the first byte that it gets, and closes.
func repeats(connection *net.TCPConn) {
	buffer := make([]byte, 1)
	if _, err := io.ReadFull(connection, buffer); err == nil {
		connection.Write(buffer)
	}
}

// holdsUntil repeats the first byte once `released` is closed.
func holdsUntil(released <-chan struct{}) treatment {
	return func(connection *net.TCPConn) {
		<-released
		repeats(connection)
	}
}

// echoes says whether a connection to the port carries a byte there and back.
func echoes(port int) bool {
	connection, err := net.Dial("tcp", loopback(port))
	if err != nil {
		return false
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	if _, err := connection.Write([]byte{1}); err != nil {
		return false
	}
	_, err = io.ReadFull(connection, make([]byte, 1))
	return err == nil
}

// A tcpCrowd opens connections through some proxies, each of its clients one at a time, until it is stopped.
type tcpCrowd struct {
	bench           *bench
	carried, closed atomic.Int64
	stop            func()
}

func (b *bench) tcpCrowd(size int, proxies []*proxy) *tcpCrowd {
	c := &tcpCrowd{bench: b}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for index := range size {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if echoes(proxies[index%len(proxies)].tcp) {
					c.carried.Add(1)
				} else {
					c.closed.Add(1)
				}
			}
		})
	}
	c.stop = sync.OnceFunc(func() { close(done); clients.Wait() })
	b.onCleanUp(c.stop)
	return c
}

// areClosed waits until so many more of its connections are closed without an answer.
func (c *tcpCrowd) areClosed(more int64) {
	before := c.closed.Load()
	c.bench.until("connections are closed", func() bool { return c.closed.Load() > before+more })
}
