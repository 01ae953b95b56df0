// What the circuit breakers do: for those whose calls they protect.

import { choice, dashboard, INSTALLATION, NAMESPACE } from "./dashboard.js";
import { named, stat, stateTimeline, table, timeSeries, type Column } from "./panels.js";

const breaker = (metric: string, labels = "") =>
  `${NAMESPACE}_circuit_breaker_${metric}{${INSTALLATION}, service=~"$service", name=~"$name"${labels ? `, ${labels}` : ""}}`;

/** Counted by all replicas together, a second. */
const rate = (metric: string, labels = "") => `rate(${breaker(metric, labels)}[$__rate_interval])`;

/** Every replica shows the state; one that is behind shows an earlier one for a moment. */
const each = (metric: string) => `max by (service, name) (${breaker(metric)})`;

const BREAKER = "{{service}}/{{name}}";
const states = named({
  0: { text: "Closed", color: "green" },
  1: { text: "Open", color: "red" },
  2: { text: "Half-open", color: "yellow" },
});
const key: Column[] = [
  { field: "service", title: "Service" },
  { field: "name", title: "Name" },
];

const againstThreshold = (title: string, metric: string, unit: string, description: string) =>
  timeSeries({
    title,
    description,
    unit,
    queries: [
      { expr: each(metric), legend: BREAKER },
      { expr: each(`${metric}_threshold`), legend: `${BREAKER} threshold` },
    ],
    limits: "threshold",
  });

