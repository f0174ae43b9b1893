/**
 * Keeps our file in its place: writes it when it should be another, leaves it
 * alone when it is as it should be, and puts it back when another agent has
 * renamed, deleted or changed it.
 *
 * Needs read and write of the file's directory.
 *
 * @module
 */
import { basename } from "node:path";
import { quote } from "../cni/error.ts";
import {
  findRenamed,
  OWN_FILE_MODE,
  type OwnFile,
  readOwnFile,
  reasonOf,
  writeOwnFile,
} from "./auto_config_files.ts";
import {
  describeHabit,
  nextRepairAt,
  recentRepairs,
  type RepairPace,
  type Tampering,
} from "./auto_config_repair.ts";

/** Our file when we last saw that it was good. */
export interface Placed {
  /** Its whole content. */
  readonly text: string;
  /** By which it is known again under another name. */
  readonly inode: number | null;
  /** Of the content, in hexadecimal. */
  readonly sha256: string;
  /** In milliseconds since 1970. */
  readonly changedAt: number;
}

/** What it came to. */
export interface Placing {
  /** Why our file is not as it should be. */
  readonly problem?: string;
  /** It was written because it was to be another. */
  readonly isWritten?: boolean;
  /** What had been done to it before it was put back. */
  readonly repaired?: string;
}

/** When it is, and how often repairs may be. */
export interface PlaceOptions {
  /** In milliseconds, on a clock that is never set back. */
  readonly now: number;
  /** How often the file may be put back. */
  readonly pace: RepairPace;
}

/** Keeps one file in its place. */
export class Placer {
  /** Where it lies. */
  readonly path: string;
  #placed: Placed | undefined;
  #repairTimes: readonly number[] = [];
  #repairs = 0;

  /** Touches nothing yet. */
  constructor(path: string) {
    this.path = path;
  }

  /** What lies there by our hand. */
  get placed(): Placed | undefined {
    return this.#placed;
  }

  /** How often it was put back. */
  get repairs(): number {
    return this.#repairs;
  }

  /** Takes what is there for ours, and gives its text; undefined if there is nothing, or `isGood` refuses it. */
  async adopt(
    isGood: (text: string) => boolean,
  ): Promise<string | undefined> {
    const own = await readOwnFile(this.path);
    if (own === undefined || !isGood(own.text)) return undefined;
    if (own.mode !== OWN_FILE_MODE) {
      await Deno.chmod(this.path, OWN_FILE_MODE);
    }
    await this.#remember(own);
    return own.text;
  }

  /** Sees to it that the file holds the text. Never throws for what the file system says. */
  async place(text: string, options: PlaceOptions): Promise<Placing> {
    try {
      const own = await readOwnFile(this.path);
      if (own !== undefined && own.text === text) {
        if (this.#placed?.inode !== own.inode) await this.#remember(own);
        return {};
      }
      const isOurs = own?.text === this.#placed?.text;
      if (isOurs) return await this.#write(text);
      return await this.#repair(own, { ...options, text });
    } catch (error) {
      return { problem: `Cannot keep ${this.path}: ${reasonOf(error)}` };
    }
  }

  async #write(text: string): Promise<Placing> {
    await this.#put(text);
    return { isWritten: true };
  }

  async #repair(
    own: OwnFile | undefined,
    { text, now, pace }: PlaceOptions & { readonly text: string },
  ): Promise<Placing> {
    if (this.#placed === undefined) return await this.#write(text);
    const { tampering, what } = await this.#findOut(own, this.#placed);
    const recent = recentRepairs(this.#repairTimes, now);
    const habit = describeHabit(recent, tampering);
    const problem = `${what}${habit === "" ? "" : `; ${habit}`}`;
    if (now < nextRepairAt(recent, pace)) return { problem };
    await this.#put(text);
    this.#repairTimes = [...recent, now];
    this.#repairs++;
    return { repaired: problem };
  }

  async #findOut(
    own: OwnFile | undefined,
    placed: Placed,
  ): Promise<{ tampering: Tampering; what: string }> {
    const name = basename(this.path);
    if (own !== undefined) {
      return {
        tampering: "changed",
        what: `Another agent changed ${quote(name)}`,
      };
    }
    const to = await findRenamed(this.path, placed.inode);
    return to === undefined
      ? { tampering: "deleted", what: `Another agent deleted ${quote(name)}` }
      : {
        tampering: "renamed",
        what: `Another agent renamed ${quote(name)} to ${quote(to)}`,
      };
  }

  async #put(text: string): Promise<void> {
    const own = await writeOwnFile(this.path, text);
    // Gone at once: the next look finds out by whom, from what was written.
    await this.#remember(
      own?.text === text
        ? own
        : { text, mode: OWN_FILE_MODE, inode: null, modifiedAt: Date.now() },
    );
  }

  async #remember({ text, inode, modifiedAt }: OwnFile): Promise<void> {
    this.#placed = {
      text,
      inode,
      sha256: await sha256(text),
      changedAt: modifiedAt,
    };
  }
}

async function sha256(text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return new Uint8Array(digest).toHex();
}
