/**
 * What was installed into the CNI directory of a node, and what stood there
 * before: a directory of our own (`multus.d`) beside the plugins holds a
 * journal and the files that ours replaced, so that an uninstall can put back
 * exactly what was there. Which files, and why, is decided by the callers.
 *
 * At each moment a power cut may come: a replaced file is kept and written
 * down before it is replaced, so that the worst that is left is a kept file
 * too many. One installer at a time works here (a lock on the journal's
 * directory); who executes the files meanwhile does not notice.
 *
 * Needs read and write of the CNI directory.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import * as z from "zod/mini";
import { syncDir, writeFileAtomic } from "../host/atomic_file.ts";
import {
  checksumAt,
  checksumOf,
  type Content,
  lookAt,
  moveOver,
  putFile,
  putSecondName,
  removeIfThere,
  removeUnfinished,
} from "./install_file.ts";

/** The directory of our own inside the CNI directory. */
export const OWN_DIR = "multus.d";

/** The deno program that launchers on the host start, by its name in the CNI directory. */
export const DENO_NAME = `${OWN_DIR}/deno`;

const REPLACED_DIR = `${OWN_DIR}/replaced`;
const JOURNAL_NAME = `${OWN_DIR}/installation.json`;
const LOCK_NAME = `${OWN_DIR}/lock`;

/** Programs are run by anybody who may look into the directory, and written by root. */
const PROGRAM_MODE = 0o755;

/** Copies of what is larger (compiled programs have 100 MB) share their blocks on disk. */
const COPY_BYTES_MAX = 4 * 1024 * 1024;

/** Another installer copies 100 MB in some seconds; one that hangs is told of. */
const LOCK_WAIT_MS = 60_000;

const LOCK_POLL_MS = 50;

const Entry = z.object({
  /** Checksums of what we put there: the new one, and until it is there the one before. */
  ours: z.array(z.string()),
  /** Something else stood there, and is kept. */
  replaced: z.boolean(),
  /** The very same file stood there before us. */
  wasThere: z.boolean(),
});

const RenamingShape = z.object({ from: z.string(), to: z.string() });

const Journal = z.object({
  formatVersion: z.literal(1),
  files: z.record(z.string(), Entry),
  renamed: z.array(RenamingShape),
});

type Entry = z.infer<typeof Entry>;
type Journal = z.infer<typeof Journal>;

/** A file that was renamed, by paths as the host names them. */
export interface Renaming {
  /** Its name before. */
  readonly from: string;
  /** Its name since. */
  readonly to: string;
}

/** What putting a file came to. */
export type PutOutcome = "installed" | "updated" | "unchanged" | "replaced";

/** What taking a file away came to. */
export type TakeOutcome =
  /** Removed; nothing stood there before. */
  | "removed"
  /** What stood there before is back. */
  | "restored"
  /** Gone already. */
  | "gone"
  /** It stood there before us, byte for byte. */
  | "was-there"
  /** Somebody put another file there since. */
  | "changed";

/** The journal cannot be read: what was there before is not known. */
export class JournalError extends Error {
  /** The name of the class. */
  override readonly name = "JournalError";
}

/** Another installer is at work. */
export class InstallerBusyError extends Error {
  /** The name of the class. */
  override readonly name = "InstallerBusyError";
}

/** What is installed in one CNI directory, open for changes by nobody else. */
export interface Installation extends AsyncDisposable {
  /** The names of what we installed, in the CNI directory. */
  readonly names: readonly string[];
  /** The files that were renamed. */
  readonly renamed: readonly Renaming[];
  /** Puts a program there, unless it is there already. */
  put(name: string, content: Content): Promise<PutOutcome>;
  /** Writes down a renaming, before it is done. */
  noteRenaming(renaming: Renaming): Promise<void>;
  /** Forgets a renaming that was undone. */
  forgetRenaming(renaming: Renaming): Promise<void>;
  /** Takes a program away, and puts back what it replaced. */
  takeAway(name: string): Promise<TakeOutcome>;
  /** Removes our own directory when nothing is installed any more; the names of what keeps it. */
  removeOwnDir(): Promise<readonly string[]>;
}

