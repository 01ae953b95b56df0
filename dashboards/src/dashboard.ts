// What both dashboards have: the choice of the Prometheus and of one installation, the time, the link to the other one.

import {
  DashboardCursorSync,
  VariableHide,
  VariableRefresh,
  VariableSort,
  type Dashboard,
  type VariableModel,
} from "@grafana/schema";

import { datasource, laidOut, type Section } from "./panels.js";

/** What the names of the metrics begin with; the Helm chart puts metrics.namespace in its place. */
export const NAMESPACE = "llm_incident_manager";

/** The schema of Grafana 12 and later; earlier ones are migrated by it. */
const SCHEMA_VERSION = 42;

const prometheus: VariableModel = {
  name: "datasource",
  label: "Data source",
  type: "datasource",
  query: "prometheus",
  refresh: VariableRefresh.onDashboardLoad,
  hide: VariableHide.dontHide,
  includeAll: false,
  multi: false,
  options: [],
};

const values = (label: string, title: string, query: string): VariableModel => ({
  name: label,
  label: title,
  type: "query",
  datasource,
  query: { query: `label_values(${query}, ${label})`, refId: "PrometheusVariableQueryEditor-VariableQuery" },
  refresh: VariableRefresh.onTimeRangeChanged,
  sort: VariableSort.alphabeticalAsc,
  hide: VariableHide.dontHide,
  options: [],
});

/** A choice of the values of a label; several, and all at first. */
export const choice = (label: string, title: string, query: string): VariableModel => ({
  ...values(label, title, query),
  multi: true,
  includeAll: true,
  allValue: ".*",
  current: { text: "All", value: "$__all" },
});

/** A choice of one value of a label. Where no series has the label there is none, and a comparison with it is true of these series. */
const choiceOfOne = (label: string, title: string, query: string): VariableModel => ({
  ...values(label, title, query),
  multi: false,
  includeAll: false,
});

const BUILD = `${NAMESPACE}_breakerd_build_info`;
const CLUSTER = 'cluster="$cluster"';
const CLUSTER_AND_NAMESPACE = `${CLUSTER}, namespace="$namespace"`;

/** The labels of the series of one installation, as in files/alerts.yaml. What several do is never added up, so every query has these. */
export const INSTALLATION = `${CLUSTER_AND_NAMESPACE}, job="$job"`;

const installation: VariableModel[] = [
  choiceOfOne("cluster", "Cluster", BUILD),
  choiceOfOne("namespace", "Namespace", `${BUILD}{${CLUSTER}}`),
  choiceOfOne("job", "Job", `${BUILD}{${CLUSTER_AND_NAMESPACE}}`),
];

export interface Described {
  uid: string;
  title: string;
  description: string;
  /** Besides those of the installation. */
  variables: VariableModel[];
  sections: Section[];
}

export function dashboard(described: Described): Dashboard {
  return {
    uid: described.uid,
    title: described.title,
    description: described.description,
    tags: ["breakerd"],
    editable: true,
    schemaVersion: SCHEMA_VERSION,
    graphTooltip: DashboardCursorSync.Crosshair,
    time: { from: "now-6h", to: "now" },
    refresh: "30s",
    timezone: "browser",
    links: [
      {
        title: "breakerd",
        type: "dashboards",
        tags: ["breakerd"],
        asDropdown: false,
        icon: "external link",
        includeVars: true,
        keepTime: true,
        targetBlank: false,
        tooltip: "",
      },
    ],
    templating: { list: [prometheus, ...installation, ...described.variables] },
    annotations: { list: [] },
    panels: laidOut(described.sections),
  };
}
