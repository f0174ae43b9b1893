/**
 * A log file that does not grow without end: at its limit it is put aside under a name with the time, as the Go
 * daemon does it (`multus-2026-11-22T17-00-00.123.log`, `.gz` when compressed), so that files of both count
 * together; too many or too old ones are removed. `@logtape/file` rotates too, but flushes the disk with each
 * line, and neither compresses nor forgets by age.
 *
 * Lines are written at once and synchronously: what was said before a crash is there after it. Compressing and
 * removing happen beside it. A disk that is full or read-only costs lines, never the daemon.
 *
 * Needs read and write permission for the file's directory; with the file alone it is emptied at its limit, and
 * nothing is put aside.
 *
 * @module
 */

import { basename, dirname, extname } from "node:path";

/** When the file is put aside, and what becomes of the old ones; 0 is no limit. */
export interface Rotation {
  /** Old files are removed after this many days. */
  readonly maxAgeDays: number;
  /** The file is put aside before it becomes larger than this. */
  readonly maxSizeMegabytes: number;
  /** So many old files are kept. */
  readonly maxBackups: number;
  /** Old files are compressed. */
  readonly compress: boolean;
}

/** An open log file. */
export interface LogFile extends AsyncDisposable {
  /** Writes a line, which ends with a line end. */
  write(line: string): void;
  /** Waits until old files are compressed and removed. */
  tidied(): Promise<void>;
}

const MEGABYTE = 1024 * 1024;
const DAY_MS = 24 * 60 * 60_000;

/** What Go's rotation uses, with the zone left out: UTC. */
const STAMP = /^-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}$/;

/** A write that failed is tried again with a new file after this: a full disk is often emptied within minutes. */
const REOPEN_AFTER_MS = 10_000;

/**
 * Opens the file for appending; directory and file are made when missing, readable by the owner only.
 *
 * @throws whatever the file system says
 */
export function openLogFile(path: string, rotation: Rotation): LogFile {
  const tidier = createTidier(path, rotation);
  const sizeMax = rotation.maxSizeMegabytes * MEGABYTE || Infinity;
  let open: Opened | undefined = append(path);
  let reopenAt = 0;
  tidier.tidy();
  return {
    write(line): void {
      if (open === undefined && Date.now() < reopenAt) return;
      try {
        open ??= append(path);
        const bytes = new TextEncoder().encode(line);
        if (open.size > 0 && open.size + bytes.length > sizeMax) {
          open = putAside(path, open);
          tidier.tidy();
        }
        writeAll(open, bytes);
      } catch {
        // There is nowhere left to say it but stderr, which has the line too if it is wanted there.
        open?.file.close();
        open = undefined;
        reopenAt = Date.now() + REOPEN_AFTER_MS;
      }
    },
    tidied: () => tidier.done(),
    async [Symbol.asyncDispose](): Promise<void> {
      open?.file.close();
      open = undefined;
      reopenAt = Infinity;
      await tidier.done();
    },
  };
}

interface Opened {
  readonly file: Deno.FsFile;
  size: number;
}

function append(path: string): Opened {
  const file = openOrMake(path);
  return { file, size: file.statSync().size };
}

function openOrMake(path: string): Deno.FsFile {
  const options = { append: true, create: true, mode: 0o600 };
  try {
    return Deno.openSync(path, options);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    Deno.mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
    return Deno.openSync(path, options);
  }
}

/** What cannot be put aside is emptied: a log must not fill the node's disk. */
function putAside(path: string, open: Opened): Opened {
  try {
    Deno.renameSync(path, stampedName(path));
  } catch {
    open.file.truncateSync(0);
    open.size = 0;
    return open;
  }
  const next = append(path);
  open.file.close();
  return next;
}

function writeAll(open: Opened, bytes: Uint8Array): void {
  open.size += bytes.length;
  for (let at = 0; at < bytes.length;) {
    at += open.file.writeSync(bytes.subarray(at));
  }
}

function stampedName(path: string): string {
  const stamp = new Date().toISOString().slice(0, -1).replaceAll(":", "-");
  const extension = extname(path);
  const stem = path.slice(0, path.length - extension.length);
  return `${stem}-${stamp}${extension}`;
}

interface Tidier {
  tidy(): void;
  done(): Promise<void>;
}

/** One round at a time; what is asked for during a round is done after it. */
function createTidier(path: string, rotation: Rotation): Tidier {
  let round = Promise.resolve();
  return {
    tidy(): void {
      round = round.then(() => tidyOnce(path, rotation)).catch(() => {
        // It is tried again with the next rotation.
      });
    },
    done: () => round,
  };
}

async function tidyOnce(path: string, rotation: Rotation): Promise<void> {
  const { compress, maxAgeDays, maxBackups } = rotation;
  const dir = dirname(path);
  const oldest = Date.now() - maxAgeDays * DAY_MS;
  for (const [index, name] of (await listOld(path)).entries()) {
    const old = `${dir}/${name}`;
    const isTooMany = maxBackups > 0 && index >= maxBackups;
    const isTooOld = maxAgeDays > 0 && await mtimeOf(old) < oldest;
    if (isTooMany || isTooOld) await Deno.remove(old);
    else if (compress && !name.endsWith(".gz")) await compressFile(old);
  }
}

/** Names of the files that were put aside, newest first. */
async function listOld(path: string): Promise<string[]> {
  const extension = extname(path);
  const stem = basename(path, extension);
  const names: string[] = [];
  for await (const { isFile, name } of Deno.readDir(dirname(path))) {
    const plain = name.replace(/\.gz$/, "");
    if (!isFile || !plain.startsWith(stem) || !plain.endsWith(extension)) {
      continue;
    }
    const stamp = plain.slice(stem.length, plain.length - extension.length);
    if (STAMP.test(stamp)) names.push(name);
  }
  return names.sort().reverse();
}

async function mtimeOf(path: string): Promise<number> {
  return (await Deno.stat(path)).mtime?.getTime() ?? 0;
}

async function compressFile(path: string): Promise<void> {
  const temporary = `${path}.gz.tmp`;
  try {
    const source = await Deno.open(path, { read: true });
    const target = await Deno.open(temporary, {
      write: true,
      create: true,
      truncate: true,
      mode: 0o600,
    });
    await source.readable
      .pipeThrough(new CompressionStream("gzip"))
      .pipeTo(target.writable);
    await Deno.rename(temporary, `${path}.gz`);
    await Deno.remove(path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}
