/**
 * Files that are there whole or not at all, also after a power cut: a temporary file in the same
 * directory, synced, renamed over the old one, and the directory synced. It leaves alone who else
 * writes the same file: the last rename wins.
 *
 * Only the waits for the disk take a turn of Deno's thread pool (0.1 ms each); the rest happens in the
 * kernel's memory, in hundredths of that.
 *
 * @module
 */

/** How the names of unfinished files begin; what a crash leaves under such a name may be removed. */
export const TEMPORARY_PREFIX = ".tmp-";

/** How a file is written. */
export interface WriteFileAtomicOptions {
  /** The file's mode, exactly, whatever the umask says. Default 0600. */
  readonly mode?: number;
  /** Whether to wait until the disk has it. Default true; false still never shows half a file to a reader, but a power cut may leave an empty one. */
  readonly sync?: boolean;
}

/**
 * Writes a file so that readers see the old or the new one, never a part.
 *
 * Needs `--allow-write` for the directory and, to sync it, `--allow-read` for the directory.
 *
 * @throws {Deno.errors.NotFound} the directory does not exist
 * @throws {Error} Deno's own errors; the old file is then untouched
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: WriteFileAtomicOptions = {},
): Promise<void> {
  const { mode = 0o600, sync = true } = options;
  const { dir, temporary, bytes } = prepare(path, data);
  try {
    await writeNew(temporary, bytes, { mode, sync });
    rename(temporary, path);
  } catch (error) {
    removeIfThere(temporary);
    throw error;
  }
  if (sync) await syncDir(dir);
}

/** A file that was just made. */
export interface CreatedFile {
  /** Open for writing. */
  readonly file: Deno.FsFile;
  /** Resolves when the disk has file and name; rejects with Deno's own errors when it does not come to that. */
  readonly saved: Promise<void>;
}

/**
 * Makes a file that is not there yet, so that readers see all of it or none, and gives it back at once: the
 * disk may take its time while its caller does what need not wait. Unlike a file that takes the place of
 * another, this one may have its name before the disk has its content: a power cut before it is saved may
 * leave it empty or damaged. That makes one entry in the file system's journal instead of two, and both
 * waits are one. The mode is 0600.
 *
 * Needs `--allow-write` and `--allow-read` for the directory.
 *
 * @throws {Deno.errors.AlreadyExists} there is something of that name; it stays as it is
 * @throws {Error} Deno's own errors; nothing is left then
 */
export function createFileAtomic(
  path: string,
  data: string | Uint8Array,
): CreatedFile {
  const { dir, temporary, bytes } = prepare(path, data);
  const file = create(temporary);
  try {
    fill(file, bytes);
    link(temporary, path);
    const saved = Promise.all([file.sync(), syncDir(dir)]).then(() => {});
    // Who asks for it is told; who does not has no use for it any more.
    saved.catch(() => {});
    return { file, saved };
  } catch (error) {
    file.close();
    throw error;
  } finally {
    removeIfThere(temporary);
  }
}

/** Unlike a rename it does not replace what is there. */
function link(from: string, to: string): void {
  try {
    Deno.linkSync(from, to);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists || isThere(to)) throw error;
    rename(from, to); // A file system without hard links.
  }
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function prepare(
  path: string,
  data: string | Uint8Array,
): { dir: string; temporary: string; bytes: Uint8Array } {
  const dir = path.slice(0, path.lastIndexOf("/") + 1) || "./";
  const temporary = `${dir}${TEMPORARY_PREFIX}${crypto.randomUUID()}`;
  const bytes = typeof data === "string"
    ? new TextEncoder().encode(data)
    : data;
  return { dir, temporary, bytes };
}

/** A sync of a directory that runs, and the one that those who came meanwhile wait for. */
interface Turn {
  readonly running: Promise<void>;
  next?: Promise<void>;
}

const turns = new Map<string, Turn>();

/**
 * Waits until the disk has what was created, renamed or removed in a directory. Whoever comes while
 * a sync runs shares the next one: that one may have begun before the change was made.
 *
 * Needs `--allow-read` for the directory.
 *
 * @throws {Error} Deno's own errors
 */
export function syncDir(dir: string): Promise<void> {
  const turn = turns.get(dir);
  if (turn === undefined) return startSync(dir);
  return turn.next ??= turn.running.catch(() => {}).then(() => startSync(dir));
}

function startSync(dir: string): Promise<void> {
  const turn: Turn = { running: syncNow(dir) };
  turns.set(dir, turn);
  const end = (): void => {
    if (turn.next === undefined) turns.delete(dir);
  };
  turn.running.then(end, end);
  return turn.running;
}

async function syncNow(dir: string): Promise<void> {
  const handle = openDir(dir);
  try {
    await handle.sync();
  } finally {
    handle.close();
  }
}

function openDir(dir: string): Deno.FsFile {
  return Deno.openSync(dir, { read: true });
}

function rename(from: string, to: string): void {
  Deno.renameSync(from, to);
}

/** After an error, which counts: often the file was never made. */
function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // The first error is the one to tell.
  }
}

async function writeNew(
  path: string,
  bytes: Uint8Array,
  { mode, sync }: { mode: number; sync: boolean },
): Promise<void> {
  using file = create(path);
  fill(file, bytes);
  if (mode !== 0o600) await Deno.chmod(path, mode); // The umask may have taken bits away.
  if (sync) await file.sync();
}

function create(path: string): Deno.FsFile {
  return Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
}

function fill(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) {
    written += file.writeSync(bytes.subarray(written));
  }
}
