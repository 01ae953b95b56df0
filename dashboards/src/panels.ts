// Panels of one look: what each dashboard says is a title, a question to Prometheus, and a unit.

import {
  AxisColorMode,
  AxisPlacement,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueJustifyMode,
  BigValueTextMode,
  FieldColorModeId,
  GraphDrawStyle,
  GraphGradientMode,
  LegendDisplayMode,
  LineInterpolation,
  MappingType,
  PercentChangeColorMode,
  ScaleDistribution,
  SortOrder,
  StackingMode,
  TableCellHeight,
  ThresholdsMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizOrientation,
  type DataTransformerConfig,
  type FieldConfig,
  type GraphFieldConfig,
  type Panel,
  type RowPanel,
  type Threshold,
  type ValueMapping,
} from "@grafana/schema";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as StateTimelineOptions } from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type { Options as TableOptions } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { Options as TimeSeriesOptions } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** The variable that chooses the Prometheus. */
export const datasource = { type: "prometheus", uid: "${datasource}" };

/** A question to Prometheus, and how its series are named. */
export interface Query {
  expr: string;
  legend?: string;
  /** Whether the calls that breakerd names as exemplars are shown too, as points that lead to their traces. */
  exemplars?: boolean;
}

/** What every panel has. */
interface Said {
  title: string;
  description?: string;
  /** Grafana's name of a unit. */
  unit?: string;
  /** Of the 24 columns. */
  width?: number;
  height?: number;
}

export type Drawn = Panel & { gridPos: { x: number; y: number; w: number; h: number } };

const WIDTH = 24;

const at = (said: Said, width: number, height: number) => ({ x: 0, y: 0, w: said.width ?? width, h: said.height ?? height });

const targets = (queries: Query[], instant: boolean): Array<Record<string, unknown>> =>
  queries.map(({ expr, legend, exemplars }, index) => ({
    refId: String.fromCharCode("A".charCodeAt(0) + index),
    datasource,
    editorMode: "code",
    expr,
    legendFormat: legend ?? "__auto",
    ...(exemplars ? { exemplar: true } : {}),
    ...(instant ? { instant: true, range: false, format: "table" } : { instant: false, range: true }),
  }));

const fields = (said: Said, more: FieldConfig): FieldConfig => (said.unit ? { unit: said.unit, ...more } : more);

export interface TimeSeries extends Said {
  queries: Query[];
  stacked?: boolean;
  min?: number;
  max?: number;
  /** Series whose name ends so are limits: dashed, and without a fill. */
  limits?: string;
}

/** Values over time. */
export function timeSeries(said: TimeSeries): Drawn {
  const options: TimeSeriesOptions = {
    legend: { showLegend: true, displayMode: LegendDisplayMode.List, placement: "bottom", calcs: [] },
    tooltip: { mode: TooltipDisplayMode.Multi, sort: SortOrder.Descending },
  };
  const custom: GraphFieldConfig = {
    drawStyle: GraphDrawStyle.Line,
    lineInterpolation: LineInterpolation.Linear,
    lineWidth: 1,
    fillOpacity: said.stacked ? 30 : 8,
    gradientMode: GraphGradientMode.None,
    showPoints: VisibilityMode.Auto,
    spanNulls: false,
    axisPlacement: AxisPlacement.Auto,
    axisColorMode: AxisColorMode.Text,
    scaleDistribution: { type: ScaleDistribution.Linear },
    stacking: { mode: said.stacked ? StackingMode.Normal : StackingMode.None, group: "A" },
  };
  const dashed = [
    { id: "custom.lineStyle", value: { fill: "dash", dash: [8, 8] } },
    { id: "custom.fillOpacity", value: 0 },
  ];
  const overrides = said.limits
    ? [{ matcher: { id: "byRegexp", options: `/${said.limits}$/` }, properties: dashed }]
    : [];
  return {
    type: "timeseries",
    title: said.title,
    description: said.description,
    datasource,
    targets: targets(said.queries, false),
    options: { ...options },
    fieldConfig: {
      defaults: fields(said, {
        color: { mode: FieldColorModeId.PaletteClassic },
        min: said.min ?? 0,
        max: said.max,
        custom: { ...custom },
      }),
      overrides,
    },
    gridPos: at(said, 12, 8),
  };
}

export interface Stat extends Said {
  queries: Query[];
  /** From which value on which colour; the first without a value. */
  steps: Threshold[];
  mappings?: ValueMapping[];
  decimals?: number;
  graph?: boolean;
}

