package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A breakerd that serves on two ports, the same ones after a restart.
type breakerd struct {
	bench        *bench
	process      *process
	name, config string
	environment  []string
	grpc, http   int
	// variables of the environment of its command line: how it authenticates, and whom it trusts
	access []string
}

// breakerd starts one with these settings. `text` is TOML, with [circuit_breaker] open: keys of it can stand first.
func (b *bench) breakerd(text string) *breakerd {
	server := b.newBreakerd("breakerd", text)
	server.start()
	return server
}

// replicas starts some on one database.
func (b *bench) replicas(count int, text string) []*breakerd {
	database := fmt.Sprintf("envoy_%d", time.Now().UnixNano())
	b.run(nil, "psql", b.programs.postgres, "-qc", "CREATE DATABASE "+database)
	url := b.programs.postgres[:strings.LastIndex(b.programs.postgres, "/")+1] + database
	servers := make([]*breakerd, count)
	for index := range servers {
		name := fmt.Sprintf("breakerd-%d", index)
		servers[index] = b.newBreakerd(name, text)
		servers[index].environment = []string{"DATABASE_URL=" + url, "BREAKERD_REPLICA=" + name}
		servers[index].start()
	}
	return servers
}

func (b *bench) newBreakerd(name, text string) *breakerd {
	server := &breakerd{bench: b, name: name, config: filepath.Join(b.directory, "breakerd.toml"), grpc: b.freePort(), http: b.freePort()}
	server.configure(text)
	return server
}

// configure it from its next start on
func (s *breakerd) configure(text string) {
	if !strings.Contains(text, "[envoy]") {
		text += "\n[envoy]\nenabled = true\n"
	}
	s.bench.write(s.config, []byte("[circuit_breaker]\n"+text))
}

func (s *breakerd) start() {
	s.process = s.bench.startWith(s.environment, s.name, s.bench.programs.breakerd, "serve", "--config", s.config, "--data-dir", filepath.Join(s.bench.directory, s.name),
		"--grpc-listen", fmt.Sprintf("127.0.0.1:%d", s.grpc), "--http-listen", fmt.Sprintf("127.0.0.1:%d", s.http), "--log-format", "json")
	s.bench.until("breakerd is ready", func() bool {
		s.bench.check(!s.process.hasEnded(), "breakerd ended: %s", s.process.lastLines())
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", s.http))
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == 200
	})
}

// metrics by name and labels as they are exposed, without the namespace: circuit_breaker_calls_total{service="dependency",name="dependency"}
func (s *breakerd) metrics() map[string]float64 {
	client := http.Client{Timeout: patience}
	response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", s.http))
	if err != nil {
		s.bench.fail("read the metrics: %v", err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	values := map[string]float64{}
	for _, line := range strings.Split(string(text), "\n") {
		name, value, found := strings.Cut(strings.TrimPrefix(line, "llm_incident_manager_"), "} ")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		value, _, _ = strings.Cut(value, " ")
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			values[name+"}"] = number
		}
	}
	return values
}

// outcomes are what a breaker has counted since the start of its breakerd.
type outcomes struct{ successful, failed, ignored, late, rejected int }

// of a breaker, as SERVICE or SERVICE/NAME
func (s *breakerd) outcomes(breaker string) outcomes {
	service, name, found := strings.Cut(breaker, "/")
	if !found {
		name = service
	}
	labels := fmt.Sprintf(`service=%q,name=%q`, service, name)
	var sum outcomes
	for metric, value := range s.metrics() {
		family, of, _ := strings.Cut(metric, "{")
		if !strings.HasPrefix(of, labels) {
			continue
		}
		switch family {
		case "circuit_breaker_successful_calls_total":
			sum.successful += int(value)
		case "circuit_breaker_failed_calls_total":
			sum.failed += int(value)
		case "circuit_breaker_ignored_calls_total":
			sum.ignored += int(value)
		case "circuit_breaker_late_outcomes_total":
			sum.late += int(value)
		case "circuit_breaker_rejected_calls_total":
			sum.rejected += int(value)
		}
	}
	return sum
}

// openings is how often a breaker has opened, by itself, since the start of its breakerd.
func (s *breakerd) openings(breaker string) int {
	sum := 0
	for metric, value := range s.metrics() {
		if strings.HasPrefix(metric, fmt.Sprintf(`circuit_breaker_transitions_total{service=%q,`, breaker)) && strings.Contains(metric, `to="OPEN"`) {
			sum += int(value)
		}
	}
	return sum
}

// breakerState is a value of circuit_breaker_state.
type breakerState int

const (
	closed breakerState = iota
	open
	halfOpen
)

// state of the default breaker of a service; closed if there is none
func (s *breakerd) state(service string) breakerState {
	return breakerState(s.metrics()[fmt.Sprintf(`circuit_breaker_state{service=%q,name=%q}`, service, service)])
}

// checks that were answered with this code of gRPC
func (s *breakerd) checks(code string) int {
	return s.calls("envoy.service.auth.v3.Authorization", "Check", code)
}

// logStreams that ended with this code of gRPC
func (s *breakerd) logStreams(code string) int {
	return s.calls("envoy.service.accesslog.v3.AccessLogService", "StreamAccessLogs", code)
}

func (s *breakerd) calls(service, method, code string) int {
	return int(s.metrics()[fmt.Sprintf(`breakerd_grpc_calls_total{service=%q,method=%q,code=%q}`, service, method, code)])
}

// refused requests, by the reason
func (s *breakerd) refused(reason string) int {
	return int(s.metrics()[fmt.Sprintf(`breakerd_access_refused_total{protocol="grpc",reason=%q}`, reason)])
}

func (s *breakerd) failedHandshakes() int {
	return int(s.metrics()[`breakerd_tls_handshake_errors_total{protocol="grpc"}`])
}

// entries of access logs that came, by what became of them
func (s *breakerd) entries() map[string]int {
	entries := map[string]int{}
	for metric, value := range s.metrics() {
		result, found := strings.CutPrefix(metric, `breakerd_envoy_log_entries_total{result="`)
		if found && value > 0 {
			entries[strings.TrimSuffix(result, `"}`)] = int(value)
		}
	}
	return entries
}

// knows says whether a token is one of a client, whatever it may do.
func (s *breakerd) knows(token string) bool {
	reply := overHTTP2().callWith("http://"+loopback(s.grpc)+"/breakerd.v1.OperationsService/ListBreakers", http.Header{"Authorization": {"Bearer " + token}}, nil)
	s.bench.check(reply.grpcStatus != "", "list the breakers: %v", reply)
	return reply.grpcStatus != "16"
}

// A transition is what the tests read of one in the history.
type transition struct {
	To     string `json:"toState"`
	Class  string `json:"errorClass"`
	Caller string
}

// history of the default breaker of a service, from its newest transition on
func (s *breakerd) history(service string) []transition {
	var history []transition
	for line := range strings.Lines(s.run("history", service, "--json")) {
		var read transition
		err := json.Unmarshal([]byte(line), &read)
		s.bench.check(err == nil, "a line of the history: %s", line)
		history = append(history, read)
	}
	return history
}

// command runs one of the command line's that takes a reason.
func (s *breakerd) command(arguments ...string) { s.run(append(arguments, "--reason", "suite")...) }

// run a command of the command line, and give what it prints.
func (s *breakerd) run(arguments ...string) string {
	return s.bench.run(s.access, s.bench.programs.breakerd, append(arguments, "--address", loopback(s.grpc))...)
}
