/**
 * The strings and lists of strings of a TOML file, by the path of their keys:
 * as much of TOML as the configurations of containerd and CRI-O use, to find
 * a handful of directories in them. What is of another type (numbers, dates,
 * inline tables) is passed over, and a file with mistakes gives what could be
 * read of it: the runtime that owns the file is the one to complain.
 *
 * Pure; reading files is left to `distributions.ts`.
 *
 * @module
 */

/** A value that was read: a string, or a list of strings. */
export type TomlValue = string | readonly string[];

/** Values by path. A path's parts are joined with a character that stands in no key. */
export type TomlValues = ReadonlyMap<string, TomlValue>;

/** Between the parts of a path: keys hold dots (`io.containerd.grpc.v1.cri`), but no control characters. */
const SEPARATOR = "\u0000";

/** The path of `keys`, as the map has it. */
export function tomlPath(...keys: readonly string[]): string {
  return keys.join(SEPARATOR);
}

const BARE_OR_QUOTED = /"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+/g;
const ASSIGNMENT =
  /^((?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=\s*(.*)$/s;
const STRING = /"(?:[^"\\]|\\.)*"|'[^']*'/g;

/** Reads what it can of a TOML text; throws nothing. Of a value given twice the last one counts. */
export function readTomlValues(text: string): TomlValues {
  const values = new Map<string, TomlValue>();
  let table: readonly string[] = [];
  for (const statement of statementsOf(text)) {
    if (statement.startsWith("[")) {
      table = keysOf(statement.replace(/^\[+|\]+$/g, ""));
      continue;
    }
    const [, keys = "", written = ""] = ASSIGNMENT.exec(statement) ?? [];
    const value = readValue(written);
    if (value === undefined) continue;
    values.set(tomlPath(...table, ...keysOf(keys)), value);
  }
  return values;
}

/** The statements of a text: its lines without comments, a list that goes over several lines as one. */
function statementsOf(text: string): string[] {
  const statements: string[] = [];
  let open = "";
  for (const line of text.split(/\r?\n/)) {
    const bare = withoutComment(line).trim();
    const statement = open === "" ? bare : `${open} ${bare}`;
    open = isOpenList(statement) ? statement : "";
    if (open === "" && statement !== "") statements.push(statement);
  }
  return statements;
}

function withoutComment(line: string): string {
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const character = line[at] ?? "";
    if (quote === '"' && character === "\\") at++;
    else if (quote !== "") quote = character === quote ? "" : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (character === "#") return line.slice(0, at);
  }
  return line;
}

/** Whether a list begins in this statement that has not ended yet. */
function isOpenList(statement: string): boolean {
  const [, , written = ""] = ASSIGNMENT.exec(statement) ?? [];
  if (!written.startsWith("[")) return false;
  return !written.replaceAll(STRING, "").endsWith("]");
}

function keysOf(path: string): string[] {
  return [...path.matchAll(BARE_OR_QUOTED)].map(([key]) => unquote(key));
}

function readValue(written: string): TomlValue | undefined {
  const strings = [...written.matchAll(STRING)].map(([text]) => unquote(text));
  if (written.startsWith("[")) return strings;
  return /^["']/.test(written) ? strings[0] : undefined;
}

function unquote(text: string): string {
  if (text.startsWith("'")) return text.slice(1, -1);
  if (!text.startsWith('"')) return text;
  return text.slice(1, -1).replaceAll(/\\(["\\])/g, "$1");
}
