/**
 * YAML and JSON documents that know where each of their values stands, and
 * where each character of a text within them stands: a configuration in a
 * NetworkAttachmentDefinition is JSON in a string in YAML, and who looks for a
 * missing comma wants line and column of the file. It judges nothing.
 */
import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  parseAllDocuments,
  type Scalar,
} from "yaml";
import { findJsonError, placeAt } from "../daemon/json_place.ts";

/** The way to a value: keys of objects, indexes of lists. */
export type ValuePath = readonly (string | number)[];

/** What is wrong with a text as such. */
export interface TextProblem {
  /** Where, in characters from the beginning. */
  readonly offset: number;
  /** What, for a person. */
  readonly message: string;
}

/** A string within a document. */
export interface EmbeddedText {
  /** The string. */
  readonly text: string;
  /** Where a character of the string stands in the whole text. */
  offsetOf(offset: number): number;
}

/** One document of a text. */
export interface LocatedDocument {
  /** What it says. */
  readonly value: unknown;
  /** Where the value at the path begins, or the nearest thing around it that is there. */
  offsetOf(path: ValuePath): number;
  /** The string at the path; undefined when there is none. */
  embedded(path: ValuePath): EmbeddedText | undefined;
}

/** A text, read. */
export interface LocatedText {
  /** Whether the whole is JSON. */
  readonly isJson: boolean;
  /** Its documents; of a text with problems those that could be read. */
  readonly documents: readonly LocatedDocument[];
  /** What is wrong with it. */
  readonly problems: readonly TextProblem[];
}

/** Reads a text: JSON when it looks like it, else YAML with any number of documents. */
export function readLocatedText(text: string): LocatedText {
  const isJson = /^\s*[{[]/.test(text);
  const problem = isJson ? findJsonProblem(text) : undefined;
  if (problem !== undefined) {
    return { isJson, documents: [], problems: [problem] };
  }
  const parsed = parseAllDocuments(text, {
    prettyErrors: false,
    // Of JSON every engine takes the last of two equal keys; in YAML two are a mistake.
    uniqueKeys: !isJson,
  });
  const documents = [...parsed] as Document.Parsed[];
  const problems = isJson ? [] : documents.flatMap(problemsOf);
  return {
    isJson,
    problems,
    documents: documents.filter((document) =>
      isJson || problemsOf(document).length === 0
    ).map((document) => locate(document, text, isJson)),
  };
}

function problemsOf(document: Document.Parsed): TextProblem[] {
  const errors = document.errors.map(({ pos: [offset], message }) => ({
    offset,
    message: `Not YAML: ${message}`,
  }));
  if (errors.length > 0) return errors;
  try {
    document.toJS();
    return [];
  } catch (error) {
    // Aliases without an anchor, or so many that they would fill the memory.
    if (!(error instanceof ReferenceError)) throw error;
    const [offset = 0] = document.range ?? [];
    return [{ offset, message: `Not YAML: ${error.message}` }];
  }
}

function findJsonProblem(text: string): TextProblem | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch {
    return { offset: jsonErrorOffset(text), message: "Not JSON" };
  }
}

/** Where a text that is not JSON stops to be JSON. */
export function jsonErrorOffset(text: string): number {
  const { line, column } = findJsonError(text);
  const before = text.split("\n").slice(0, line - 1);
  return before.reduce((sum, one) => sum + one.length + 1, 0) + column - 1;
}

/** `12:5`, as compilers write it. */
export function formatPlace(text: string, offset: number): string {
  const { line, column } = placeAt(text, offset);
  return `${line}:${column}`;
}

/** The way that is written as `plugins[0].ipam.type`. */
export function parseValuePath(text: string): ValuePath {
  return [...text.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, key]) =>
    index === undefined ? key ?? "" : Number(index)
  );
}

function locate(
  document: Document.Parsed,
  text: string,
  isJson: boolean,
): LocatedDocument {
  return {
    value: isJson ? JSON.parse(text) : document.toJS(),
    offsetOf: (path) => find(document.contents, path).offset,
    embedded: (path) => {
      const { node } = find(document.contents, path);
      return isScalar(node) && typeof node.value === "string"
        ? embed(node as Scalar<string>, text)
        : undefined;
    },
  };
}

