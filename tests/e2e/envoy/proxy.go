package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

// A plan is what the proxies of a case are told.
type plan struct {
	dependency int // its port
	// ports of further replicas, for checks and log
	replicas []int
	// port of the access log service; breakerd's if it is 0
	log int
	// send the log by the cluster that checks go to, and so by its connections
	oneCluster bool
	// speak HTTP/2 to the dependency
	http2 bool
	// time for a check in milliseconds; as good as none if it is 0, so that a busy machine lets nothing pass
	checkMs int
	// routes /r0/ to /rN-1/, each with the breaker dependency/rI, before the one of the default breaker
	routes int
	// of the route to the dependency, in YAML
	route string
	// of the TCP proxy, in YAML
	tcp string
	// what it asks of the certificate of breakerd; nil: it speaks without TLS
	tls *peer
	// demands certificates of this authority of its own clients; nil: it takes them without TLS
	clients *authority
	// sent with checks, and with the log
	checkToken, logToken string
	// file of a secret whose value is sent with both, and that is read again when it is replaced
	credential string
	// check requests to localhost only, by a filter that is disabled elsewhere: what an EnvoyFilter of Istio makes
	onlyLocalhost bool
	// leave a replica alone for a time whose check has failed
	ejects bool
	// leave out the checks, or the log, for comparison
	noChecks, noLog bool
}

// A proxy is an Envoy that runs.
type proxy struct {
	bench            *bench
	process          *process
	isTLS            bool // for its clients
	http, tcp, admin int
}

// url of a path at the proxy
func (p *proxy) url(path string) string {
	scheme := "http"
	if p.isTLS {
		scheme = "https"
	}
	return scheme + "://" + loopback(p.http) + path
}

// statistic is what the proxy counts under a name, 0 unless it has counted.
func (p *proxy) statistic(name string) int {
	reply := overHTTP1().get("http://" + loopback(p.admin) + "/stats?filter=^" + regexp.QuoteMeta(name) + "$")
	p.bench.check(reply.code == 200, "read statistics of a proxy: %v", reply)
	_, value, _ := strings.Cut(strings.TrimSpace(reply.body), ": ")
	count, _ := strconv.Atoi(value)
	return count
}

func (b *bench) proxies(count int, server *breakerd, of plan) []*proxy {
	started := make([]*proxy, count)
	for index := range started {
		started[index] = b.proxy(server, of)
	}
	for _, proxy := range started {
		b.until("a proxy listens", func() bool {
			b.check(!proxy.process.hasEnded(), "a proxy ended: %s", proxy.process.lastLines())
			return listens(proxy.http)
		})
	}
	return started
}

