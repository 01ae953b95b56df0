// What both dashboards have: the choice of the Prometheus, the time, the link to the other one.

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

/** A choice of the values of a label; several, and all at first. */
export function choice(label: string, title: string, query: string): VariableModel {
  return {
    name: label,
    label: title,
    type: "query",
    datasource,
    query: { query: `label_values(${query}, ${label})`, refId: "PrometheusVariableQueryEditor-VariableQuery" },
    refresh: VariableRefresh.onTimeRangeChanged,
    sort: VariableSort.alphabeticalAsc,
    hide: VariableHide.dontHide,
    multi: true,
    includeAll: true,
    allValue: ".*",
    current: { text: "All", value: "$__all" },
    options: [],
  };
}

export interface Described {
  uid: string;
  title: string;
  description: string;
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
        includeVars: false,
        keepTime: true,
        targetBlank: false,
        tooltip: "",
      },
    ],
    templating: { list: [prometheus, ...described.variables] },
    annotations: { list: [] },
    panels: laidOut(described.sections),
  };
}
