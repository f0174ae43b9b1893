/**
 * What an ADD came to, kept for the DEL and CHECK that follow: files in libcni's own format
 * (`cniCacheV1`), so that a node can change between this and a program built on libcni with pods
 * running. It leaves alone what must never be lost: that stands in the daemon's records, synced to
 * disk. Here a file is replaced as a whole, but not synced; what a power cut damages is read as
 * damaged, and a DEL goes on without it.
 *
 * Single files are read and written without a turn of Deno's thread pool (0.1 ms for each step, and an
 * ADD has many): what is read and written lies in the kernel's memory.
 *
 * @module
 */

import {
  assertContainerId,
  assertInterfaceName,
  assertNetworkName,
  type CniArgs,
} from "./args.ts";
import { CniError, ErrorCode, quote } from "./error.ts";
import { type JsonText, readMembers } from "./json_text.ts";

/** What one attachment is called. */
export interface AttachmentKey {
  /** The name of the list. */
  readonly networkName: string;
  /** CNI_CONTAINERID. */
  readonly containerId: string;
  /** CNI_IFNAME. */
  readonly ifname: string;
}

/** One attachment as it was added. */
export interface CachedAttachment extends AttachmentKey {
  /** CNI_NETNS; empty when there was none. */
  readonly netns: string;
  /** CNI_ARGS. */
  readonly cniArgs: CniArgs;
  /** Values as JSON text. */
  readonly capabilityArgs: Readonly<Record<string, JsonText>>;
  /** The configuration as it was given; empty in files of old libcni versions. */
  readonly config: string;
  /** The result, in the version of the configuration or saying its own. */
  readonly result?: JsonText;
}

/** A file in the cache that nobody can make sense of. */
export interface UnreadableAttachment {
  /** The file. */
  readonly path: string;
  /** What is wrong with it. */
  readonly reason: string;
}

/** What the cache holds. */
export interface CachedAttachments {
  /** Those that can be read. */
  readonly attachments: readonly CachedAttachment[];
  /** Those that cannot. */
  readonly unreadable: readonly UnreadableAttachment[];
}

/** Which attachments are wanted. */
export interface CacheFilter {
  /** Those of this network only. */
  readonly networkName?: string;
  /** Those of this container only. */
  readonly containerId?: string;
}

/** The cache of one state directory. */
export interface ResultCache {
  /**
   * Undefined when there is none.
   *
   * @throws {CniError} 6 when there is one that cannot be read
   */
  read(key: AttachmentKey): Promise<CachedAttachment | undefined>;
  /**
   * Puts one in the place of what was there.
   *
   * @throws {CniError} 5 when it cannot be written; 4, 7 for a name that cannot be one
   */
  write(attachment: CachedAttachment): Promise<void>;
  /**
   * It is no error when there is none.
   *
   * @throws {CniError} 5 when it cannot be removed
   */
  remove(key: AttachmentKey): Promise<void>;
  /**
   * Whether it may hold something of a container, without a look at the disk: by what was there when this was first
   * asked, and what was written here since. An ADD of a container that nobody knows goes by it.
   */
  mayHold(containerId: string): boolean;
  /** Whether there is a file of this one, readable or not; by the same knowledge. */
  has(key: AttachmentKey): boolean;
  /** Removes what a crash left half-written; for the start of the one process that writes here. */
  tidy(): Promise<void>;
  /** All of them, or those of one network or container. */
  list(options?: CacheFilter): Promise<CachedAttachments>;
  /**
   * Removes whatever is left of a container, readable or not, when all of it is undone.
   *
   * @throws {CniError} 5 when it cannot be removed
   */
  clear(containerId: string): Promise<void>;
}

const KIND = "cniCacheV1";
/** Of every file system that containers are run from; a few have less, and say so themselves. */
const FILE_NAME_BYTES_MAX = 255;
/** The prefix that `writeFileAtomic` gives to unfinished files; written out because this room imports nothing of `lib/host`. */
const TEMPORARY_PREFIX = ".tmp-";

/**
 * Keeps attachments in `<cacheDir>/results`, made when first needed (0700, files 0600).
 *
 * Needs `--allow-read` and `--allow-write` for `<cacheDir>`.
 */
export function createResultCache(cacheDir: string): ResultCache {
  const dir = `${cacheDir}/results`;
  const pathOf = (key: AttachmentKey): string => `${dir}/${fileNameOf(key)}`;
  let known: Set<string> | undefined;
  const knownNames = (): Set<string> => known ??= new Set(namesIn(dir));
  return {
    read: (key) =>
      Promise.try(() => isWritable(key) ? read(pathOf(key), key) : undefined),
    write: (attachment) =>
      Promise.try(() => {
        write(pathOf(attachment), { dir, attachment });
        known?.add(fileNameOf(attachment));
      }),
    remove: (key) =>
      Promise.try(() => {
        if (!isWritable(key)) return;
        remove(pathOf(key));
        known?.delete(fileNameOf(key));
      }),
    mayHold: (containerId) =>
      knownNames().values().some((name) => name.includes(`-${containerId}-`)),
    has: (key) => isWritable(key) && knownNames().has(fileNameOf(key)),
    tidy: () => Promise.try(tidy, dir),
    list: (options) => Promise.try(list, dir, options ?? {}),
    async clear(containerId): Promise<void> {
      await clear(dir, containerId);
      known = undefined;
    },
  };
}

