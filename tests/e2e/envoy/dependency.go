package main

import (
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// A dependency counts what reaches it, and behaves as it is told. It speaks HTTP/1 and HTTP/2.
type dependency struct {
	port int

	lock      sync.Mutex
	behaviour behaviour
	counts    counts
}

// counts of requests since the last change of behaviour
type counts struct {
	calls, running, peak int
	headers              http.Header // of the newest
	// how often it came, by its x-request-id: proxies keep that from attempt to attempt
	requests map[string]int
}

// A behaviour answers the request that is the call-th, from 1 on, since it began.
type behaviour func(call int, w http.ResponseWriter, r *http.Request)

func (b *bench) dependency(begin behaviour) *dependency {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.fail("listen: %v", err)
	}
	d := &dependency{port: listener.Addr().(*net.TCPAddr).Port, behaviour: begin}
	server := &http.Server{Handler: d, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(listener)
	b.onCleanUp(func() { server.Close() })
	return d
}

func (d *dependency) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.lock.Lock()
	d.counts.calls++
	d.counts.running++
	d.counts.peak = max(d.counts.peak, d.counts.running)
	d.counts.headers = r.Header.Clone()
	if d.counts.requests == nil {
		d.counts.requests = map[string]int{}
	}
	d.counts.requests[r.Header.Get("X-Request-Id")]++
	call, behaviour := d.counts.calls, d.behaviour
	d.lock.Unlock()
	defer func() {
		d.lock.Lock()
		d.counts.running--
		d.lock.Unlock()
	}()
	behaviour(call, w, r)
}

// behaves from now on, and counts anew
func (d *dependency) behaves(next behaviour) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.behaviour = next
	d.counts = counts{running: d.counts.running, peak: d.counts.running}
}

func (d *dependency) counted() counts {
	d.lock.Lock()
	defer d.lock.Unlock()
	counted := d.counts
	counted.requests = maps.Clone(counted.requests)
	return counted
}

func answers(code int) behaviour {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// inTurn behaves as the first one to the first request, as the second one to the second, and so on.
func inTurn(behaviours ...behaviour) behaviour {
	return func(call int, w http.ResponseWriter, r *http.Request) {
		behaviours[(call-1)%len(behaviours)](call, w, r)
	}
}

// holds requests until `released` is closed, and then answers 200.
func holds(released <-chan struct{}) behaviour { return holdsAndAnswers(released, http.StatusOK) }

// holdsAndAnswers with a code. A client that goes away is not waited for.
func holdsAndAnswers(released <-chan struct{}, code int) behaviour {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
			w.WriteHeader(code)
		case <-r.Context().Done():
		}
	}
}

// hangs until its client goes away
var hangs = holds(nil)

// resets the connection before an answer
func resets(_ int, w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	connection.(*net.TCPConn).SetLinger(0)
	connection.Close()
}

// answersGrpc with this status: in trailers after a message, or, `early`, without a body
func answersGrpc(status int, early bool) behaviour {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "application/grpc")
		if early {
			w.Header().Set("grpc-status", strconv.Itoa(status))
			w.WriteHeader(http.StatusOK)
			return
		}
		w.Write(frame(nil))
		w.Header().Set(http.TrailerPrefix+"grpc-status", strconv.Itoa(status))
	}
}
