/**
 * Compiled programs: the other form in which a program of ours is shipped,
 * made by `deno compile`. What was baked in stands as JSON in a note of the
 * ELF file, before the embedded sources; it is read from there and nowhere
 * else, because sources may contain the same words.
 *
 * It makes flags and reads bytes; building is elsewhere. The layout is that
 * of deno 2.9, which this project is pinned to.
 */
import * as z from "zod/mini";
import { type Grant, permissionFlags } from "../grants.ts";
import type { Baked } from "./baked.ts";

/** The arguments of `deno compile` that bake in what a launcher would pass. */
export function compileFlags(
  grants: readonly Grant[],
  v8Flags: readonly string[],
): string[] {
  return [
    "--no-config",
    "--no-lock",
    "--no-code-cache",
    ...v8Flags.length === 0 ? [] : [`--v8-flags=${v8Flags.join(",")}`],
    ...permissionFlags(grants),
  ];
}

const Metadata = z.looseObject({
  permissions: z.record(z.string(), z.unknown()),
  "v8_flags": z.array(z.string()),
});
type Metadata = z.infer<typeof Metadata>;

const PROGRAM_HEADER_NOTE = 4;
/** "SUI" and a one: the tool that puts data into executables for deno. */
const NOTE_TYPE = 0x53554901;
/** Both the name of the data and its first bytes. */
const MAGIC = "d3n0l4nd";

/** The number of `length` bytes, the lowest first; larger ones than a file can have are out of range in the end. */
function readNumber(bytes: Uint8Array, at: number, length: number): number {
  const digits = bytes.subarray(at, at + length);
  if (digits.length < length) {
    throw new RangeError(`File ends before the number at ${at}`);
  }
  return digits.reduceRight((number, digit) => number * 256 + digit, 0);
}

/** The notes of type {@link NOTE_TYPE} among those that begin at `start`. */
function* readNotes(
  bytes: Uint8Array,
  { start, size }: { start: number; size: number },
): Generator<Uint8Array> {
  const padded = (length: number): number => Math.ceil(length / 4) * 4;
  for (let at = start; at + 12 <= start + size;) {
    const nameSize = readNumber(bytes, at, 4);
    const dataSize = readNumber(bytes, at + 4, 4);
    const dataStart = at + 12 + padded(nameSize);
    if (readNumber(bytes, at + 8, 4) === NOTE_TYPE) {
      yield bytes.subarray(dataStart, dataStart + dataSize);
    }
    at = dataStart + padded(dataSize);
  }
}

/** All such notes of a little-endian ELF file of 64 bits. */
function* readAllNotes(bytes: Uint8Array): Generator<Uint8Array> {
  const headers = readNumber(bytes, 32, 8);
  const headerSize = readNumber(bytes, 54, 2);
  const count = readNumber(bytes, 56, 2);
  for (let index = 0; index < count; index++) {
    const at = headers + index * headerSize;
    if (readNumber(bytes, at, 4) !== PROGRAM_HEADER_NOTE) continue;
    const start = readNumber(bytes, at + 8, 8);
    yield* readNotes(bytes, {
      start,
      size: readNumber(bytes, at + 32, 8),
    });
  }
}

/** The JSON in a note: the name with its length, the magic, the length of the JSON, the JSON, the sources. */
function readMetadata(note: Uint8Array): Metadata | undefined {
  const nameEnd = 2 + readNumber(note, 0, 2);
  const start = nameEnd + MAGIC.length + 8;
  const head = new TextDecoder().decode(note.subarray(2, start - 8));
  if (head !== `${MAGIC}${MAGIC}`) return undefined;
  const size = readNumber(note, start - 8, 8);
  const text = new TextDecoder().decode(note.subarray(start, start + size));
  return Metadata.parse(JSON.parse(text));
}

/** Names that say nothing about what the program may do. */
const NO_SETTINGS = [
  "permissions",
  "v8_flags",
  "log_level",
  "entrypoint_key",
  "vfs_case_sensitivity",
  "app_name",
];

/** What stands where nothing was set, besides null and false; an empty list elsewhere may well mean everything. */
const UNSET_SETTINGS: Readonly<Record<string, unknown>> = {
  "argv": [],
  "preload_modules": [],
  "require_modules": [],
  "unstable_config.features": [],
  "otel_config.propagators": [],
  "workspace_resolver.jsr_pkgs": [],
  "workspace_resolver.pkg_json_resolution": "Enabled",
  "otel_config.console": "Ignore",
};

