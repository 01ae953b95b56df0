// Puts the document's client of several replicas to the test: it spreads over them, and a rolling restart fails no decision.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/health"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver/dns"
)

// document: Several replicas

// names is a DNS server that knows one name, which is that of all replicas.
type names struct {
	connection net.PacketConn
	mutex      sync.Mutex
	addresses  []string
}

func serveNames() *names {
	connection, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := &names{connection: connection}
	go served.serve()
	return served
}

func (n *names) set(addresses ...string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.addresses = addresses
}

func (n *names) serve() {
	buffer := make([]byte, 512)
	for {
		length, from, err := n.connection.ReadFrom(buffer)
		if err != nil {
			return
		}
		var asked dnsmessage.Message
		if asked.Unpack(buffer[:length]) != nil || len(asked.Questions) != 1 {
			continue
		}
		question := asked.Questions[0]
		answer := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: asked.ID, Response: true, Authoritative: true},
			Questions: asked.Questions,
		}
		n.mutex.Lock()
		for _, address := range n.addresses {
			if question.Type == dnsmessage.TypeA {
				answer.Answers = append(answer.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(address).To4())},
				})
			}
		}
		n.mutex.Unlock()
		if packed, err := answer.Pack(); err == nil {
			_, _ = n.connection.WriteTo(packed, from)
		}
	}
}

// replica is a breakerd on an address of its own, with the port that all have.
type replica struct {
	address, port, folder string
	command               *exec.Cmd
}

func (r *replica) start() {
	r.command = exec.Command(os.Getenv("E2E_BREAKERD"), "serve", "--data-dir", "data", "--log-format", "text",
		"--grpc-listen", r.address+":"+r.port, "--http-listen", "127.0.0.1:0")
	r.command.Dir = r.folder
	r.command.Env = []string{
		"DATABASE_URL=" + os.Getenv("BREAKERD_TEST_POSTGRES_URL"),
		"BREAKERD_REPLICA=at-" + r.address, "BREAKERD_GRPC_CONNECTION_AGE_MAX=1s",
	}
	log, err := os.OpenFile(filepath.Join(r.folder, "log"), os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		panic(err)
	}
	defer log.Close()
	before, _ := log.Seek(0, 2)
	r.command.Stdout, r.command.Stderr = log, log
	if err := r.command.Start(); err != nil {
		panic(err)
	}
	for begun := time.Now(); time.Since(begun) < hang; time.Sleep(20 * time.Millisecond) {
		if said, err := os.Open(filepath.Join(r.folder, "log")); err == nil {
			_, _ = said.Seek(before, 0)
			for lines := bufio.NewScanner(said); lines.Scan(); {
				if strings.Contains(lines.Text(), " ready ") {
					said.Close()
					return
				}
			}
			said.Close()
		}
	}
	said, _ := os.ReadFile(filepath.Join(r.folder, "log"))
	panic("a replica does not start: " + string(said))
}

func (r *replica) stop() error {
	_ = r.command.Process.Signal(syscall.SIGTERM)
	return r.command.Wait()
}

// freePort is one that nobody listens on, at any of the addresses.
func freePort() string {
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// seen is what the client's calls came to.
type seen struct {
	mutex           sync.Mutex
	decided         map[string]int
	decisions       atomic.Int64
	failed, unheard []error
}

func (s *seen) intercept(
	ctx context.Context, method string, request, answer any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	var who peer.Peer
	err := invoke(ctx, method, request, answer, connection, append(options, grpc.Peer(&who))...)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch {
	case strings.HasSuffix(method, "/AllowRequest") && err == nil:
		s.decided[who.Addr.(*net.TCPAddr).IP.String()]++
		s.decisions.Add(1)
	case strings.HasSuffix(method, "/AllowRequest"):
		s.failed = append(s.failed, err)
	case err != nil:
		s.unheard = append(s.unheard, err)
	}
	return err
}

// goOn waits for some more decisions, the first of which may be those that are under way.
func (s *seen) goOn() {
	until := s.decisions.Load() + 200
	for begun := time.Now(); s.decisions.Load() < until; time.Sleep(time.Millisecond) {
		if time.Since(begun) > hang {
			panic("the client does not go on")
		}
	}
}

// reaches waits until a replica decides again. A client connects anew a second after it failed to, or later: who restarts all
// replicas faster than that takes them all away.
func (s *seen) reaches(address string) {
	decided := func() int {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		return s.decided[address]
	}
	until := decided() + 10
	for begun := time.Now(); decided() < until; time.Sleep(time.Millisecond) {
		if time.Since(begun) > hang {
			panic("the client does not come back to " + address)
		}
	}
}

func TestReplicas(t *testing.T) {
	dns.SetMinResolutionInterval(200 * time.Millisecond)
	port, served := freePort(), serveNames()
	replicas := make([]*replica, 4)
	for index := range replicas {
		replicas[index] = &replica{address: fmt.Sprintf("127.0.0.%d", index+2), port: port, folder: t.TempDir()}
	}
	defer func() {
		for _, each := range replicas {
			if each.command != nil {
				_ = each.command.Process.Kill()
			}
		}
	}()
	for _, each := range replicas[:3] {
		each.start()
	}
	served.set("127.0.0.2", "127.0.0.3", "127.0.0.4")

	calls := &seen{decided: map[string]int{}}
	address := fmt.Sprintf("dns://%s/breakerd.test:%s", served.connection.LocalAddr(), port)
	guard, err := connectToAll(address, plain(), grpc.WithUnaryInterceptor(calls.intercept))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	err = guard.Ready(ctx)
	check(t, "several replicas: Ready says yes", err == nil, err)

	stop := make(chan struct{})
	var callers sync.WaitGroup
	var wrong atomic.Value
	for caller := range 4 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for number := 0; ; number++ {
				select {
				case <-stop:
					return
				default:
				}
				service := fmt.Sprintf("go.replicas-%d-%d", caller, number%50)
				if err := guard.Call(context.Background(), service, succeed); err != nil && !errors.Is(err, ErrDenied) {
					wrong.Store(err.Error())
				}
			}
		}()
	}
	calls.goOn()
	// A rolling restart, each at its address; and then one goes for good, and another comes.
	for _, each := range replicas[:3] {
		if err := each.stop(); err != nil {
			wrong.Store(err.Error())
		}
		calls.goOn()
		each.start()
		calls.reaches(each.address)
	}
	replicas[3].start()
	served.set("127.0.0.3", "127.0.0.4", "127.0.0.5")
	if err := replicas[0].stop(); err != nil {
		wrong.Store(err.Error())
	}
	arrived := false
	for begun := time.Now(); !arrived && time.Since(begun) < hang; time.Sleep(10 * time.Millisecond) {
		calls.mutex.Lock()
		arrived = calls.decided["127.0.0.5"] > 100
		calls.mutex.Unlock()
	}
	close(stop)
	callers.Wait()

	check(t, "several replicas: calls go to all of them", len(calls.decided) == 4, calls.decided)
	check(t, "several replicas: one that comes gets its part", arrived, calls.decided)
	check(t, "several replicas: a rolling restart fails no decision", len(calls.failed) == 0, first(calls.failed))
	check(t, "several replicas: no call meets an error", wrong.Load() == nil, wrong.Load())
	check(t, "several replicas: every report is heard", len(calls.unheard) == 0, first(calls.unheard))
	fmt.Fprintf(os.Stderr, "%d decisions, by replica: %v\n", calls.decisions.Load(), calls.decided)
}

func first(errs []error) string { return fmt.Sprint(len(errs), errs[:min(len(errs), 1)]) }
