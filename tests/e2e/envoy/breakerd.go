package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
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
	create := b.start("createdb", "psql", b.programs.postgres, "-qc", "CREATE DATABASE "+database)
	<-create.ended
	b.check(create.command.ProcessState.Success(), "create a database: %s", create.lastLines())
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
	if !strings.Contains(text, "[envoy]") {
		text += "\n[envoy]\nenabled = true\n"
	}
	if err := os.WriteFile(server.config, []byte("[circuit_breaker]\n"+text), 0o600); err != nil {
		b.fail("write breakerd.toml: %v", err)
	}
	return server
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

// command runs one of the command line's that takes a reason.
func (s *breakerd) command(arguments ...string) {
	name := fmt.Sprintf("command-%d", time.Now().UnixNano())
	process := s.bench.start(name, s.bench.programs.breakerd, append(arguments, "--reason", "suite", "--address", fmt.Sprintf("127.0.0.1:%d", s.grpc))...)
	<-process.ended
	s.bench.check(process.command.ProcessState.Success(), "breakerd %s: %s", strings.Join(arguments, " "), process.lastLines())
}
