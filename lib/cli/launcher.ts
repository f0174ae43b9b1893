/**
 * Launchers: one of the two forms in which a program of ours is shipped. A
 * launcher is one file: two lines for `sh`, which start a deno at a fixed path
 * with the grants of the table, and below them the bundled JavaScript, to
 * which those two lines are a hashbang and a comment.
 *
 * It makes and reads text; building and installing are elsewhere.
 */
import { type Grant, permissionFlags } from "../grants.ts";
import type { Baked } from "./baked.ts";

/**
 * What every launcher passes besides permissions: no configuration, lock
 * file, package or cache of the machine it runs on has a say. Without the
 * last, a file without ending is taken for TypeScript, and transpiling takes
 * longer than all the rest of the shim's work.
 */
export const RUN_FLAGS = [
  "--quiet",
  "--no-config",
  "--no-lock",
  "--no-remote",
  "--no-npm",
  "--no-code-cache",
  "--cached-only",
  "--ext=js",
] as const;

/**
 * Variables that are taken away before deno starts, because they would undo
 * what the start line says: a permission broker answers in the place of the
 * flags, `NODE_OPTIONS` loads code, the others change the engine or let it be
 * driven from outside.
 */
export const UNSET_NAMES = [
  "DENO_PERMISSION_BROKER_PATH",
  "DENO_UNSTABLE_CONTROL_SOCK",
  "DENO_V8_FLAGS",
  "NODE_OPTIONS",
] as const;

/**
 * Variables that are set before deno starts. Whatever is asked of it, deno
 * keeps caches, below the home directory of the environment or of the user;
 * where no directory can be, it keeps them in memory (and would say so on a
 * terminal). Nor does it look for a newer deno. Of the allocator's arenas one
 * has to do: with one for each of deno's threads, freed memory comes back late
 * (measured: 5 MB of a daemon's 86 after load, and 5 % of a shim's time).
 */
const SET_VARIABLES = [
  "DENO_DIR=/dev/null/deno",
  "DENO_LOG=error,deno::cache=off",
  "DENO_NO_UPDATE_CHECK=1",
  "MALLOC_ARENA_MAX=1",
] as const;

/** What goes into a launcher. */
export interface LauncherParts {
  /** Absolute path of the deno program. */
  readonly deno: string;
  /** The permissions. */
  readonly grants: readonly Grant[];
  /** The flags for V8. */
  readonly v8Flags: readonly string[];
  /** What the C library's allocator is told, as `MALLOC_…=NUMBER`; nothing, if left out. */
  readonly allocator?: readonly string[];
  /** Bundled JavaScript. */
  readonly source: string;
}

const SHEBANG = "#!/bin/sh";
/** For sh a command that does nothing and then the start of deno; for JavaScript a string and a comment. */
const START = `':' //; unset ${UNSET_NAMES.join(" ")}; export ${
  SET_VARIABLES.join(" ")
}`;
const EXEC = "; exec ";
/** What may stand between the two, and what is read of it. */
const ALLOCATOR_PART = /^((?: MALLOC_[A-Z_]+=[0-9]+)*); exec /;
const END = ' "$0" "$@"';
/** The start line of the longest grants has some kB; what has no second line end within this is no launcher. */
const HEAD_BYTES_MAX = 65_536;

/** What ends the line for sh, ends the comment for JavaScript, or cannot be written as UTF-8. */
// deno-lint-ignore no-control-regex -- control characters are what is looked for
const NOT_IN_A_LINE = /[\u0000-\u001f\u007f\u0085\u2028\u2029]/;

/** One word of a shell command, quoted where it has to be. */
function quoteWord(word: string): string {
  if (NOT_IN_A_LINE.test(word) || !word.isWellFormed()) {
    throw new RangeError(
      `Cannot stand in a launcher's start line: ${JSON.stringify(word)}`,
    );
  }
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word)
    ? word
    : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The words of a shell command made by {@link quoteWord}. */
function splitWords(line: string): string[] {
  const words: string[] = [];
  for (const match of line.matchAll(/(?:'[^']*'|\\'|[^\s'\\])+/g)) {
    const word = match[0].replaceAll(
      /'([^']*)'|\\(')/g,
      (_, quoted, escaped) => quoted ?? escaped,
    );
    words.push(word);
  }
  return words;
}

