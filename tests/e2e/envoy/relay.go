package main

import (
	"fmt"
	"io"
	"net"
	"sync"
)

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// A relay stands between a proxy and the port of breakerd that takes the log. It can be cut, and it can hold back what it has.
type relay struct {
	port, to int

	lock        sync.Mutex
	changed     *sync.Cond
	cut, stalls bool
	connections map[net.Conn]struct{}
}

func (b *bench) relay(to int) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.fail("listen: %v", err)
	}
	r := &relay{port: listener.Addr().(*net.TCPAddr).Port, to: to, connections: map[net.Conn]struct{}{}}
	r.changed = sync.NewCond(&r.lock)
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go r.join(from)
		}
	}()
	b.onCleanUp(func() {
		listener.Close()
		r.set(true, false)
	})
	return r
}

func (r *relay) join(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", loopback(r.to))
	if err != nil {
		return
	}
	defer to.Close()
	r.lock.Lock()
	if r.cut {
		r.lock.Unlock()
		return
	}
	r.connections[from], r.connections[to] = struct{}{}, struct{}{}
	r.lock.Unlock()
	go func() {
		io.Copy(from, to)
		from.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		read, err := from.Read(buffer)
		r.lock.Lock()
		for r.stalls {
			r.changed.Wait()
		}
		r.lock.Unlock()
		if _, failed := to.Write(buffer[:read]); err != nil || failed != nil {
			break
		}
	}
	r.lock.Lock()
	delete(r.connections, from)
	delete(r.connections, to)
	r.lock.Unlock()
}

// set whether it is cut, which ends its connections and refuses others, and whether it stalls
func (r *relay) set(cut, stalls bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.cut, r.stalls = cut, stalls
	if cut {
		for connection := range r.connections {
			connection.Close()
		}
	}
	r.changed.Broadcast()
}

func (r *relay) connected() bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	return len(r.connections) > 0
}
