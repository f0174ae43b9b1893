/**
 * Configurations as files of a directory: which files count, in which order, and
 * the plugins that a list gets from the sub-directory of its name (CNI
 * specification, "Loading network configuration", as libcni does it). A file is
 * looked at when it is asked for, without a turn of Deno's thread pool, which
 * takes longer, and read again when it is another one than it was. Watching is
 * left to the callers.
 *
 * Needs `--allow-read` on the directory.
 *
 * @module
 */

import { basename, dirname, extname, join, resolve } from "node:path";
import {
  appendPlugins,
  type NetConfList,
  parseConf,
  parseConfList,
  parsePluginConf,
  parseSingleConf,
} from "./conf.ts";
import { CniError, ErrorCode, quote } from "./error.ts";
import type { JsonText } from "./json_text.ts";

const CONF_EXTENSIONS: readonly string[] = [".conf", ".conflist", ".json"];
const CHAIN_EXTENSIONS: readonly string[] = [".conf"];

/** What an object in the API can hold at most; nobody writes more by hand. */
const CONF_BYTES_MAX = 1024 * 1024;

/** A directory with more is not one of configurations, and each one is opened when a name is looked for. */
const FILES_MAX = 1000;

/** An error shows this many of the files that could not be read. */
const FAULTS_SHOWN_MAX = 3;

/**
 * Lists the configuration files of a directory (`.conf`, `.conflist`, `.json`)
 * as absolute paths, in the lexical order of their whole names. A directory that
 * does not exist has none. Needs `--allow-read` on it.
 *
 * @throws {CniError} with code 5 if the directory cannot be read
 */
export function listConfFiles(dir: string): Promise<string[]> {
  return Promise.try(listFiles, dir, CONF_EXTENSIONS);
}

/**
 * Reads the configuration in a file: `.conflist` is a list, and gets the plugins
 * of its sub-directory; `.conf` and `.json` are a single plugin; under any other
 * name it is what it looks like. Needs `--allow-read` on the file and on the
 * sub-directory.
 *
 * @throws {CniError} with code 5 if a file cannot be read, 6, 7 or 1 if it is not valid; the file is named
 */
export function loadConfFile(path: string): Promise<NetConfList> {
  return Promise.try(() => withChain(readConf(path, lookAt(path)), path));
}

/**
 * Reads the configuration at a path: of a file as {@linkcode loadConfFile}, of a directory the first file's. Needs
 * `--allow-read` on it, and on the directory that a file is in.
 *
 * @throws {CniError} with code 7 if a directory holds none, 5 if a file cannot be read, 6, 7 or 1 if it is not valid; the file is named
 */
export function loadConfAt(path: string): Promise<NetConfList> {
  return Promise.try(() => {
    const info = lookAt(path);
    if (!info.isDirectory) return withChain(readConf(path, info), path);
    const [first] = listFiles(path, CONF_EXTENSIONS);
    if (first !== undefined) {
      return withChain(readConf(first, lookAt(first)), first);
    }
    throw new CniError(
      ErrorCode.invalidNetworkConfig,
      `no CNI file in directory ${quote(path)}`,
    );
  });
}

/**
 * Looks in a directory for the configuration of a name: the lexically first file
 * that holds it. Files that cannot be read are passed over, and named if the name
 * is not found. Needs `--allow-read` on the directory.
 *
 * @throws {CniError} with code 7 if no file holds the name, 5 if the directory cannot be read
 */
export function loadConfByName(
  dir: string,
  name: string,
): Promise<NetConfList> {
  return Promise.try(findConf, dir, name);
}

function findConf(dir: string, name: string): NetConfList {
  const faults = new Map<string, string>();
  for (const path of listFiles(dir, CONF_EXTENSIONS)) {
    const list = tryConf(path, faults);
    if (list?.name === name) return withChain(list, path);
  }
  throw notFound(dir, name, faults);
}

function tryConf(
  path: string,
  faults: Map<string, string>,
): NetConfList | undefined {
  try {
    return readConf(path, lookAt(path));
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    faults.set(basename(path), error.message);
    return undefined;
  }
}

/**
 * Reads the plugins of a chain: the objects in the `.conf` files of a directory,
 * in lexical order; one that does not exist has none. Needs `--allow-read` on it.
 *
 * @throws {CniError} with code 5 if a file cannot be read, 6 or 7 if it is not a plugin's object; the file is named
 */
export function loadChainPlugins(dir: string): Promise<JsonText[]> {
  return Promise.try(readChain, dir);
}

function readChain(dir: string): JsonText[] {
  return listFiles(dir, CHAIN_EXTENSIONS).map(readChainPlugin);
}

function readChainPlugin(file: string): JsonText {
  const text = readText(file, lookAt(file));
  naming(file, () => parsePluginConf(text));
  return text.trim();
}

/** What a file held when it was read. */
interface KnownConf {
  /** The file that it was. */
  readonly stamp: string;
  readonly list: NetConfList;
}

/** Every ADD asks for the file of the default network; a node has a handful. */
const knownConfs = new Map<string, KnownConf>();
const KNOWN_MAX = 64;

/** A file that was just changed may be changed again within a step of the clock, and look the same. */
const SETTLED_MS = 2_000;

