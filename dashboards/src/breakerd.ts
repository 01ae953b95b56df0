// How breakerd itself is: for those who run it.

import { choice, dashboard, INSTALLATION, NAMESPACE } from "./dashboard.js";
import { named, stat, table, timeSeries, type Query } from "./panels.js";

const INSTANCES = `${INSTALLATION}, instance=~"$instance"`;

const own = (metric: string, labels = "") =>
  `${NAMESPACE}_breakerd_${metric}{${INSTANCES}${labels ? `, ${labels}` : ""}}`;

const rate = (metric: string, labels = "") => `rate(${own(metric, labels)}[$__rate_interval])`;

const ofProcess = (metric: string) => `process_${metric}{${INSTANCES}}`;

const quantiles = (histogram: string, by: string, labels = ""): Query[] =>
  [50, 99].map((percentile) => ({
    expr: `histogram_quantile(${percentile / 100}, sum by (${by}, le) (${rate(`${histogram}_bucket`, labels)}))`,
    legend: `{{${by}}} p${percentile}`,
  }));

/** Of queries that ask for the same series, the first one asks for their exemplars too. */
const withExemplars = ([first, ...others]: Query[]): Query[] => (first ? [{ ...first, exemplars: true }, ...others] : []);

const yes = named({ 0: { text: "no", color: "red" }, 1: { text: "yes", color: "green" } });
const no = named({ 0: { text: "no", color: "green" }, 1: { text: "yes", color: "red" } });
const green = { color: "green", value: null };