interface Found {
  /** The value; undefined when it is not there. */
  readonly node: Node | undefined;
  readonly offset: number;
}

function find(root: Node | null, path: ValuePath): Found {
  let node: Node | undefined = root ?? undefined;
  let offset = node?.range?.[0] ?? 0;
  for (const step of path) {
    const next = child(node, step);
    offset = next.offset ?? offset;
    node = next.node;
    if (node === undefined) break;
  }
  return { node, offset };
}

function child(
  node: Node | undefined,
  step: string | number,
): { node: Node | undefined; offset: number | undefined } {
  if (isSeq(node)) return asFound(node.items[Number(step)]);
  if (!isMap(node)) return { node: undefined, offset: undefined };
  // The last of equal keys counts, as it does for JSON.
  const pair = node.items.findLast(({ key }) =>
    isScalar(key) && key.value === step
  );
  if (pair === undefined) return { node: undefined, offset: undefined };
  const value = asFound(pair.value);
  return value.node === undefined
    ? { ...asFound(pair.key), ...{ node: undefined } }
    : value;
}

function asFound(
  value: unknown,
): { node: Node | undefined; offset: number | undefined } {
  return isNode(value)
    ? { node: value, offset: value.range?.[0] }
    : { node: undefined, offset: undefined };
}

function embed(node: Scalar<string>, source: string): EmbeddedText {
  const [start, end] = node.range ?? [0, 0];
  const raw = source.slice(start, end);
  return { text: node.value, offsetOf: mapperOf(node, { source, start, raw }) };
}

function mapperOf(
  { type, value }: Scalar<string>,
  { source, start, raw }: { source: string; start: number; raw: string },
): (offset: number) => number {
  const isOneLine = !raw.includes("\n");
  if (type === "BLOCK_LITERAL") return blockMapper(value, source, start);
  if (type === "PLAIN" && isOneLine) return (offset) => start + offset;
  if (type === "QUOTE_SINGLE") {
    return quotedMapper(new RegExp(`''|${FOLD}|[^]`, "y"), raw, start);
  }
  if (type === "QUOTE_DOUBLE") {
    const escape = String.raw`\\(?:x..|u.{4}|U.{8}|\n[ \t]*|[^])`;
    return quotedMapper(new RegExp(`${escape}|${FOLD}|[^]`, "y"), raw, start);
  }
  // Lines were folded: where a character came from is not known.
  return () => start;
}

/** A line end within quotes, with the white space around it, and empty lines that follow. */
const FOLD = String.raw`[ \t]*\n[ \t]*(?:\n[ \t]*)*`;

/** How many characters of the value a piece between the quotes stands for. */
function valueLength(piece: string): number {
  if (/^\\\n/.test(piece)) return 0;
  // One line end is a space; of more, each but the first is a line end.
  const lines = piece.split("\n").length - 1;
  return Math.max(1, lines - 1);
}

/** Each line of the value is the end of a line of the source. */
function blockMapper(
  value: string,
  source: string,
  start: number,
): (offset: number) => number {
  const firstLine = source.indexOf("\n", start) + 1;
  return (offset) => {
    const before = value.slice(0, offset).split("\n");
    let lineStart = firstLine;
    for (let skipped = 1; skipped < before.length; skipped++) {
      const next = source.indexOf("\n", lineStart);
      if (next < 0) break;
      lineStart = next + 1;
    }
    const lineEnd = source.indexOf("\n", lineStart);
    const line = source.slice(lineStart, lineEnd < 0 ? undefined : lineEnd);
    const own = value.split("\n")[before.length - 1] ?? "";
    const indent = Math.max(0, line.trimEnd().length - own.trimEnd().length);
    return lineStart + indent + (before.at(-1) ?? "").length;
  };
}

/** Walks over what stands between the quotes, piece by piece. */
function quotedMapper(
  unit: RegExp,
  raw: string,
  start: number,
): (offset: number) => number {
  return (offset) => {
    let at = 1;
    for (let seen = 0; seen < offset && at < raw.length - 1;) {
      unit.lastIndex = at;
      const piece = unit.exec(raw)?.[0] ?? " ";
      seen += valueLength(piece);
      at += piece.length;
    }
    return start + at;
  };
}
