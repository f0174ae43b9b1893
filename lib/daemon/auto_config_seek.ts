/**
 * What our file should hold: found from the files that are there, and kept in
 * mind when they are not, so that a default network that is being installed,
 * replaced or half-written never costs the node its last good configuration.
 *
 * @module
 */
import { basename } from "node:path";
import { CniError } from "../cni/error.ts";
import {
  type Candidate,
  chooseConf,
  type HeldChoice,
  holdChoice,
} from "./auto_config_choice.ts";
import { readSource } from "./auto_config_files.ts";
import { assertMultusConf, renderMultusConf } from "./auto_config_render.ts";
import type { DaemonConf } from "./configuration.ts";

/** What our file should hold. */
export interface Wanted {
  /** Its whole content. */
  readonly text: string;
  /** The default network's file, or the one to be copied; absent for what was there when the daemon started. */
  readonly source?: string;
  /** Why this, for people. */
  readonly reason: string;
}

/** What was found. */
export interface Sought {
  /** The last good one; absent while there has never been one. */
  readonly wanted?: Wanted;
  /** Why the last good one is not what the files give now. */
  readonly missing?: string;
}

/** What is looked through, and when. */
export interface SeekOptions {
  /** The configurations in `multusAutoconfigDir`. */
  readonly candidates: readonly Candidate[];
  /** The name of our file. */
  readonly name: string;
  /** In milliseconds, on a clock that is never set back. */
  readonly now: number;
  /** How long a lost file is waited for. */
  readonly graceMs: number;
}

/** Seeks, and remembers the last good one. */
export class Seeker {
  #held: HeldChoice | undefined;
  #wanted: Wanted | undefined;

  /** Whether a file that is gone is waited for. */
  get isWaiting(): boolean {
    return this.#held?.lostAt !== undefined;
  }

  /** Takes what lies there from before, until something better is found. */
  adopt(text: string): void {
    this.#wanted = {
      text,
      reason: "The configuration from before the daemon started is kept",
    };
  }

  /** Forgets the choice, and with `all` the last good configuration as well. */
  reset(options: { readonly all: boolean }): void {
    this.#held = undefined;
    if (options.all) this.#wanted = undefined;
  }

  /** The configuration for the first good file of a directory. */
  seekChoice(conf: DaemonConf, options: SeekOptions): Sought {
    const { candidates, name, now, graceMs } = options;
    const { multusAutoconfigDir: dir, multusMasterCNI: pinned } = conf;
    const seen = chooseConf(candidates, {
      dir,
      ...(pinned !== undefined && { pinned }),
    });
    this.#held = holdChoice(this.#held, seen, { now, graceMs });
    const { choice } = this.#held;
    if (choice.kind === "missing") return this.#keep(choice.reason);
    return this.#check(conf, name, {
      text: renderMultusConf(conf, choice),
      source: choice.path,
      reason: `Default network is ${choice.path}: ${choice.reason}`,
    });
  }

  /** The file that is to be copied. */
  async seekCopy(conf: DaemonConf, source: string): Promise<Sought> {
    try {
      return this.#check(conf, basename(source), {
        text: await readSource(source),
        source,
        reason: `Copied from ${source}`,
      });
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      return this.#keep(error.message);
    }
  }

  #check(conf: DaemonConf, name: string, wanted: Wanted): Sought {
    try {
      assertMultusConf(wanted.text, { name, conf });
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      return this.#keep(error.message);
    }
    this.#wanted = wanted;
    return { wanted };
  }

  #keep(missing: string): Sought {
    return {
      missing,
      ...(this.#wanted !== undefined && { wanted: this.#wanted }),
    };
  }
}
