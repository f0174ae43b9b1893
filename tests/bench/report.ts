/** The benchmark's figures as a table for a terminal, as Markdown, and as JSON. */
import { type Curve, type Figure, holds, type Unit } from "./figure.ts";
import type { Sample } from "./statistics.ts";

/** One whole run. */
export interface Report {
  readonly machine: string;
  readonly figures: readonly Figure[];
  readonly curves: readonly Curve[];
}

const HEAD = ["figure", "measured", "floor", "limit", ""];

function round(value: number): string {
  if (!Number.isFinite(value)) return "none";
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(1);
}

function show({ median, low, high, count }: Sample, unit: Unit): string {
  const spread = count === 1 ? "" : ` (${round(low)} to ${round(high)})`;
  const exact = unit === "requests" ? median.toFixed(2) : round(median);
  return `${exact} ${unit}${spread}`;
}

/** How a value stands to its floor: "1.31 x". */
function ratio({ value, floor, rounds }: Figure): string {
  if (rounds !== undefined) return `, ${rounds.ratio.median.toFixed(2)} x`;
  return floor === undefined || floor.value.median === 0
    ? ""
    : `, ${(value.median / floor.value.median).toFixed(2)} x`;
}

/** How much of the limit is used up: what a figure is judged by. */
function share({ rounds }: Figure): string {
  if (rounds === undefined) return "";
  return `, ${(rounds.share.median * 100).toFixed(0)} % of it`;
}

function limitText({ limit, sense, unit, floor }: Figure): string {
  const amount = floor === undefined ? "" : ` = ${round(limit.value)} ${unit}`;
  return `${sense} ${limit.rule}${amount}`;
}

function cells(figure: Figure): string[] {
  const { name, value, unit, floor } = figure;
  return [
    name,
    `${show(value, unit)}${ratio(figure)}`,
    floor === undefined ? "" : show(floor.value, unit),
    `${limitText(figure)}${share(figure)}`,
    holds(figure) ? "holds" : "MISSED",
  ];
}

function pad(rows: readonly (readonly string[])[]): string[] {
  const widths = HEAD.map((_, at) =>
    Math.max(...rows.map((row) => row[at]?.length ?? 0))
  );
  return rows.map((row) =>
    row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd()
  );
}

function curveLine({ name, of, unit, points }: Curve): string {
  const shown = points.map(({ at, value }) =>
    `${at}: ${round(value.median)} ${unit}`
  );
  return `${name} over ${of}: ${shown.join(", ")}`;
}

/** A table for a terminal. */
export function formatTable({ machine, figures, curves }: Report): string {
  const table = figures.length === 0 ? [] : pad([HEAD, ...figures.map(cells)]);
  return [machine, "", ...table, "", ...curves.map(curveLine)].join("\n")
    .trimEnd();
}

/** The same as Markdown, with what each floor is. */
export function formatMarkdown({ machine, figures, curves }: Report): string {
  const line = (row: readonly string[]): string => `| ${row.join(" | ")} |`;
  const floors = new Set(
    figures.flatMap(({ name, floor, note }) => [
      ...(floor === undefined ? [] : [`- ${name}: floor is ${floor.what}`]),
      ...(note === undefined ? [] : [`- ${name}: ${note}`]),
    ]),
  );
  return [
    machine,
    "",
    line(HEAD),
    line(HEAD.map(() => "---")),
    ...figures.map((figure) => line(cells(figure))),
    "",
    ...floors,
    "",
    ...curves.map((curve) => `- ${curveLine(curve)}`),
  ].join("\n").trimEnd();
}

/** Everything, for programs. */
export function formatJson(report: Report): string {
  const figures = report.figures.map((figure) => ({
    ...figure,
    holds: holds(figure),
  }));
  return JSON.stringify({ ...report, figures }, null, 2);
}
