/**
 * How commands that list something print it: a table for people, JSON or YAML
 * for programs. The values are described by the schemas beside each command.
 */
import { stringify } from "yaml";
import type { CliWorld, Parameter } from "./command.ts";
import { renderTable, type Table } from "./table.ts";

/** The forms in which a value can be printed. */
export const OUTPUTS = ["table", "json", "yaml"] as const;

/** One of them. */
export type Output = typeof OUTPUTS[number];

/** The option by which one is chosen. */
export const OUTPUT_OPTION: Parameter = {
  syntax: "-o, --output <format>",
  summary: "how to print it",
  choices: OUTPUTS,
  default: "table",
};

/** The value as text; `toText` makes what people read. */
export function renderOutput<T>(
  value: T,
  { output, toText }: { output: Output; toText: (value: T) => string },
): string {
  if (output === "json") return `${JSON.stringify(value, null, 2)}\n`;
  // JSON first: what is undefined is left out, as it is there.
  if (output === "yaml") return stringify(JSON.parse(JSON.stringify(value)));
  return toText(value);
}

/** How bad something is. */
export const SEVERITIES = ["ok", "info", "warning", "error"] as const;

/** One of them. */
export type Severity = typeof SEVERITIES[number];

const COLOURS: Readonly<Record<Severity, string>> = {
  ok: "\x1b[32m",
  info: "\x1b[36m",
  warning: "\x1b[33m",
  error: "\x1b[31m",
};
const PLAIN = "\x1b[0m";

/** Colours for a terminal, and only for one. */
export type Paint = (text: string, severity: Severity) => string;

/** How this process may colour. */
export function painterOf({ isTerminal }: Pick<CliWorld, "isTerminal">): Paint {
  return isTerminal
    ? (text, severity) => `${COLOURS[severity]}${text}${PLAIN}`
    : (text) => text;
}

/** A table, or a sentence when it has no rows. */
export function tableOr(table: Table, nothing: string): string {
  return table.rows.length === 0 ? `${nothing}\n` : renderTable(table);
}

/** A time span for people: 45s, 12m, 3h, 9d. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const steps: readonly [size: number, unit: string][] = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "m"],
  ];
  const step = steps.find(([size]) => seconds >= size);
  return step === undefined
    ? `${seconds}s`
    : `${Math.floor(seconds / step[0])}${step[1]}`;
}