/**
 * Opens what is installed in `binDir`; directories are made where they are
 * missing.
 *
 * @throws {InstallerBusyError} when another installer does not come to an end.
 * @throws {JournalError} when the journal cannot be read.
 */
export async function openInstallation(binDir: string): Promise<Installation> {
  await Deno.mkdir(join(binDir, OWN_DIR), { recursive: true, mode: 0o755 });
  const lock = await takeLock(join(binDir, LOCK_NAME));
  try {
    await removeUnfinished(binDir);
    await removeUnfinished(join(binDir, OWN_DIR));
    return new OpenInstallation(binDir, {
      journal: await readJournal(join(binDir, JOURNAL_NAME)),
      lock,
    });
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** Whether anything is installed in `binDir`, as far as a journal says. */
export async function isInstalled(binDir: string): Promise<boolean> {
  return await lookAt(join(binDir, JOURNAL_NAME)) !== undefined;
}

async function takeLock(path: string): Promise<Deno.FsFile> {
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    const lock = await tryLock(path);
    if (lock !== undefined) return lock;
    if (Date.now() > deadline) {
      throw new InstallerBusyError(`Another installer is at work: ${path}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
  }
}

const EXCLUSIVE = true;

async function tryLock(path: string): Promise<Deno.FsFile | undefined> {
  const file = await Deno.open(path, { write: true, create: true });
  // An uninstall removes the file that it has locked: who waited for that one locks nothing.
  const isLocked = await file.tryLock(EXCLUSIVE) &&
    (await file.stat()).ino === (await lookAt(path))?.ino;
  if (isLocked) return file;
  file.close();
  return undefined;
}

async function readJournal(path: string): Promise<Journal> {
  if (await lookAt(path) === undefined) {
    return { formatVersion: 1, files: {}, renamed: [] };
  }
  try {
    const parsed = z.safeParse(
      Journal,
      JSON.parse(await Deno.readTextFile(path)),
    );
    if (parsed.success) return parsed.data;
    throw new SyntaxError(parsed.error.issues[0]?.message ?? "");
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new JournalError(
      `What was installed here cannot be read (without the file, nothing is put back that was replaced): ${path}`,
      { cause },
    );
  }
}

class OpenInstallation implements Installation {
  readonly #dir: string;
  readonly #lock: Deno.FsFile;
  #journal: Journal;

  constructor(
    dir: string,
    { journal, lock }: { journal: Journal; lock: Deno.FsFile },
  ) {
    this.#dir = dir;
    this.#journal = journal;
    this.#lock = lock;
  }

  get names(): readonly string[] {
    return Object.keys(this.#journal.files);
  }

  get renamed(): readonly Renaming[] {
    return this.#journal.renamed;
  }

  async put(name: string, content: Content): Promise<PutOutcome> {
    const path = join(this.#dir, name);
    const wanted = await checksumOf(content);
    const found = await checksumAt(path);
    const entry = this.#journal.files[name];
    const isForeign = await lookAt(path) !== undefined &&
      (found === undefined || entry?.ours.includes(found) !== true ||
        entry.wasThere);
    if (found === wanted) {
      if (entry === undefined) {
        await this.#note(name, {
          ours: [wanted],
          replaced: false,
          wasThere: true,
        });
      }
      await makeRunnable(path);
      return "unchanged";
    }
    if (isForeign) await this.#keep(name);
    await this.#note(name, {
      ours: found === undefined || isForeign ? [wanted] : [wanted, found],
      replaced: isForeign || entry?.replaced === true,
      wasThere: false,
    });
    await this.#place(name, content, wanted);
    await this.#note(name, { ours: [wanted] });
    if (isForeign) return "replaced";
    return found === undefined ? "installed" : "updated";
  }

  async noteRenaming({ from, to }: Renaming): Promise<void> {
    const others = this.#journal.renamed.filter((one) => one.from !== from);
    await this.#write({ ...this.#journal, renamed: [...others, { from, to }] });
  }

  async forgetRenaming({ from }: Renaming): Promise<void> {
    const renamed = this.#journal.renamed.filter((one) => one.from !== from);
    await this.#write({ ...this.#journal, renamed });
  }

  async takeAway(name: string): Promise<TakeOutcome> {
    const entry = this.#journal.files[name];
    if (entry === undefined) return "gone";
    const outcome = await this.#takeAway(name, entry);
    await removeIfThere(this.#kept(name));
    const { [name]: _, ...files } = this.#journal.files;
    await this.#write({ ...this.#journal, files });
    return outcome;
  }

  async removeOwnDir(): Promise<readonly string[]> {
    const { files, renamed } = this.#journal;
    if (Object.keys(files).length > 0 || renamed.length > 0) {
      return [JOURNAL_NAME];
    }
    await removeIfEmpty(join(this.#dir, REPLACED_DIR));
    await removeIfThere(join(this.#dir, JOURNAL_NAME));
    await removeIfThere(join(this.#dir, LOCK_NAME));
    await removeIfEmpty(join(this.#dir, OWN_DIR));
    await syncDir(this.#dir);
    return await listDir(join(this.#dir, OWN_DIR));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#lock.close();
    return Promise.resolve();
  }

  #kept(name: string): string {
    return join(this.#dir, REPLACED_DIR, basename(name));
  }

  async #keep(name: string): Promise<void> {
    await Deno.mkdir(join(this.#dir, REPLACED_DIR), {
      recursive: true,
      mode: 0o755,
    });
    await putSecondName(join(this.#dir, name), this.#kept(name));
  }

  async #place(
    name: string,
    content: Content,
    checksum: string,
  ): Promise<void> {
    const path = join(this.#dir, name);
    const twin = await this.#twinOf(name, checksum);
    if (twin !== undefined) await putSecondName(twin, path);
    else await putFile(content, path, { mode: PROGRAM_MODE });
  }

  /** A large file with this content that we have put there under another name. */
  async #twinOf(name: string, checksum: string): Promise<string | undefined> {
    for (const [other, entry] of Object.entries(this.#journal.files)) {
      const isOurs = !entry.wasThere && entry.ours.includes(checksum);
      if (other === name || !isOurs) continue;
      const path = join(this.#dir, other);
      const { size = 0 } = await lookAt(path) ?? {};
      if (size > COPY_BYTES_MAX && await checksumAt(path) === checksum) {
        return path;
      }
    }
    return undefined;
  }

  async #takeAway(name: string, entry: Entry): Promise<TakeOutcome> {
    const path = join(this.#dir, name);
    const found = await checksumAt(path);
    const isThere = await lookAt(path) !== undefined;
    if (isThere && (found === undefined || !entry.ours.includes(found))) {
      return "changed";
    }
    if (entry.replaced && await lookAt(this.#kept(name)) !== undefined) {
      await moveOver(this.#kept(name), path);
      return "restored";
    }
    if (!isThere) return "gone";
    if (entry.wasThere) return "was-there";
    await removeIfThere(path);
    await syncDir(dirname(path));
    return "removed";
  }

  async #note(name: string, change: Partial<Entry>): Promise<void> {
    const before = this.#journal.files[name] ??
      { ours: [], replaced: false, wasThere: false };
    await this.#write({
      ...this.#journal,
      files: { ...this.#journal.files, [name]: { ...before, ...change } },
    });
  }

  async #write(journal: Journal): Promise<void> {
    const text = `${JSON.stringify(journal, null, 2)}\n`;
    await writeFileAtomic(join(this.#dir, JOURNAL_NAME), text, { mode: 0o644 });
    this.#journal = journal;
  }
}

/** A program that lost its mode is of no use, though its bytes are right. */
async function makeRunnable(path: string): Promise<void> {
  const { mode } = await Deno.lstat(path);
  if (((mode ?? 0) & 0o111) === 0) await Deno.chmod(path, PROGRAM_MODE);
}

async function listDir(dir: string): Promise<string[]> {
  if (await lookAt(dir) === undefined) return [];
  const entries = await Array.fromAsync(Deno.readDir(dir));
  return entries.map(({ name }) => `${OWN_DIR}/${name}`).sort();
}

async function removeIfEmpty(dir: string): Promise<void> {
  if (await lookAt(dir) === undefined) return;
  const [first] = await Array.fromAsync(Deno.readDir(dir));
  if (first === undefined) await Deno.remove(dir);
}