/** The value of now, large. */
export function stat(said: Stat): Drawn {
  const options: StatOptions = {
    colorMode: BigValueColorMode.Value,
    graphMode: said.graph ? BigValueGraphMode.Area : BigValueGraphMode.None,
    justifyMode: BigValueJustifyMode.Auto,
    orientation: VizOrientation.Auto,
    percentChangeColorMode: PercentChangeColorMode.Standard,
    reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
    showPercentChange: false,
    textMode: BigValueTextMode.Auto,
    wideLayout: true,
  };
  return {
    type: "stat",
    title: said.title,
    description: said.description,
    datasource,
    targets: targets(said.queries, false),
    options: { ...options },
    fieldConfig: {
      defaults: fields(said, {
        color: { mode: FieldColorModeId.Thresholds },
        thresholds: { mode: ThresholdsMode.Absolute, steps: said.steps },
        mappings: said.mappings ?? [],
        decimals: said.decimals,
      }),
      overrides: [],
    },
    gridPos: at(said, 6, 4),
  };
}

/** How the column of a label, or the value, is shown. */
export interface Column {
  /** The label; `Value` for the value of the only query, `Value #A` for that of the first of several. */
  field: string;
  title: string;
  unit?: string;
  mappings?: ValueMapping[];
}

export interface Table extends Said {
  queries: Query[];
  /** In their order; all other fields are left out. */
  columns: Column[];
  /** The title of the column that it is sorted by, largest first. */
  sortedBy: string;
  noValue?: string;
}

/** The series of now, a row each. */
export function table(said: Table): Drawn {
  const options: TableOptions = {
    showHeader: true,
    cellHeight: TableCellHeight.Sm,
    frameIndex: 0,
    sortBy: [{ displayName: said.sortedBy, desc: true }],
  };
  const organize: DataTransformerConfig = {
    id: "organize",
    options: {
      includeByName: Object.fromEntries(said.columns.map((column) => [column.field, true])),
      indexByName: Object.fromEntries(said.columns.map((column, index) => [column.field, index])),
      renameByName: Object.fromEntries(said.columns.map((column) => [column.field, column.title])),
    },
  };
  const merged: DataTransformerConfig[] = said.queries.length > 1 ? [{ id: "merge", options: {} }, organize] : [organize];
  return {
    type: "table",
    title: said.title,
    description: said.description,
    datasource,
    targets: targets(said.queries, true),
    options: { ...options },
    transformations: merged,
    fieldConfig: {
      defaults: fields(said, { custom: { align: "auto", filterable: true }, noValue: said.noValue }),
      overrides: said.columns
        .filter((column) => column.unit || column.mappings)
        .map((column) => ({
          matcher: { id: "byName", options: column.title },
          properties: [
            ...(column.unit ? [{ id: "unit", value: column.unit }] : []),
            ...(column.mappings ? [{ id: "mappings", value: column.mappings }] : []),
          ],
        })),
    },
    gridPos: at(said, 12, 8),
  };
}

export interface StateTimeline extends Said {
  query: Query;
  mappings: ValueMapping[];
  noValue: string;
}

/** States over time, a bar for each series. */
export function stateTimeline(said: StateTimeline): Drawn {
  const options: StateTimelineOptions = {
    alignValue: "left",
    legend: { showLegend: true, displayMode: LegendDisplayMode.List, placement: "bottom", calcs: [] },
    mergeValues: true,
    perPage: 20,
    rowHeight: 0.9,
    showValue: VisibilityMode.Never,
    tooltip: { mode: TooltipDisplayMode.Single, sort: SortOrder.None },
  };
  return {
    type: "state-timeline",
    title: said.title,
    description: said.description,
    datasource,
    targets: targets([said.query], false),
    options: { ...options },
    fieldConfig: {
      defaults: {
        color: { mode: FieldColorModeId.Thresholds },
        custom: { fillOpacity: 75, lineWidth: 0 },
        mappings: said.mappings,
        noValue: said.noValue,
      },
      overrides: [],
    },
    gridPos: at(said, WIDTH, 10),
  };
}

/** What a number is called, and its colour. */
export const named = (names: Record<string, { text: string; color: string }>): ValueMapping[] => [
  {
    type: MappingType.ValueToText,
    options: Object.fromEntries(Object.entries(names).map(([value, shown], index) => [value, { ...shown, index }])),
  },
];

export interface Section {
  title: string;
  panels: Drawn[];
}

/** The sections one below the other, each with its panels from left to right. */
export function laidOut(sections: Section[]): Array<Panel | RowPanel> {
  const placed: Array<Panel | RowPanel> = [];
  let y = 0;
  for (const { title, panels } of sections) {
    placed.push({ type: "row", id: placed.length + 1, title, collapsed: false, panels: [], gridPos: { x: 0, y, w: WIDTH, h: 1 } });
    y += 1;
    let x = 0;
    let height = 0;
    for (const panel of panels) {
      if (x + panel.gridPos.w > WIDTH) {
        x = 0;
        y += height;
        height = 0;
      }
      placed.push({ ...panel, id: placed.length + 1, gridPos: { ...panel.gridPos, x, y } });
      x += panel.gridPos.w;
      height = Math.max(height, panel.gridPos.h);
    }
    y += height;
  }
  return placed;
}