function renderStart(
  words: readonly string[],
  allocator: readonly string[],
): string {
  const variables = allocator.map((variable) => ` ${variable}`).join("");
  if (!ALLOCATOR_PART.test(`${variables}${EXEC}`)) {
    throw new RangeError(`Not for the allocator: ${allocator.join(" ")}`);
  }
  return `${START}${variables}${EXEC}${words.map(quoteWord).join(" ")}${END}`;
}

/**
 * The text of a launcher.
 *
 * @throws {RangeError} when a path contains a comma or what ends a line, or a variable is not the allocator's.
 */
export function renderLauncher(parts: LauncherParts): string {
  const { deno, grants, v8Flags, allocator = [], source } = parts;
  const ofV8 = v8Flags.length === 0 ? [] : [`--v8-flags=${v8Flags.join(",")}`];
  const words = [deno, "run", ...RUN_FLAGS, ...ofV8];
  const flags = permissionFlags(grants);
  const start = renderStart([...words, ...flags], allocator);
  // The semicolon ends the string of the start line, whatever the source begins with.
  return `${SHEBANG}\n${start}\n;${source}`;
}

/** The second line, where the first is that of a launcher; `undefined` elsewhere. */
function findStartLine(bytes: Uint8Array): string | undefined {
  const shebang = new TextEncoder().encode(`${SHEBANG}\n`);
  if (!shebang.every((byte, at) => bytes[at] === byte)) return undefined;
  const end = bytes.subarray(0, HEAD_BYTES_MAX).indexOf(0x0a, shebang.length);
  if (end < 0) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(bytes.subarray(shebang.length, end));
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

const REQUIRED_FLAGS: readonly string[] = [
  ...RUN_FLAGS,
  "--ignore-env",
  "--deny-import",
  "--no-prompt",
];

/** Whether the words, written again, give the line, however many spaces are between: nothing means more to sh than we read. */
function isPlain(
  words: readonly string[],
  allocator: readonly string[],
  line: string,
): boolean {
  const squeeze = (text: string): string => text.replace(/ +/g, " ");
  try {
    return squeeze(renderStart(words, allocator)) === squeeze(line);
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

interface ReadFlags {
  readonly allowed: Map<string, readonly string[] | undefined>;
  readonly found: Set<string>;
  readonly unexpected: string[];
  readonly v8Flags: string[];
}

function readFlag(read: ReadFlags, flag: string): void {
  const [, kind, values] = /^--allow-([a-z]+)(?:=(.*))?$/s.exec(flag) ?? [];
  // A kind that stands twice is one more flag: deno would add the two up.
  if (kind !== undefined && kind !== "all" && !read.allowed.has(kind)) {
    read.allowed.set(kind, values?.split(","));
  } else if (REQUIRED_FLAGS.includes(flag)) {
    read.found.add(flag);
  } else if (flag.startsWith("--v8-flags=")) {
    read.v8Flags.push(...flag.slice("--v8-flags=".length).split(","));
  } else {
    read.unexpected.push(flag);
  }
}

/**
 * What is baked into the launcher that `bytes` are; `undefined` when they are
 * no launcher, or one whose two lines are of another shape than ours.
 */
export function readLauncher(bytes: Uint8Array): Baked | undefined {
  const line = findStartLine(bytes);
  if (line === undefined || !line.startsWith(START) || !line.endsWith(END)) {
    return undefined;
  }
  const rest = line.slice(START.length, -END.length);
  const [part, variables = ""] = ALLOCATOR_PART.exec(rest) ?? [];
  if (part === undefined) return undefined;
  const allocator = variables.split(" ").slice(1);
  const words = splitWords(rest.slice(part.length));
  const [deno = "", command = "", ...flags] = words;
  const read: ReadFlags = {
    allowed: new Map(),
    found: new Set(),
    unexpected: [],
    v8Flags: [],
  };
  if (command !== "run") read.unexpected.push(command);
  for (const flag of flags) readFlag(read, flag);
  if (!isPlain(words, allocator, line)) {
    read.unexpected.push("characters in the start line that mean more to sh");
  }
  const missing = REQUIRED_FLAGS.filter((flag) => !read.found.has(flag));
  const { allowed, unexpected, v8Flags } = read;
  return {
    form: "launcher",
    deno,
    allowed,
    unexpected,
    missing,
    v8Flags,
    allocator,
  };
}