/**
 * Checks the three names that make up the name of an attachment's file: what cannot be kept must not be begun.
 *
 * @throws {CniError} 4, 7 for a name that cannot be one, or is too long in the company of the others
 */
export function assertKeepable(key: AttachmentKey): void {
  fileNameOf(key);
}

/** Whether a filter lets an attachment through. */
export function isWanted(
  attachment: AttachmentKey,
  { networkName, containerId }: CacheFilter,
): boolean {
  return attachment.networkName === (networkName ?? attachment.networkName) &&
    attachment.containerId === (containerId ?? attachment.containerId);
}

function read(
  path: string,
  key: AttachmentKey,
): CachedAttachment | undefined {
  const text = readText(path);
  if (text === undefined) return undefined;
  try {
    return readAttachment(text, key);
  } catch (cause) {
    throw new CniError(
      ErrorCode.decodingFailure,
      `Result cache is damaged (${reasonOf(cause)}): ${path}`,
      { cause },
    );
  }
}

function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (cause) {
    if (isNotThere(cause)) return undefined;
    throw new CniError(
      ErrorCode.ioFailure,
      `Result cache cannot be read (${reasonOf(cause)}): ${path}`,
      { cause },
    );
  }
}

function write(
  path: string,
  { dir, attachment }: { dir: string; attachment: CachedAttachment },
): void {
  const text = formatAttachment(attachment);
  try {
    replace(path, { dir, text });
  } catch (cause) {
    throw new CniError(
      ErrorCode.ioFailure,
      `Result cache cannot be written (${reasonOf(cause)}): ${path}`,
      { cause },
    );
  }
}

function replace(
  path: string,
  { dir, text }: { dir: string; text: string },
): void {
  const temporary = `${dir}/${TEMPORARY_PREFIX}${crypto.randomUUID()}`;
  try {
    writeTemporary(temporary, { dir, text });
    Deno.renameSync(temporary, path);
  } catch (error) {
    removeIfThere(temporary);
    throw error;
  }
}

function writeTemporary(
  path: string,
  { dir, text }: { dir: string; text: string },
): void {
  const options = { mode: 0o600, createNew: true };
  try {
    Deno.writeTextFileSync(path, text, options);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    Deno.mkdirSync(dir, { recursive: true, mode: 0o700 });
    Deno.writeTextFileSync(path, text, options);
  }
}

/** Of what is half-written: often it was never made, and at worst the next start removes it. */
function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // An error that led here is the one to tell.
  }
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (cause) {
    if (isNotThere(cause)) return;
    throw new CniError(
      ErrorCode.ioFailure,
      `Result cache cannot be removed (${reasonOf(cause)}): ${path}`,
      { cause },
    );
  }
}

function list(dir: string, filter: CacheFilter): CachedAttachments {
  const { networkName, containerId } = filter;
  const attachments: CachedAttachment[] = [];
  const unreadable: UnreadableAttachment[] = [];
  for (const name of namesIn(dir)) {
    // A name may be part of another, so this only spares reading.
    const isOther =
      !name.startsWith(networkName === undefined ? "" : `${networkName}-`) ||
      !name.includes(containerId === undefined ? "" : `-${containerId}-`);
    if (isOther) continue;
    const path = `${dir}/${name}`;
    try {
      const text = readText(path);
      if (text === undefined) continue; // Removed meanwhile.
      const attachment = readAttachment(text, undefined);
      if (isWanted(attachment, filter)) attachments.push(attachment);
    } catch (error) {
      unreadable.push({ path, reason: reasonOf(error) });
    }
  }
  return { attachments, unreadable };
}

function tidy(dir: string): void {
  for (const name of filesIn(dir).filter(isTemporary)) {
    removeIfThere(`${dir}/${name}`);
  }
}

function isTemporary(name: string): boolean {
  return name.startsWith(TEMPORARY_PREFIX);
}

function namesIn(dir: string): string[] {
  return filesIn(dir).filter((name) => !isTemporary(name)).sort();
}

function filesIn(dir: string): string[] {
  try {
    return [...Deno.readDirSync(dir)]
      .filter(({ isFile }) => isFile)
      .map(({ name }) => name);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw new CniError(
      ErrorCode.ioFailure,
      `Result cache cannot be listed (${reasonOf(cause)}): ${dir}`,
      { cause },
    );
  }
}

/** A name that the file system has no room for is that of no file; the error has no class of its own. */
function isNotThere(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Error && "code" in error && error.code === "ENAMETOOLONG";
}