export const breakerd = dashboard({
  uid: "breakerd-service",
  title: "breakerd",
  description: "How one installation of breakerd is: calls, connections, journal, store, replicas, watches and the process.",
  variables: [choice("instance", "Instance", `${NAMESPACE}_breakerd_build_info{${INSTALLATION}}`)],
  sections: [
    {
      title: "Now",
      panels: [
        stat({
          title: "Replicas",
          description: "Instances that are scraped.",
          width: 4,
          queries: [{ expr: `count(${own("build_info")})` }],
          steps: [green],
        }),
        stat({
          title: "Store Reachable",
          width: 4,
          queries: [{ expr: `min(${own("store_reachable")})` }],
          steps: [{ color: "red", value: null }, { color: "green", value: 1 }],
          mappings: yes,
        }),
        stat({
          title: "Store Writable",
          width: 4,
          queries: [{ expr: `min(${own("store_writable")})` }],
          steps: [{ color: "red", value: null }, { color: "green", value: 1 }],
          mappings: yes,
        }),
        stat({
          title: "A Replica Is Alone",
          description: "Replicas share the store, and it has answered no write of one for 3 s.",
          width: 4,
          queries: [{ expr: `max(${own("replica_alone")})` }],
          steps: [green, { color: "red", value: 1 }],
          mappings: no,
        }),
        stat({
          title: "Journal Lag",
          description: "Age of the oldest transition that is not in the store.",
          unit: "s",
          width: 4,
          queries: [{ expr: `max(${own("journal_lag_seconds")})` }],
          steps: [green, { color: "yellow", value: 5 }, { color: "red", value: 60 }],
        }),
        stat({
          title: "Settings Pending Restart",
          width: 4,
          queries: [{ expr: `max(${own("config_settings_pending_restart")})` }],
          steps: [green, { color: "yellow", value: 1 }],
        }),
        table({
          title: "Instances",
          width: 24,
          height: 5,
          queries: [{ expr: `${own("build_info")} * on (instance) group_left () (time() - ${ofProcess("start_time_seconds")})` }],
          columns: [
            { field: "instance", title: "Instance" },
            { field: "version", title: "Version" },
            { field: "commit", title: "Commit" },
            { field: "Value", title: "Uptime", unit: "s" },
          ],
          sortedBy: "Uptime",
        }),
      ],
    },
    {
      title: "Calls",
      panels: [
        timeSeries({
          title: "RPCs",
          unit: "reqps",
          queries: [{ expr: `sum by (method) (${rate("grpc_calls_total")}) > 0`, legend: "{{method}}" }],
        }),
        timeSeries({
          title: "RPCs That Failed",
          unit: "reqps",
          queries: [
            {
              expr: `sum by (method, code) (${rate("grpc_calls_total", 'code!="OK"')}) > 0`,
              legend: "{{method}} {{code}}",
              exemplars: true,
            },
          ],
        }),
        timeSeries({
          title: "RPC Duration",
          description: "In the process, without the network. Points are sampled calls, with the ids of their traces.",
          unit: "s",
          queries: withExemplars(quantiles("grpc_call_duration_seconds", "method")),
        }),
        timeSeries({
          title: "RPCs in Flight",
          unit: "short",
          queries: [
            { expr: own("grpc_calls_in_flight"), legend: "{{instance}}" },
            { expr: `min(${own("grpc_calls_in_flight_max")})`, legend: "limit" },
          ],
          limits: "limit",
        }),
        timeSeries({
          title: "Connections",
          unit: "short",
          queries: [
            { expr: own("connections"), legend: "{{instance}} {{protocol}}" },
            { expr: `min by (protocol) (${own("connections_max")})`, legend: "{{protocol}} limit" },
          ],
          limits: "limit",
        }),
        timeSeries({
          title: "Requests Refused",
          description: "By access control, or by a limit of one client.",
          unit: "reqps",
          queries: [{ expr: `sum by (protocol, reason) (${rate("access_refused_total")})`, legend: "{{protocol}} {{reason}}" }],
        }),
      ],
    },
    {
      title: "Journal",
      panels: [
        timeSeries({
          title: "Transitions Not in the Store",
          unit: "short",
          queries: [{ expr: own("journal_depth"), legend: "{{instance}}" }],
        }),
        timeSeries({
          title: "Journal Lag",
          unit: "s",
          queries: [{ expr: own("journal_lag_seconds"), legend: "{{instance}}" }],
        }),
        timeSeries({
          title: "Journal Size",
          unit: "bytes",
          queries: [
            { expr: own("journal_bytes"), legend: "{{instance}}" },
            { expr: `min(${own("journal_bytes_max")})`, legend: "limit" },
          ],
          limits: "limit",
        }),
        timeSeries({
          title: "Journal Write Duration",
          description: "An RPC that causes a transition waits for one.",
          unit: "s",
          queries: quantiles("journal_write_duration_seconds", "instance"),
        }),
        timeSeries({
          title: "Transitions",
          unit: "ops",
          queries: [{ expr: `sum(${rate("journal_appended_total")})`, legend: "appended" }],
        }),
        timeSeries({
          title: "Journal Trouble",
          description: "Transitions that are lost to the history, failed writes, and transitions that are in memory only.",
          unit: "short",
          queries: [
            { expr: `increase(${own("journal_dropped_total")}[$__rate_interval])`, legend: "{{instance}} dropped" },
            { expr: `increase(${own("journal_write_errors_total")}[$__rate_interval])`, legend: "{{instance}} write errors" },
            { expr: own("journal_in_memory"), legend: "{{instance}} in memory" },
          ],
        }),
      ],
    },
    {
      title: "Store and Replicas",
      panels: [
        timeSeries({
          title: "Store Operations",
          unit: "ops",
          queries: [
            { expr: `sum by (operation) (${rate("store_operation_duration_seconds_count")}) > 0`, legend: "{{operation}}" },
          ],
        }),
        timeSeries({
          title: "Store Operation Duration",
          unit: "s",
          queries: quantiles("store_operation_duration_seconds", "operation"),
        }),
        timeSeries({
          title: "Store Errors",
          unit: "ops",
          queries: [{ expr: `sum by (operation) (${rate("store_errors_total")})`, legend: "{{operation}}" }],
        }),
        timeSeries({
          title: "Revision Lag",
          description: "Time since each replica last read what others changed.",
          unit: "s",
          queries: [{ expr: own("store_revision_lag_seconds"), legend: "{{instance}}" }],
        }),
        timeSeries({
          title: "Revision",
          description: "Newest store revision that each replica knows.",
          unit: "short",
          queries: [{ expr: own("store_revision"), legend: "{{instance}}" }],
        }),
        timeSeries({
          title: "Live Replicas",
          description: "As the store was told; 0 if it is not shared.",
          unit: "short",
          queries: [{ expr: own("replica_live"), legend: "{{instance}}" }],
        }),
      ],
    },
    {
      title: "Watches and Configuration",
      panels: [
        timeSeries({
          title: "Watch Streams",
          unit: "short",
          queries: [{ expr: `sum by (method) (${own("watch_streams")})`, legend: "{{method}}" }],
        }),
        timeSeries({
          title: "Watch Streams That Began Anew",
          description: "With a snapshot: they lagged too far behind, or resumed with an expired token.",
          unit: "ops",
          queries: [{ expr: `sum by (method) (${rate("watch_resyncs_total")})`, legend: "{{method}}" }],
        }),
        timeSeries({
          title: "Configuration Revision",
          unit: "short",
          queries: [{ expr: own("config_revision"), legend: "{{instance}}" }],
        }),
        timeSeries({
          title: "Failed Reloads",
          unit: "short",
          queries: [
            { expr: `sum(increase(${own("config_reload_errors_total")}[$__rate_interval]))`, legend: "configuration" },
            { expr: `sum(increase(${own("access_reload_errors_total")}[$__rate_interval]))`, legend: "tokens" },
            { expr: `sum(increase(${own("tls_reload_errors_total")}[$__rate_interval]))`, legend: "TLS" },
          ],
        }),
      ],
    },
    {
      title: "Webhooks and Traces",
      panels: [
        timeSeries({
          title: "Notifications",
          description: "Posted to the targets of [[notify]], given up, and dropped because a queue was full.",
          unit: "ops",
          queries: [
            { expr: `sum by (target) (${rate("notify_sent_total")})`, legend: "{{target}} sent" },
            { expr: `sum by (target) (${rate("notify_failed_total")})`, legend: "{{target}} given up" },
            { expr: `sum by (target) (${rate("notify_dropped_total")})`, legend: "{{target}} dropped" },
          ],
        }),
        timeSeries({
          title: "Notifications That Wait",
          unit: "short",
          queries: [{ expr: `sum by (target) (${own("notify_queue_depth")})`, legend: "{{target}}" }],
        }),
        timeSeries({
          title: "Spans",
          unit: "ops",
          queries: [
            { expr: `sum(${rate("tracing_exported_spans_total")})`, legend: "exported" },
            { expr: `sum by (reason) (${rate("tracing_dropped_spans_total")})`, legend: "dropped: {{reason}}" },
          ],
        }),
        timeSeries({
          title: "Failed Exports of Spans",
          unit: "ops",
          queries: [{ expr: `sum(${rate("tracing_failed_exports_total")})`, legend: "failed" }],
        }),
      ],
    },
    {
      title: "Process",
      panels: [
        timeSeries({
          title: "Memory",
          unit: "bytes",
          queries: [{ expr: ofProcess("resident_memory_bytes"), legend: "{{instance}}" }],
        }),
        timeSeries({
          title: "CPU",
          description: "Cores in use.",
          unit: "short",
          queries: [{ expr: `rate(${ofProcess("cpu_seconds_total")}[$__rate_interval])`, legend: "{{instance}}" }],
        }),
        timeSeries({
          title: "Circuit Breakers",
          unit: "short",
          queries: [
            { expr: `sum by (instance) (${NAMESPACE}_circuit_breakers{${INSTANCES}})`, legend: "{{instance}}" },
            { expr: `min(${NAMESPACE}_circuit_breakers_max{${INSTANCES}})`, legend: "limit" },
          ],
          limits: "limit",
        }),
        timeSeries({
          title: "Open Files",
          unit: "short",
          queries: [
            { expr: ofProcess("open_fds"), legend: "{{instance}}" },
            { expr: `min(${ofProcess("max_fds")})`, legend: "limit" },
          ],
          limits: "limit",
        }),
      ],
    },
  ],
});
