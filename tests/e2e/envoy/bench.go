package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds every wait for something that happens on another thread or process: only a hang exceeds it.
const patience = 60 * time.Second

// A bench is what one case runs on: its programs, and where they write.
type bench struct {
	programs
	began          time.Time
	directory      string
	proxiesStarted int

	lock      sync.Mutex
	processes []*process
	closers   []func()
}

// A failure ends a case.
type failure string

// try runs a case, and says why it failed, or nothing.
func (b *bench) try(run func(*bench)) (why string) {
	directory, err := os.MkdirTemp("", "breakerd-envoy.")
	if err != nil {
		return err.Error()
	}
	b.directory = directory
	defer func() {
		switch problem := recover().(type) {
		case nil:
		case failure:
			why = string(problem)
		default:
			panic(problem)
		}
	}()
	run(b)
	return ""
}

// begin with a breakerd of these settings, a dependency, and some proxies in front of it.
func (b *bench) begin(settings string, first behaviour, count int, of plan) (*breakerd, *dependency, []*proxy) {
	server := b.breakerd(settings)
	dependency := b.dependency(first)
	of.dependency = dependency.port
	return server, dependency, b.proxies(count, server, of)
}

func (b *bench) fail(format string, arguments ...any) {
	_, file, line, _ := runtime.Caller(1)
	panic(failure(fmt.Sprintf(format, arguments...) + fmt.Sprintf(" (%s:%d)", filepath.Base(file), line)))
}

// check fails the case unless it holds.
func (b *bench) check(holds bool, format string, arguments ...any) {
	if !holds {
		_, file, line, _ := runtime.Caller(1)
		panic(failure(fmt.Sprintf(format, arguments...) + fmt.Sprintf(" (%s:%d)", filepath.Base(file), line)))
	}
}

// until waits until it is so. The pause between two looks orders nothing.
func (b *bench) until(what string, so func() bool) {
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			_, file, line, _ := runtime.Caller(1)
			panic(failure(fmt.Sprintf("not so after %s: %s (%s:%d)", patience, what, filepath.Base(file), line)))
		}
	}
}

func (b *bench) onCleanUp(do func()) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.closers = append(b.closers, do)
}

func (b *bench) cleanUp() {
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, process := range b.processes {
		process.kill()
	}
	for _, closer := range b.closers {
		closer()
	}
	os.RemoveAll(b.directory)
}

func (b *bench) printLogs() {
	logs, _ := filepath.Glob(filepath.Join(b.directory, "*.log"))
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		if len(text) > 4000 {
			text = text[len(text)-4000:]
		}
		fmt.Fprintf(os.Stderr, "== %s\n%s\n", filepath.Base(log), text)
	}
}

// A process is a program that runs, with its output in a file.
type process struct {
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

// start runs a program until the end of the case. Its output goes to NAME.log.
func (b *bench) start(name, program string, arguments ...string) *process {
	return b.startWith(nil, name, program, arguments...)
}

// startWith sets variables of the environment too.
func (b *bench) startWith(environment []string, name, program string, arguments ...string) *process {
	log := filepath.Join(b.directory, name+".log")
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.fail("open the log of %s: %v", name, err)
	}
	defer output.Close()
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = output, output
	command.Dir = b.directory
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.directory}, environment...)
	if err := command.Start(); err != nil {
		b.fail("start %s: %v", name, err)
	}
	started := &process{command: command, log: log, ended: make(chan struct{})}
	go func() {
		command.Wait()
		close(started.ended)
	}()
	b.lock.Lock()
	defer b.lock.Unlock()
	b.processes = append(b.processes, started)
	return started
}

// run a program to its end, with these variables of the environment too, and give what it prints.
func (b *bench) run(environment []string, program string, arguments ...string) string {
	process := b.startWith(environment, fmt.Sprintf("run-%d", time.Now().UnixNano()), program, arguments...)
	<-process.ended
	b.check(process.command.ProcessState.Success(), "%s %s: %s", filepath.Base(program), strings.Join(arguments, " "), process.lastLines())
	printed, _ := os.ReadFile(process.log)
	return string(printed)
}

// kill ends it at once, as `kill -9` does, and waits for its end.
func (p *process) kill() {
	p.command.Process.Signal(syscall.SIGKILL)
	<-p.ended
}

func (p *process) signal(signal syscall.Signal) { p.command.Process.Signal(signal) }

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// lastLines of its output, for a failure
func (p *process) lastLines() string {
	text, _ := os.ReadFile(p.log)
	if len(text) > 600 {
		text = text[len(text)-600:]
	}
	return string(text)
}

// freePort is one that nothing listens on now.
func (b *bench) freePort() int { return b.freePorts(1) }

// Ports below those that systems give to outgoing connections: such a connection could have a free one before its program listens.
const portsFrom, portsTo = 20_000, 32_000

// Those that are given out. What has one may listen on it much later, or not while it is stopped.
var givenPorts sync.Map

// freePorts that follow one another: the first of them
func (b *bench) freePorts(count int) int {
	for range 1000 {
		port, free := portsFrom+rand.IntN(portsTo-portsFrom-count), 0
		for ; free < count && canListen(port+free); free++ {
			if _, given := givenPorts.LoadOrStore(port+free, true); given {
				break
			}
		}
		if free == count {
			return port
		}
	}
	b.fail("no %d free ports that follow one another", count)
	return 0
}

func canListen(port int) bool {
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

func listens(port int) bool {
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	connection.Close()
	return true
}