function isUnset(name: string, value: unknown): boolean {
  if (value === null || value === false) return true;
  const unset = UNSET_SETTINGS[name];
  return unset !== undefined && JSON.stringify(value) === JSON.stringify(unset);
}

/** Every setting that is not as it is when nothing is said about it: code loaded first, arguments, environment, CAs. */
function listSettings(value: unknown, name = ""): string[] {
  if (NO_SETTINGS.includes(name) || isUnset(name, value)) return [];
  if (typeof value !== "object" || Array.isArray(value)) {
    return [`setting ${name}: ${JSON.stringify(value)}`];
  }
  return Object.entries(value ?? {}).flatMap(([key, member]) =>
    listSettings(member, name === "" ? key : `${name}.${key}`)
  );
}

/** A list without values is how deno writes "everything of this kind". */
function isEverything(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function readAllowed(
  permissions: Metadata["permissions"],
): Map<string, readonly string[] | undefined> {
  const allowed = new Map<string, readonly string[] | undefined>();
  for (const [key, value] of Object.entries(permissions)) {
    const kind = /^allow_([a-z]+)$/.exec(key)?.[1];
    // Without being told, deno allows imports from some hosts; that all are denied is looked at elsewhere.
    if (kind === undefined || kind === "import" || value === null) continue;
    const values = Array.isArray(value) ? value.map(String) : [String(value)];
    allowed.set(kind, isEverything(value) ? undefined : values);
  }
  return allowed;
}

/** What must stand in the permissions, each with the flag that puts it there. */
const REQUIRED: readonly (readonly [
  key: string,
  isThere: (value: unknown) => boolean,
  flag: string,
])[] = [
  ["ignore_env", isEverything, "--ignore-env"],
  ["deny_import", isEverything, "--deny-import"],
  ["prompt", (value) => value === false, "--no-prompt"],
];

/** What deno itself adds to the flags of V8 in a compiled file. */
const V8_OF_DENO =
  /^(?:UNUSED_BUT_NECESSARY_ARG0|--stack-size=\d+|--inspector-live-edit|--external-memory-max-reasonable-size=\d+)$/;

function describe(metadata: Metadata): Baked {
  const { permissions } = metadata;
  const known = REQUIRED.map(([key]) => key);
  const others = Object.entries(permissions).filter(([key, value]) =>
    !key.startsWith("allow_") && !known.includes(key) && value !== null
  );
  return {
    form: "compiled",
    allowed: readAllowed(permissions),
    unexpected: [
      ...others.map(([key]) => `--${key.replaceAll("_", "-")}`),
      ...listSettings(metadata),
    ],
    missing: REQUIRED.filter(([key, isThere]) => !isThere(permissions[key]))
      .map(([, , flag]) => flag),
    v8Flags: metadata.v8_flags.filter((flag) => !V8_OF_DENO.test(flag)),
    allocator: [],
  };
}

function isElf64(bytes: Uint8Array): boolean {
  return [0x7f, 0x45, 0x4c, 0x46, 2, 1].every((byte, at) => bytes[at] === byte);
}

/**
 * What is baked into the compiled program that `bytes` are; `undefined` when
 * they are no ELF file, or one without deno's note.
 *
 * @throws {SyntaxError} when the file is cut short, the note is of an unknown shape, or there are two.
 */
export function readCompiled(bytes: Uint8Array): Baked | undefined {
  if (!isElf64(bytes)) return undefined;
  try {
    const found = [...readAllNotes(bytes)].map(readMetadata)
      .filter((metadata) => metadata !== undefined);
    const [metadata] = found;
    if (metadata === undefined) return undefined;
    if (found.length === 1) return describe(metadata);
  } catch (error) {
    const isOfBytes = error instanceof RangeError ||
      error instanceof SyntaxError || error instanceof z.core.$ZodError;
    if (!isOfBytes) throw error;
    const message = "Compiled program is damaged, or made by another deno";
    throw new SyntaxError(message, { cause: error });
  }
  throw new SyntaxError("Compiled program has the note of deno twice");
}
