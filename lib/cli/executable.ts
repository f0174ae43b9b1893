/**
 * The two forms in which a program of ours is shipped, and how to read back
 * what is baked into them: a launcher (one file, a start line for `sh` above
 * the bundled JavaScript) and what `deno compile` writes (its metadata stands
 * as JSON in an ELF note). Reading back is for `multusctl grants`.
 *
 * It makes and reads bytes; building and installing are elsewhere.
 */
import { type Grant, type GrantKind, permissionFlags } from "../grants.ts";

/**
 * What every launcher passes besides permissions: no configuration, lock
 * file, package or cache of the machine it runs on has a say, and nothing is
 * written under a home directory.
 */
export const RUN_FLAGS = [
  "--quiet",
  "--no-config",
  "--no-lock",
  "--no-remote",
  "--no-npm",
  "--no-code-cache",
  "--cached-only",
] as const;

/** What is baked into an executable. */
export interface Baked {
  readonly form: "launcher" | "compiled";
  /** The values granted for each kind; `undefined` means granted without limit. */
  readonly allowed: ReadonlyMap<string, readonly string[] | undefined>;
  /** Flags and settings that are neither grants nor ours; each is a finding. */
  readonly unexpected: readonly string[];
  /** Settings of ours that are missing; each is a finding. */
  readonly missing: readonly string[];
  /** The flags for V8. */
  readonly v8Flags: readonly string[];
}

/** What goes into a launcher. */
export interface LauncherParts {
  /** Absolute path of the deno program. */
  readonly deno: string;
  readonly grants: readonly Grant[];
  readonly v8Flags: readonly string[];
  /** Bundled JavaScript. */
  readonly source: string;
}

const SHEBANG = "#!/bin/sh";
/** For sh a command that does nothing and then the start of deno; for JavaScript a string and a comment. */
const START = "':' //; exec ";
const END = ' "$0" "$@"';

/** One word of a shell command, quoted where it has to be. */
function quoteWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word)
    ? word
    : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The words of a shell command made by {@link quoteWord}. */
function splitWords(line: string): string[] {
  const words: string[] = [];
  for (const match of line.matchAll(/(?:'[^']*'|\\'|[^\s'\\])+/g)) {
    words.push(
      match[0].replaceAll(
        /'([^']*)'|\\(')/g,
        (_, quoted, escaped) => quoted ?? escaped,
      ),
    );
  }
  return words;
}

function v8Flag(flags: readonly string[]): string[] {
  return flags.length === 0 ? [] : [`--v8-flags=${flags.join(",")}`];
}

/** The text of a launcher. */
export function renderLauncher(parts: LauncherParts): string {
  const words = [
    parts.deno,
    "run",
    ...RUN_FLAGS,
    ...v8Flag(parts.v8Flags),
    ...permissionFlags(parts.grants),
  ];
  return `${SHEBANG}\n${START}${
    words.map(quoteWord).join(" ")
  }${END}\n${parts.source}`;
}

/** The arguments of `deno compile` that bake in the same. */
export function compileFlags(
  grants: readonly Grant[],
  v8Flags: readonly string[],
): string[] {
  return [
    "--no-config",
    "--no-lock",
    ...v8Flag(v8Flags),
    ...permissionFlags(grants),
  ];
}

const REQUIRED_FLAGS: readonly string[] = [
  ...RUN_FLAGS,
  "--ignore-env",
  "--deny-import",
  "--no-prompt",
];

function readLauncher(line: string): Baked {
  const [, command, ...flags] = splitWords(
    line.slice(START.length, -END.length),
  );
  const allowed = new Map<string, readonly string[] | undefined>();
  const unexpected: string[] = command === "run"
    ? []
    : [`starts deno with ${command}`];
  const found = new Set<string>();
  let v8Flags: string[] = [];
  for (const flag of flags) {
    const grant = /^--allow-([a-z]+)(?:=(.*))?$/s.exec(flag);
    if (grant !== null) allowed.set(grant[1] ?? "", grant[2]?.split(","));
    else if (REQUIRED_FLAGS.includes(flag)) found.add(flag);
    else if (flag.startsWith("--v8-flags=")) {
      v8Flags = flag.slice("--v8-flags=".length).split(",");
    } else unexpected.push(flag);
  }
  const missing = REQUIRED_FLAGS.filter((flag) => !found.has(flag));
  return { form: "launcher", allowed, unexpected, missing, v8Flags };
}

/** What deno itself adds to the flags of V8 in a compiled file. */
const V8_OF_DENO =
  /^(?:UNUSED_BUT_NECESSARY_ARG0|--stack-size=|--inspector-live-edit|--external-memory-)/;

interface CompiledMetadata {
  readonly argv: readonly string[];
  readonly permissions: Readonly<Record<string, unknown>>;
  readonly "v8_flags": readonly string[];
  readonly "unsafely_ignore_certificate_errors": unknown;
}