/** A shorter id may stand by chance in the name of a network; runtimes' have 64 digits. */
const TELLING_ID_LENGTH = 32;

async function clear(dir: string, containerId: string): Promise<void> {
  const { attachments, unreadable } = await list(dir, { containerId });
  for (const attachment of attachments) {
    if (isWritable(attachment)) {
      await remove(`${dir}/${fileNameOf(attachment)}`);
    }
  }
  for (const { path } of unreadable) await remove(path);
  if (containerId.length < TELLING_ID_LENGTH) return;
  for (const name of await namesIn(dir)) {
    if (name.includes(`-${containerId}-`)) await remove(`${dir}/${name}`);
  }
}

/** What could never be written is not there either: a DEL for such a name has nothing to fail for. */
function isWritable(key: AttachmentKey): boolean {
  try {
    return fileNameOf(key) !== "";
  } catch {
    return false;
  }
}

/** The three names are checked, because they become a path. */
function fileNameOf(
  { networkName, containerId, ifname }: AttachmentKey,
): string {
  assertNetworkName(networkName);
  assertContainerId(containerId);
  assertInterfaceName(ifname);
  const fileName = `${networkName}-${containerId}-${ifname}`;
  const excess = new TextEncoder().encode(fileName).length -
    FILE_NAME_BYTES_MAX;
  if (excess <= 0) return fileName;
  throw new CniError(
    ErrorCode.invalidNetworkConfig,
    `The network's name is too long (at most ${
      Math.max(networkName.length - excess, 0)
    } bytes with this container ID and interface): ${quote(networkName)}`,
  );
}

function formatAttachment(attachment: CachedAttachment): string {
  const { cniArgs, capabilityArgs, result } = attachment;
  const capabilities = Object.entries(capabilityArgs)
    .map(([name, value]) => `${JSON.stringify(name)}:${value}`);
  const members = [
    ["kind", JSON.stringify(KIND)],
    ["containerId", JSON.stringify(attachment.containerId)],
    [
      "config",
      JSON.stringify(new TextEncoder().encode(attachment.config).toBase64()),
    ],
    ["ifName", JSON.stringify(attachment.ifname)],
    ["networkName", JSON.stringify(attachment.networkName)],
    [
      "netns",
      attachment.netns === "" ? undefined : JSON.stringify(attachment.netns),
    ],
    ["cniArgs", cniArgs.length === 0 ? undefined : JSON.stringify(cniArgs)],
    [
      "capabilityArgs",
      capabilities.length === 0 ? undefined : `{${capabilities.join(",")}}`,
    ],
    ["result", result],
  ];
  return `{${
    members.flatMap(([key, value]) =>
      value === undefined ? [] : [`"${key}":${value}`]
    ).join(",")
  }}`;
}

/** Without a `kind` it is the bare result that libcni kept before there were kinds; then the name says whose it is. */
function readAttachment(
  text: string,
  key: AttachmentKey | undefined,
): CachedAttachment {
  const members = new Map(
    readMembers(text).map(({ key, start, end }) => [
      key,
      text.slice(start, end),
    ]),
  );
  const kind = members.get("kind");
  if (kind === undefined && key !== undefined) {
    return {
      ...key,
      netns: "",
      cniArgs: [],
      capabilityArgs: {},
      config: "",
      result: text,
    };
  }
  if (kind === undefined || JSON.parse(kind) !== KIND) {
    throw new TypeError(`Unknown kind: ${kind ?? "none"}`);
  }
  const result = members.get("result");
  return {
    networkName: readString(members, "networkName"),
    containerId: readString(members, "containerId"),
    ifname: readString(members, "ifName"),
    netns: readString(members, "netns"),
    cniArgs: readCniArgs(members.get("cniArgs") ?? "[]"),
    capabilityArgs: readCapabilityArgs(
      members.get("capabilityArgs") ?? "{}",
    ),
    config: new TextDecoder().decode(
      Uint8Array.fromBase64(readString(members, "config")),
    ),
    ...(result === undefined || result === "null" ? {} : { result }),
  };
}

function readString(
  members: ReadonlyMap<string, JsonText>,
  key: string,
): string {
  const value: unknown = JSON.parse(members.get(key) ?? '""') ?? "";
  if (typeof value === "string") return value;
  throw new TypeError(`Not a string: ${key}`);
}

function readCniArgs(text: JsonText): CniArgs {
  const value: unknown = JSON.parse(text) ?? [];
  const isPair = (pair: unknown): pair is [string, string] =>
    Array.isArray(pair) && pair.length === 2 &&
    pair.every((part) => typeof part === "string");
  if (Array.isArray(value) && value.every(isPair)) return value;
  throw new TypeError("Not a list of pairs: cniArgs");
}

function readCapabilityArgs(text: JsonText): Record<string, JsonText> {
  if (text === "null") return {};
  return Object.fromEntries(
    readMembers(text).map((
      { key, start, end },
    ) => [key, text.slice(start, end)]),
  );
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
