/**
 * What `multusctl grants` has to say, as a value with a stable shape, and the
 * three ways to say it. It reads nothing.
 */
import * as z from "zod/mini";
import {
  type Executable,
  EXECUTABLES,
  type Grant,
  type Profile,
} from "../grants.ts";
import {
  type Baked,
  compareBaked,
  type Difference,
  expectedOf,
} from "./baked.ts";
import { renderMarkdownTable, renderTable } from "./table.ts";

/** One executable's row of the table. */
export interface ExecutableGrants {
  /** Which program. */
  readonly name: Executable;
  /** The deno program that its launcher starts. */
  readonly deno: string;
  /** The flags for V8. */
  readonly v8Flags: readonly string[];
  /** What its launcher tells the C library's allocator. */
  readonly allocator?: readonly string[];
  /** The permissions, each with its reason. */
  readonly grants: readonly Grant[];
}

/** A file, and how it differs from the table. */
export interface ComparedFile {
  /** The file, as it was given. */
  readonly path: string;
  /** Which program it is. */
  readonly executable: Executable;
  /** Which of the two forms it has. */
  readonly form: Baked["form"];
  /** Whether what is baked in is what the table says. */
  readonly same: boolean;
  /** What is not the same; empty when all is. */
  readonly differences: readonly Difference[];
}

/** The document that `--format json` prints. */
export interface GrantsReport {
  /** Where the profile was read from; `-` is standard input. */
  readonly profile: string;
  /** All programs, or the one that was asked for. */
  readonly executables: readonly ExecutableGrants[];
  /** Only when a file was given. */
  readonly file?: ComparedFile;
}

const ReportShape = z.strictObject({
  profile: z.string(),
  executables: z.array(z.strictObject({
    name: z.enum(EXECUTABLES),
    deno: z.string(),
    v8Flags: z.array(z.string()),
    allocator: z.optional(z.array(z.string())),
    grants: z.array(z.strictObject({
      kind: z.enum(["read", "write", "net", "env", "run", "sys"]),
      value: z.string(),
      why: z.string(),
    })),
  })),
  file: z.optional(z.strictObject({
    path: z.string(),
    executable: z.enum(EXECUTABLES),
    form: z.enum(["launcher", "compiled"]),
    same: z.boolean(),
    differences: z.array(z.strictObject({
      change: z.enum(["missing", "extra"]),
      flag: z.string(),
    })),
  })),
});

/**
 * Reads what `--format json` has printed.
 *
 * @throws {SyntaxError} when the text is not JSON.
 * @throws {TypeError} when it is not such a report.
 */
export function parseGrantsReport(text: string): GrantsReport {
  const parsed = z.safeParse(ReportShape, JSON.parse(text));
  if (parsed.success) return parsed.data as GrantsReport;
  const place = parsed.error.issues[0]?.path.join(".") ?? "";
  throw new TypeError(`Not a report of grants: ${place}`);
}

/** A file whose grants have been read back. */
export interface ReadFile {
  /** The file, as it was given. */
  readonly path: string;
  /** Which program it is. */
  readonly executable: Executable;
  /** What was found in it. */
  readonly baked: Baked;
}

/** The table of `executables` for one profile, and how `file` differs from it. */
export function makeGrantsReport(
  place: { readonly profile: Profile; readonly path: string },
  options: {
    readonly executables: readonly Executable[];
    readonly file?: ReadFile;
  },
): GrantsReport {
  const { executables, file } = options;
  const report = {
    profile: place.path,
    executables: executables.map((name) => ({
      name,
      ...expectedOf(name, place.profile),
    })),
  };
  if (file === undefined) return report;
  const { path, executable, baked } = file;
  const expected = expectedOf(executable, place.profile);
  const differences = compareBaked(expected, baked);
  const same = differences.length === 0;
  return {
    ...report,
    file: { path, executable, form: baked.form, same, differences },
  };
}

function describeDifference({ change, flag }: Difference): string {
  return change === "missing"
    ? `missing, but in the table: ${flag}`
    : `baked in, but not in the table: ${flag}`;
}

function describeFile(
  report: GrantsReport,
  file: ComparedFile,
): string {
  const { path, executable, form, same, differences } = file;
  const count = report.executables[0]?.grants.length ?? 0;
  const what = `${path} (${executable}, ${form})`;
  if (same) {
    return `${what} has the ${count} grants of ${report.profile} and no others\n`;
  }
  const lines = differences.map((difference) =>
    `  ${describeDifference(difference)}\n`
  );
  return `${what} differs from ${report.profile}:\n${lines.join("")}`;
}

function tableOf(
  executable: ExecutableGrants,
): { headings: string[]; rows: string[][] } {
  return {
    headings: ["Kind", "Value", "Why"],
    rows: executable.grants.map(({ kind, value, why }) => [kind, value, why]),
  };
}

function renderText(report: GrantsReport): string {
  if (report.file !== undefined) return describeFile(report, report.file);
  const parts = report.executables.map((executable) =>
    `${executable.name}\n${renderTable(tableOf(executable))}`
  );
  return parts.join("\n");
}

function renderMarkdown(report: GrantsReport): string {
  const parts = report.executables.map((executable) =>
    `## ${executable.name}\n\n${renderMarkdownTable(tableOf(executable))}`
  );
  if (report.file !== undefined) {
    const { same, differences } = report.file;
    const list = differences.map((difference) =>
      `- ${describeDifference(difference)}\n`
    );
    const verdict = same
      ? describeFile(report, report.file)
      : `${report.file.path} differs from ${report.profile}:\n\n${
        list.join("")
      }`;
    parts.push(`## Compared\n\n${verdict}`);
  }
  return parts.join("\n");
}

/** The forms in which a report can be printed. */
export const REPORT_FORMATS = ["table", "json", "markdown"] as const;

/** The report as text. */
export function renderGrantsReport(
  report: GrantsReport,
  format: typeof REPORT_FORMATS[number],
): string {
  if (format === "json") return `${JSON.stringify(report, null, 2)}\n`;
  return format === "markdown" ? renderMarkdown(report) : renderText(report);
}