func (b *bench) proxy(server *breakerd, of plan) *proxy {
	name := fmt.Sprintf("proxy-%d", b.proxiesStarted)
	b.proxiesStarted++
	proxy := &proxy{bench: b, isTLS: of.clients != nil, http: b.freePort(), tcp: b.freePort(), admin: b.freePort()}
	servers := map[string][]int{"breakerd": append([]int{server.grpc}, of.replicas...), "log": {of.log}}
	if of.log == 0 {
		servers["log"] = servers["breakerd"]
	}
	check := "cluster_name: breakerd"
	logBy := "log"
	if of.oneCluster {
		logBy = "breakerd"
	}
	if of.onlyLocalhost {
		// Istio gives clusters names that are no hosts: without an authority every check would fail.
		const named = "outbound|50051||breakerd.example"
		check, servers[named] = "cluster_name: "+named+", authority: breakerd.example", servers["breakerd"]
	}
	if of.checkMs == 0 {
		of.checkMs = int(patience.Milliseconds())
	}
	if of.route == "" {
		of.route = "timeout: 60s"
	}
	config := &strings.Builder{}
	err := proxyConfig.Execute(config, map[string]any{
		"Name": name, "HTTP": proxy.http, "TCP": proxy.tcp, "Admin": proxy.admin, "Dependency": of.dependency, "HTTP2": of.http2, "Checks": !of.noChecks, "Logs": !of.noLog,
		"Servers": servers, "Check": fmt.Sprintf("%.3fs", float64(of.checkMs)/1000), "Routes": make([]struct{}, of.routes), "Route": of.route,
		"TLS": of.tls.transportSocket(), "CheckToken": metadata(of.checkToken), "LogToken": metadata(of.logToken), "Credential": of.credential,
		"OnlyLocalhost": of.onlyLocalhost, "CheckBy": check, "Clients": of.clients.transportSocket(name), "TCPProxy": of.tcp, "LogBy": logBy, "Ejects": of.ejects,
	})
	if err != nil {
		b.fail("fill in the configuration of a proxy: %v", err)
	}
	file := filepath.Join(b.directory, name+".yaml")
	b.write(file, []byte(config.String()))
	proxy.process = b.start(name, b.programs.envoy, "--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
	return proxy
}

// Both listeners go to the same dependency: the first speaks HTTP with it, the second carries its bytes.
var proxyConfig = template.Must(template.New("proxy").Parse(`
node:
  id: {{.Name}}
  cluster: suite
  metadata: { breakerd: { breakerd_service: dependency } }
admin: { address: { socket_address: { address: 127.0.0.1, port_value: {{.Admin}} } } }
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: {{.HTTP}} } }
    filter_chains:
    - name: http
{{- with .Clients}}
      transport_socket: {{.}}
{{- end}}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
{{- if .Logs}}
          access_log:
          - name: envoy.access_loggers.http_grpc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config:
                log_name: breakerd
                transport_api_version: V3
                buffer_flush_interval: 0.05s
                grpc_service: { envoy_grpc: { cluster_name: {{.LogBy}} }{{.LogToken}} }
              additional_response_headers_to_log: [retry-after, grpc-status]
              additional_response_trailers_to_log: [grpc-status]
{{- end}}
          http_filters:
{{- if .Checks}}
          - name: envoy.filters.http.ext_authz
            disabled: {{.OnlyLocalhost}}
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              failure_mode_allow: true
              allowed_headers: { patterns: [{ exact: content-type }, { exact: x-request-id }] }
              grpc_service: { timeout: {{.Check}}, envoy_grpc: { {{.CheckBy}} }{{.CheckToken}} }
{{- end}}
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
{{- if .OnlyLocalhost}}
            - name: localhost
              domains: ["localhost:{{.HTTP}}"]
              routes: [{ match: { prefix: / }, route: { cluster: dependency } }]
              typed_per_filter_config:
                envoy.filters.http.ext_authz:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                  check_settings: { context_extensions: { breakerd_service: dependency } }
{{- end}}
            - name: all
              domains: ["*"]
              routes:
{{- range $index, $_ := .Routes}}
              - match: { prefix: /r{{$index}}/ }
                route: { cluster: dependency, timeout: 60s }
                typed_per_filter_config:
                  envoy.filters.http.ext_authz:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                    check_settings: { context_extensions: { breakerd_service: dependency, breakerd_name: r{{$index}} } }
{{- end}}
              - match: { prefix: / }
                route: { cluster: dependency, {{.Route}} }
{{- if and .Checks (not .OnlyLocalhost)}}
                typed_per_filter_config:
                  envoy.filters.http.ext_authz:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                    check_settings: { context_extensions: { breakerd_service: dependency } }
{{- end}}
  - address: { socket_address: { address: 127.0.0.1, port_value: {{.TCP}} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.ext_authz
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz
          stat_prefix: tcp
          transport_api_version: V3
          failure_mode_allow: true
          bootstrap_metadata_labels_key: breakerd
          grpc_service: { timeout: {{.Check}}, envoy_grpc: { cluster_name: breakerd }{{.CheckToken}} }
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: dependency
          # The check waits for the first bytes of the client, and so must the connection to the dependency.
          upstream_connect_mode: ON_DOWNSTREAM_DATA
          max_early_data_bytes: 65536
          {{.TCPProxy}}
          access_log:
          - name: envoy.access_loggers.tcp_grpc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig
              common_config:
                log_name: breakerd
                transport_api_version: V3
                buffer_flush_interval: 0.05s
                grpc_service: { envoy_grpc: { cluster_name: {{.LogBy}} }{{.LogToken}} }
  clusters:
  - name: dependency
    connect_timeout: 5s
{{- if .HTTP2}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
{{- end}}
    load_assignment: { cluster_name: dependency, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{.Dependency}} } } } }] }] }
{{- range $name, $ports := .Servers}}
  - name: {{$name}}
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
{{- with $.Credential}}
        http_filters:
        - name: envoy.filters.http.credential_injector
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
            credential:
              name: envoy.http.injected_credentials.generic
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
                credential: { name: breakerd, sds_config: { path_config_source: { path: {{.}} } } }
        - name: envoy.filters.http.upstream_codec
          typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec }
{{- end}}
{{- if $.Ejects}}
    outlier_detection: { consecutive_5xx: 1, interval: 1s, base_ejection_time: 1s, max_ejection_percent: 50 }
{{- end}}
{{- with $.TLS}}
    transport_socket: {{.}}
{{- end}}
    load_assignment:
      cluster_name: {{$name}}
      endpoints:
      - lb_endpoints:
{{- range $ports}}
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{.}} } } }
{{- end}}
{{- end}}
`))
