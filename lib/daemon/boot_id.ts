/**
 * A name for this boot of the machine, kept in a directory that does not
 * outlive it (`/run`). The kernel's own boot ID lies in `/proc`, which Deno
 * opens to nobody without all permissions, and a clock can jump.
 *
 * @module
 */
import { writeFileAtomic } from "../host/atomic_file.ts";

const FILE_NAME = "boot-id";

// A UUID, and nothing else that somebody may have left there.
const BOOT_ID = /^[0-9a-f-]{36}$/;

/** A boot of the machine. */
export interface Boot {
  /** Its name. */
  readonly bootId: string;
  /** Nobody has asked for it before: this is the first daemon of the boot. */
  readonly isNew: boolean;
}

/**
 * Reads the name of this boot, or makes one if this is the first to ask. Needs read and write of the
 * directory. Where the directory survives a boot after all, two boots have the same name.
 *
 * @throws Deno's own errors when the directory cannot be read or written.
 */
export async function readBootId(runDir: string): Promise<Boot> {
  const path = `${runDir}/${FILE_NAME}`;
  const known = await readIfThere(path);
  if (BOOT_ID.test(known)) return { bootId: known, isNew: false };
  const bootId = crypto.randomUUID();
  await writeFileAtomic(path, bootId, { sync: false });
  return { bootId, isNew: true };
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