export const circuitBreakers = dashboard({
  uid: "breakerd-circuit-breakers",
  title: "Circuit Breakers",
  description: "What the circuit breakers of one installation of breakerd do: which are not closed and why, how calls go, and how far each is from its thresholds.",
  variables: [
    choice("service", "Service", `${NAMESPACE}_circuit_breaker_state{${INSTALLATION}}`),
    choice("name", "Name", `${NAMESPACE}_circuit_breaker_state{${INSTALLATION}, service=~"$service"}`),
  ],
  sections: [
    {
      title: "Now",
      panels: [
        stat({
          title: "Not Closed",
          description: "Circuit breakers that are open, half-open or FORCED_OPEN, on any replica.",
          queries: [{ expr: `count(${each("state")} > 0) or vector(0)` }],
          steps: [
            { color: "green", value: null },
            { color: "red", value: 1 },
          ],
        }),
        stat({
          title: "Call Success Rate",
          description: "Successful calls divided by all calls whose outcome counted.",
          unit: "percentunit",
          queries: [{ expr: `sum(${rate("successful_calls_total")}) / sum(${rate("calls_total")})` }],
          steps: [
            { color: "red", value: null },
            { color: "yellow", value: 0.95 },
            { color: "green", value: 0.99 },
          ],
          decimals: 2,
          graph: true,
        }),
        stat({
          title: "Rejected Calls",
          unit: "reqps",
          queries: [{ expr: `sum(${rate("rejected_calls_total")})` }],
          steps: [
            { color: "green", value: null },
            { color: "yellow", value: 0.01 },
            { color: "red", value: 10 },
          ],
          graph: true,
        }),
        stat({
          title: "Circuit Breakers",
          description: "All of them, by state, including those without series of their own.",
          queries: [{ expr: `max by (state) (${NAMESPACE}_circuit_breakers{${INSTALLATION}}) > 0`, legend: "{{state}}" }],
          steps: [{ color: "text", value: null }],
        }),
        table({
          title: "Not Closed Now",
          description: "Since when each is in its state, and why it entered it. A breaker whose dependency stays dead is OPEN and HALF_OPEN in turns.",
          width: 24,
          queries: [
            {
              expr: `max by (service, name, state, reason) (${breaker("not_closed_since_timestamp_seconds")}) * 1000`,
            },
          ],
          columns: [
            ...key,
            { field: "state", title: "State" },
            { field: "reason", title: "Reason" },
            { field: "Value", title: "Since", unit: "dateTimeFromNow" },
          ],
          sortedBy: "Since",
          noValue: "Every circuit breaker is closed",
        }),
      ],
    },
    {
      title: "States",
      panels: [
        stateTimeline({
          title: "Circuit Breaker States",
          description: "Those that were not closed at some time of this range. A FORCED_OPEN is shown as open, DISABLED and METRICS_ONLY as closed.",
          query: {
            expr: `${each("state")} and on (service, name) max by (service, name) (max_over_time(${breaker("state")}[$__range] @ end())) > 0`,
            legend: BREAKER,
          },
          mappings: states,
          noValue: "No circuit breaker left CLOSED",
        }),
        timeSeries({
          title: "Transitions",
          unit: "short",
          queries: [
            {
              expr: `sum by (from, to, reason) (increase(${breaker("transitions_total")}[$__rate_interval])) > 0`,
              legend: "{{from}} to {{to}}: {{reason}}",
            },
          ],
        }),
        table({
          title: "Top Flapping",
          description: "How often each opened from CLOSED in this range: the dependency recovers for the probes and fails under the traffic that follows.",
          queries: [
            {
              expr: `topk(10, sum by (service, name) (increase(${breaker("transitions_total", 'from="CLOSED", to="OPEN"')}[$__range])) >= 1)`,
            },
          ],
          columns: [...key, { field: "Value", title: "Opened", unit: "short" }],
          sortedBy: "Opened",
          noValue: "None opened",
        }),
      ],
    },
    {
      title: "Calls",
      panels: [
        timeSeries({
          title: "Call Success Rate",
          description: "Successful calls divided by all calls whose outcome counted. Rejected calls are in neither.",
          unit: "percentunit",
          max: 1,
          queries: [
            {
              expr: `sum by (service, name) (${rate("successful_calls_total")}) / sum by (service, name) (${rate("calls_total")})`,
              legend: BREAKER,
            },
          ],
        }),
        timeSeries({
          title: "Calls",
          unit: "reqps",
          stacked: true,
          queries: [
            { expr: `sum(${rate("successful_calls_total")})`, legend: "successful" },
            { expr: `sum(${rate("failed_calls_total")})`, legend: "failed" },
            { expr: `sum(${rate("ignored_calls_total")})`, legend: "ignored" },
            { expr: `sum(${rate("rejected_calls_total")})`, legend: "rejected" },
          ],
        }),
        timeSeries({
          title: "Rejected Calls",
          unit: "reqps",
          queries: [
            {
              expr: `sum by (service, name, reason) (${rate("rejected_calls_total")}) > 0`,
              legend: `${BREAKER} {{reason}}`,
            },
          ],
        }),
        timeSeries({
          title: "Slow Calls",
          description: "Calls that took longer than slow_call_duration_threshold, successful or not.",
          unit: "reqps",
          queries: [{ expr: `sum by (service, name) (${rate("slow_calls_total")})`, legend: BREAKER }],
        }),
        timeSeries({
          title: "Call Duration",
          description: "As clients report it, by service.",
          unit: "s",
          queries: [50, 95, 99].map((percentile) => ({
            expr: `histogram_quantile(${percentile / 100}, sum by (service, le) (rate(${NAMESPACE}_circuit_breaker_call_duration_seconds_bucket{${INSTALLATION}, service=~"$service"}[$__rate_interval])))`,
            legend: `{{service}} p${percentile}`,
          })),
        }),
        timeSeries({
          title: "Late Outcomes, Lost Probes",
          description:
            "Outcomes that were reported after the breaker had left the state of their permit, or after the probe timeout: a client timeout above half_open_permit_timeout is a common cause. Probes whose outcome was not reported in time.",
          unit: "reqps",
          queries: [
            { expr: `sum by (service, name) (${rate("late_outcomes_total")})`, legend: `${BREAKER} late` },
            { expr: `sum by (service, name) (${rate("probe_timeouts_total")})`, legend: `${BREAKER} lost probes` },
          ],
        }),
      ],
    },
    {
      title: "Against the Thresholds",
      panels: [
        againstThreshold(
          "Failure Ratio",
          "failure_ratio",
          "percentunit",
          "Failures divided by calls in the window, of each replica's the highest. Nothing is shown where a breaker has no such threshold, or is not closed.",
        ),
        againstThreshold("Slow Call Ratio", "slow_call_ratio", "percentunit", "Slow calls divided by calls in the window."),
        againstThreshold(
          "Consecutive Failures",
          "consecutive_failures",
          "short",
          "While open, those at the moment of opening; while half-open, those of the probes.",
        ),
        againstThreshold("Failures in the Window", "window_failures", "short", "Shown with a threshold where failure_count_threshold is set."),
        timeSeries({
          title: "Window Fill",
          description: "Calls in the window divided by those that it must hold before its ratios are evaluated. Below 100 % no ratio opens a breaker.",
          unit: "percentunit",
          queries: [{ expr: `${each("window_calls")} / ${each("window_calls_min")}`, legend: BREAKER }],
        }),
        timeSeries({
          title: "Probes in Flight",
          unit: "short",
          queries: [{ expr: `sum by (service, name) (${breaker("probes_in_flight")})`, legend: BREAKER }],
        }),
      ],
    },
    {
      title: "Overrides",
      panels: [
        table({
          title: "Overrides That Are Set",
          queries: [{ expr: `max by (service, name, override) (${breaker("override")}) == 1` }],
          columns: [...key, { field: "override", title: "Override" }],
          sortedBy: "Service",
          noValue: "No override is set",
        }),
        timeSeries({
          title: "Calls That METRICS_ONLY Would Have Rejected",
          unit: "reqps",
          queries: [{ expr: `sum by (service, name) (${rate("would_be_rejected_calls_total")})`, legend: BREAKER }],
        }),
      ],
    },
  ],
});