function readCompiled(metadata: CompiledMetadata): Baked {
  const allowed = new Map<string, readonly string[] | undefined>();
  const unexpected: string[] = metadata.argv.map((argument) =>
    `baked argument ${argument}`
  );
  const missing: string[] = [];
  const importsDenied = Array.isArray(metadata.permissions["deny_import"]) &&
    metadata.permissions["deny_import"].length === 0;
  if (!importsDenied) missing.push("--deny-import");
  if (metadata.permissions["prompt"] !== false) missing.push("--no-prompt");
  if (metadata.permissions["allow_all"] === true) {
    unexpected.push("all permissions");
  }
  if (metadata.unsafely_ignore_certificate_errors !== null) {
    unexpected.push("certificate errors ignored");
  }
  if (!Array.isArray(metadata.permissions["ignore_env"])) {
    missing.push("--ignore-env");
  }
  for (const [key, value] of Object.entries(metadata.permissions)) {
    const kind = /^allow_([a-z]+)$/.exec(key)?.[1];
    if (
      kind === undefined || kind === "all" || kind === "import" ||
      value === null
    ) continue;
    // An empty list is how deno writes "everything of this kind".
    allowed.set(
      kind,
      Array.isArray(value) && value.length > 0 ? value : undefined,
    );
  }
  const v8Flags = metadata.v8_flags.filter((flag) => !V8_OF_DENO.test(flag));
  return { form: "compiled", allowed, unexpected, missing, v8Flags };
}

/** Where the JSON that starts at `start` ends: at the brace that closes it. */
function endOfObject(bytes: Uint8Array, start: number): number {
  let depth = 0;
  let inString = false;
  for (let at = start; at < bytes.length; at++) {
    const byte = bytes[at];
    if (inString) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x7b) depth++;
    else if (byte === 0x7d && --depth === 0) return at + 1;
  }
  return -1;
}

/** The marker that deno puts before the metadata, and the length behind it. */
const MARKER = new TextEncoder().encode("d3n0l4nd");
const METADATA_START = new TextEncoder().encode('{"argv":');

function lastIndexOf(bytes: Uint8Array, needle: Uint8Array): number {
  for (
    let at = bytes.lastIndexOf(needle[0] ?? 0);
    at >= 0;
    at = bytes.lastIndexOf(needle[0] ?? 0, at - 1)
  ) {
    if (needle.every((byte, offset) => bytes[at + offset] === byte)) return at;
    if (at === 0) break;
  }
  return -1;
}

function readMetadata(bytes: Uint8Array): CompiledMetadata | undefined {
  const start = lastIndexOf(bytes, METADATA_START);
  const end = start < MARKER.length ? -1 : endOfObject(bytes, start);
  if (end < 0) return undefined;
  return JSON.parse(new TextDecoder().decode(bytes.subarray(start, end)));
}

/**
 * What is baked into the executable that `bytes` are.
 *
 * @throws {SyntaxError} when they are neither a launcher nor a compiled program.
 */
export function readBaked(bytes: Uint8Array): Baked {
  // The start line ends within the first pages: the longest grants are some kB.
  const head = new TextDecoder().decode(bytes.subarray(0, 65_536)).split(
    "\n",
    3,
  );
  const line = head[1] ?? "";
  if (head[0] === SHEBANG && line.startsWith(START) && line.endsWith(END)) {
    return readLauncher(line);
  }
  const metadata = bytes[0] === 0x7f ? readMetadata(bytes) : undefined;
  if (metadata !== undefined) return readCompiled(metadata);
  throw new SyntaxError(
    "Not an executable of this project: neither a launcher nor a compiled program",
  );
}

function differencesOfKind(
  kind: GrantKind,
  wanted: readonly string[],
  baked: Baked,
): string[] {
  if (!baked.allowed.has(kind)) {
    return wanted.map((value) => `missing: ${kind} ${value}`);
  }
  const found = baked.allowed.get(kind);
  if (found === undefined) {
    return [`not in the table: ${kind} without any limit`];
  }
  return [
    ...wanted.filter((value) => !found.includes(value)).map((value) =>
      `missing: ${kind} ${value}`
    ),
    ...found.filter((value) => !wanted.includes(value)).map((value) =>
      `not in the table: ${kind} ${value}`
    ),
  ];
}

/** What differs between the table and what is baked in, a line each; empty when they are the same. */
export function compareGrants(
  grants: readonly Grant[],
  baked: Baked,
): string[] {
  const kinds = new Set<string>([
    ...grants.map((grant) => grant.kind),
    ...baked.allowed.keys(),
  ]);
  const differences = [...kinds].flatMap((kind) => {
    const wanted = grants.filter((grant) => grant.kind === kind).map((grant) =>
      grant.value
    );
    return differencesOfKind(kind as GrantKind, wanted, baked);
  });
  return [
    ...differences,
    ...baked.unexpected.map((flag) => `not in the table: ${flag}`),
    ...baked.missing.map((flag) => `missing: ${flag}`),
  ];
}