/** When a file or directory was changed the last time, with what tells it from another one. */
interface Version {
  readonly stamp: string;
  /** Whether every change from now on gives another stamp. */
  readonly isSettled: boolean;
}

function versionOf(info: Deno.FileInfo): Version {
  const { dev, ino, size } = info;
  const mtimeMs = info.mtime?.getTime() ?? Infinity;
  const ctimeMs = info.ctime?.getTime() ?? Infinity;
  const stamp = [dev, ino, size, mtimeMs, ctimeMs].join();
  const changedMs = Math.max(mtimeMs, ctimeMs);
  return { stamp, isSettled: Date.now() - changedMs >= SETTLED_MS };
}

/** Reads one file without what its sub-directory adds. */
function readConf(path: string, info: Deno.FileInfo): NetConfList {
  const { stamp, isSettled } = versionOf(info);
  const known = knownConfs.get(path);
  if (known?.stamp === stamp) return known.list;
  const list = parseFile(path, readText(path, info));
  if (isSettled) remember(knownConfs, path, { stamp, list });
  return list;
}

function remember<T>(known: Map<string, T>, path: string, value: T): void {
  if (known.size >= KNOWN_MAX) known.clear();
  known.set(path, value);
}

/** Sub-directories that were not there, with the stamp of the directory that they would be in: every ADD looks for one. */
const absentDirs = new Map<string, string>();

/** The plugins of a sub-directory. */
function readSubdirectory(dir: string): JsonText[] {
  const { stamp, isSettled } = versionOf(lookAt(dirname(dir)));
  if (absentDirs.get(dir) === stamp) return [];
  const files = listFiles(dir, CHAIN_EXTENSIONS);
  if (isSettled && files.length === 0 && isAbsent(dir)) {
    remember(absentDirs, dir, stamp);
  }
  return files.map(readChainPlugin);
}

/** Whether there is no entry of that name; a link that leads nowhere is one. */
function isAbsent(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return false;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

function parseFile(path: string, text: string): NetConfList {
  return naming(path, () => {
    switch (extname(path)) {
      case ".conflist":
        return parseConfList(text, { allowEmptyPlugins: true });
      case ".conf":
      case ".json":
        return parseSingleConf(text);
      default:
        return parseConf(text);
    }
  });
}

/** Puts the plugins of `DIR/<name>/*.conf` behind those of a list from `DIR`. */
function withChain(list: NetConfList, path: string): NetConfList {
  if (list.single || extname(path) !== ".conflist") return list;
  // A name holds no "/" and does not start with ".", so this stays inside.
  const texts = list.loadOnlyInlinedPlugins
    ? []
    : readSubdirectory(join(dirname(path), list.name));
  return naming(path, () => {
    // Without plugins of either kind this reads it again, and says so.
    return list.plugins.length + texts.length === 0
      ? parseConfList(list.text)
      : appendPlugins(list, texts);
  });
}

function listFiles(dir: string, extensions: readonly string[]): string[] {
  const names: string[] = [];
  try {
    for (const entry of Deno.readDirSync(dir)) {
      if (entry.isDirectory || !extensions.includes(extname(entry.name))) {
        continue;
      }
      if (names.push(entry.name) > FILES_MAX) {
        throw new RangeError(`More than ${FILES_MAX} files`);
      }
    }
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw unreadable("Cannot read configuration directory", dir, cause);
  }
  return names.sort().map((name) => resolve(dir, name));
}

function lookAt(path: string): Deno.FileInfo {
  try {
    return Deno.statSync(path);
  } catch (cause) {
    throw unreadable("Cannot read configuration file", path, cause);
  }
}

function readText(path: string, { isFile, size }: Deno.FileInfo): string {
  try {
    if (!isFile) throw new TypeError("Not a regular file");
    if (size > CONF_BYTES_MAX) {
      throw new RangeError(`Larger than ${CONF_BYTES_MAX} bytes: ${size}`);
    }
    return Deno.readTextFileSync(path);
  } catch (cause) {
    throw unreadable("Cannot read configuration file", path, cause);
  }
}

function notFound(
  dir: string,
  name: string,
  faults: ReadonlyMap<string, string>,
): CniError {
  const files = [...faults.keys()].slice(0, FAULTS_SHOWN_MAX).join(", ");
  const more = faults.size > FAULTS_SHOWN_MAX ? ", …" : "";
  const skipped = faults.size === 0 ? "" : ` (skipped ${files}${more})`;
  return new CniError(
    ErrorCode.invalidNetworkConfig,
    `No valid configuration in ${dir} has the name${skipped}: ${quote(name)}`,
    { details: [...faults.values()].slice(0, FAULTS_SHOWN_MAX).join("; ") },
  );
}

function unreadable(what: string, path: string, cause: unknown): CniError {
  const message = cause instanceof Error ? cause.message : "";
  const reason = message.replace(/ \(os error \d+\).*$/s, ""); // the path again
  return new CniError(ErrorCode.ioFailure, `${what} ${path}: ${reason}`, {
    cause,
  });
}

/** Adds the file to what is wrong in it. */
function naming<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof CniError)) throw cause;
    const { code, message, details } = cause;
    throw new CniError(code, `${message} (in ${path})`, { details, cause });
  }
}
