/**
 * Keeps the configuration that container runtimes use for pods: finds the
 * default network's, writes ours (`00-multus.conf`) around it, and sees to it
 * that ours is there, whole, and the first in its directory, as long as the
 * daemon runs. The file stays when the daemon stops, unless
 * `cleanupConfigOnExit` says otherwise: pods that start meanwhile wait for
 * their networks and do not start without.
 *
 * It looks about once a second and whenever a directory changes. What it finds
 * wrong it tells once, by an event, and shows in its state until it is over;
 * with whatever cannot be chosen or written, the last good configuration stays.
 * Files of others are never touched.
 *
 * Needs read of `multusAutoconfigDir`, read and write of `cniConfigDir`, and
 * read of the file to be copied and of the readiness indicator where there is
 * one.
 *
 * @module
 */
import { basename, dirname, extname, resolve } from "node:path";
import { CniError, quote } from "../cni/error.ts";
import { type Candidate, findOutSorting } from "./auto_config_choice.ts";
import {
  readCandidates,
  reasonOf,
  removeLeftovers,
  removeOwnFile,
} from "./auto_config_files.ts";
import { Placer, type Placing } from "./auto_config_place.ts";
import { assertMultusConf } from "./auto_config_render.ts";
import type { RepairPace } from "./auto_config_repair.ts";
import { Seeker, type Sought } from "./auto_config_seek.ts";
import {
  type AutoConfigEvent,
  type AutoConfigState,
  modeOf,
  type Problem,
  tellProblems,
} from "./auto_config_state.ts";
import type { DaemonConf } from "./configuration.ts";
import { type DirWatch, watchDirs } from "./dir_watch.ts";
import { isThere } from "./readiness.ts";
import type { Check } from "./server.ts";

export type { AutoConfigEvent, AutoConfigState } from "./auto_config_state.ts";

/** How long things take. */
export interface AutoConfigTiming extends RepairPace {
  /** At least so often everything is read, whatever the watches say. */
  readonly lookMs: number;
  /** Changes that come together are looked at together. */
  readonly settleMs: number;
  /** So long a chosen file may be gone or broken before another one is chosen. */
  readonly graceMs: number;
}

/** What it works with. */
export interface AutoConfigOptions {
  /** The daemon's configuration. */
  readonly conf: DaemonConf;
  /** Told what happens, in order; must not throw. */
  readonly onEvent: (event: AutoConfigEvent) => void;
  /** For tests that cannot wait. */
  readonly timing?: Partial<AutoConfigTiming>;
}

/** The keeper of the configuration; disposing it waits until it has stopped. */
export interface AutoConfig extends AsyncDisposable {
  /** Ready while nothing is wrong. */
  probe(): Check;
  /** How it stands, as of the last look. */
  state(): AutoConfigState;
  /** Goes on with another configuration of the daemon; resolves when that holds. */
  reconfigure(conf: DaemonConf): Promise<void>;
}

/** The name of our file: it sorts before what default networks are called. */
export const OWN_FILE = "00-multus.conf";

// Everything is to be noticed within 2 s: a look a second, and half of that for a file that is being
// replaced, leave room for a busy node. A look costs about a millisecond.
const TIMING: AutoConfigTiming = {
  lookMs: 1_000,
  settleMs: 50,
  graceMs: 500,
  minMs: 1_000,
  // While we wait, pods may start without their networks: not longer than a crashed agent is away.
  maxMs: 30_000,
};

/** Extensions that runtimes look for. */
const CONF_EXTENSIONS: readonly string[] = [".conf", ".conflist", ".json"];

/** The configurations that a look has read; a directory that cannot be read is an error instead. */
interface Found {
  /** In `multusAutoconfigDir`. */
  readonly primary: readonly Candidate[];
  /** Beside our file. */
  readonly beside: readonly Candidate[];
}

/**
 * Looks once and brings our file into place, then goes on in the background.
 * It throws for nothing that it finds: that is in its state.
 */
export async function startAutoConfig(
  options: AutoConfigOptions,
): Promise<AutoConfig> {
  const keeper = new Keeper(options);
  await keeper.start();
  return keeper;
}

/** Where our file is to lie: a copy keeps its name, as with the Go daemon, if runtimes find it by that. */
export function ownFileOf(
  conf: Pick<DaemonConf, "cniConfigDir" | "multusConfigFile">,
): string {
  const { cniConfigDir, multusConfigFile = "" } = conf;
  const isFound = CONF_EXTENSIONS.includes(extname(multusConfigFile));
  const isCopy = modeOf(conf) === "copy" && isFound;
  return resolve(cniConfigDir, isCopy ? basename(multusConfigFile) : OWN_FILE);
}

class Keeper implements AutoConfig {
  readonly #onEvent: (event: AutoConfigEvent) => void;
  readonly #timing: AutoConfigTiming;
  readonly #seeker = new Seeker();
  #conf: DaemonConf;
  #placer: Placer;
  #watch: DirWatch | undefined;
  #sought: Sought = {};
  #problems: readonly Problem[] = [];
  #running: Promise<void> = Promise.resolve();
  /** Looks come one after the other. */
  #looking: Promise<void> = Promise.resolve();
  #isStopped = false;
  #isHinted = false;
  #onStop: () => void = () => {};
  #onHint: () => void = () => {};

  constructor({ conf, onEvent, timing }: AutoConfigOptions) {
    this.#conf = conf;
    this.#placer = new Placer(ownFileOf(conf));
    this.#onEvent = onEvent;
    this.#timing = { ...TIMING, ...timing };
  }

  async start(): Promise<void> {
    await this.#inTurn(() => this.#begin());
    this.#running = this.#run();
  }

  probe(): Check {
    const { problems, reason } = this.state();
    return { name: "configuration", ok: problems.length === 0, reason };
  }

  state(): AutoConfigState {
    const mode = modeOf(this.#conf);
    const { wanted } = this.#sought;
    const { placed, repairs } = this.#placer;
    const problems = this.#problems;
    const good = wanted?.reason ?? "No configuration is written for runtimes";
    return {
      mode,
      ...(mode !== "off" && { file: this.#placer.path }),
      effective: problems.every(({ kind }) => kind !== "not-effective"),
      ...(wanted?.source !== undefined && { chosen: wanted.source }),
      reason: problems.map(({ reason }) => reason).join("; ") || good,
      problems,
      ...(placed !== undefined && {
        sha256: placed.sha256,
        changedAt: placed.changedAt,
      }),
      repairs,
    };
  }

  async reconfigure(conf: DaemonConf): Promise<void> {
    await this.#inTurn(async () => {
      const before = this.#placer;
      const path = ownFileOf(conf);
      const isOther = path !== before.path;
      this.#conf = conf;
      this.#seeker.reset({ all: isOther });
      if (isOther) this.#placer = new Placer(path);
      if (modeOf(conf) === "off") this.#sought = {};
      await this.#unwatch();
      await this.#begin();
      const isReplaced = isOther && this.#placer.placed !== undefined;
      if (isReplaced && before.placed !== undefined) {
        await removeOwnFile(before.path);
        await this.#look();
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    this.#onStop();
    await this.#running;
    await this.#inTurn(() => this.#unwatch());
    const isKept = modeOf(this.#conf) === "off" ||
      !this.#conf.cleanupConfigOnExit;
    if (!isKept) await removeOwnFile(this.#placer.path);
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#pause();
      if (!this.#isStopped) await this.#inTurn(() => this.#look());
    }
  }

  /** Waits for a hint or for the time of the next look. */
  async #pause(): Promise<void> {
    const { lookMs, settleMs, graceMs } = this.#timing;
    const untilNext = this.#seeker.isWaiting
      ? Math.min(graceMs, lookMs)
      : lookMs;
    if (!this.#isHinted) {
      await this.#sleep(untilNext, (wake) => this.#onHint = wake);
    }
    this.#onHint = (): void => {};
    // Hints do not shorten this: who writes all the time costs a look each time it has passed.
    if (this.#isHinted) await this.#sleep(settleMs, () => {});
    this.#isHinted = false;
  }

  async #sleep(
    ms: number,
    register: (wake: () => void) => void,
  ): Promise<void> {
    if (this.#isStopped) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#onStop = resolve;
    register(resolve);
    await promise;
    clearTimeout(timer);
  }

  #inTurn(step: () => Promise<void>): Promise<void> {
    const done = this.#looking.then(step);
    this.#looking = done.catch(() => {}); // told to who asked for this step, not to the next
    return done;
  }

  async #begin(): Promise<void> {
    const { cniConfigDir, multusAutoconfigDir } = this.#conf;
    if (modeOf(this.#conf) !== "off") {
      const dirs = new Set([cniConfigDir, multusAutoconfigDir]);
      this.#watch = watchDirs([...dirs].map((dir) => resolve(dir)), () => {
        this.#isHinted = true;
        this.#onHint();
      });
      await removeLeftovers(cniConfigDir);
      await this.#adopt();
    }
    await this.#look();
  }

  async #unwatch(): Promise<void> {
    await this.#watch?.[Symbol.asyncDispose]();
    this.#watch = undefined;
  }

  /** What lies there from before stays until there is something better, if it is whole. */
  async #adopt(): Promise<void> {
    if (this.#placer.placed !== undefined) return;
    const options = { name: basename(this.#placer.path), conf: this.#conf };
    const isGood = (text: string): boolean => {
      try {
        assertMultusConf(text, options);
        return true;
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
        return false;
      }
    };
    try {
      const text = await this.#placer.adopt(isGood);
      if (text !== undefined) this.#seeker.adopt(text);
    } catch {
      return; // the look that follows meets the same, and tells it
    }
  }

  async #look(): Promise<void> {
    this.#watch?.refresh();
    const chosenBefore = this.#sought.wanted?.source;
    let placing: Placing = {};
    let problems: (Problem | undefined)[];
    try {
      if (modeOf(this.#conf) !== "off") {
        const found = await this.#read();
        this.#sought = await this.#seek(found);
        placing = await this.#place(found);
      }
      problems = [
        this.#primaryProblem(),
        toProblem("not-effective", placing.problem),
        toProblem("indicator-missing", await this.#indicatorProblem()),
      ];
    } catch (error) {
      const reason = `Cannot look after ${this.#placer.path}: ${
        reasonOf(error)
      }`;
      problems = [toProblem("not-effective", reason)];
    }
    this.#tell(
      problems.filter((problem) => problem !== undefined),
      { placing, chosenBefore },
    );
  }

  async #read(): Promise<Found> {
    const { multusAutoconfigDir, multusMasterCNI } = this.#conf;
    const dir = dirname(this.#placer.path);
    const beside = await readCandidates(dir);
    if (modeOf(this.#conf) === "copy") return { primary: [], beside };
    const isSame = resolve(multusAutoconfigDir) === dir &&
      multusMasterCNI === undefined;
    const primary = isSame
      ? beside
      : await readCandidates(multusAutoconfigDir, multusMasterCNI);
    return { primary, beside };
  }

  async #seek({ primary }: Found): Promise<Sought> {
    const { multusConfigFile = "" } = this.#conf;
    if (modeOf(this.#conf) === "copy") {
      return await this.#seeker.seekCopy(this.#conf, multusConfigFile);
    }
    return this.#seeker.seekChoice(this.#conf, {
      // Ours is none, whatever somebody has written into it.
      candidates: primary.filter(({ path }) => path !== this.#placer.path),
      name: basename(this.#placer.path),
      now: performance.now(),
      graceMs: this.#timing.graceMs,
    });
  }

  async #place({ beside }: Found): Promise<Placing> {
    const { wanted } = this.#sought;
    const { path } = this.#placer;
    if (wanted === undefined) {
      return { problem: `No configuration has been written yet: ${path}` };
    }
    const placing = await this.#placer.place(wanted.text, {
      now: performance.now(),
      pace: this.#timing,
    });
    if (placing.problem !== undefined) return placing;
    const before = findOutSorting(beside, basename(path));
    if (before === undefined) return placing;
    const problem = `${quote(before.name)} sorts before ${
      quote(basename(path))
    } in ${dirname(path)}: runtimes use it, and pods get no other network`;
    return { ...placing, problem };
  }

  #primaryProblem(): Problem | undefined {
    const { missing, wanted } = this.#sought;
    const kept = wanted === undefined
      ? ""
      : "; the last good configuration is kept";
    return toProblem("primary-missing", missing && `${missing}${kept}`);
  }

  async #indicatorProblem(): Promise<string | undefined> {
    const { readinessIndicatorFile: path } = this.#conf;
    if (path === undefined || await isThere(path)) return undefined;
    return `The default network's readiness indicator is not there: ${path}`;
  }

  #tell(
    problems: readonly Problem[],
    { placing, chosenBefore }: {
      placing: Placing;
      chosenBefore: string | undefined;
    },
  ): void {
    const { wanted } = this.#sought;
    const { path } = this.#placer;
    const events: AutoConfigEvent[] = [];
    if (wanted?.source !== chosenBefore && wanted !== undefined) {
      events.push({
        kind: "chosen",
        message: wanted.reason,
        isWarning: false,
      });
    }
    if (placing.isWritten) {
      events.push({
        kind: "written",
        message: `Wrote ${path}`,
        isWarning: false,
      });
    }
    const before = this.#problems;
    this.#problems = problems;
    events.push(
      ...tellRepair(placing, { path, before }),
      ...tellProblems(before, problems),
    );
    for (const event of events) this.#onEvent(event);
  }
}

/** A repair is told together with what had happened, unless that was told when there was no repair yet. */
function tellRepair(
  { repaired }: Placing,
  { path, before }: { path: string; before: readonly Problem[] },
): AutoConfigEvent[] {
  if (repaired === undefined) return [];
  const isTold = before.some(({ reason }) => reason === repaired);
  const events: AutoConfigEvent[] = [
    { kind: "not-effective", message: repaired, isWarning: true },
    { kind: "repaired", message: `Put back ${path}`, isWarning: false },
  ];
  return isTold ? events.slice(1) : events;
}

function toProblem(
  kind: Problem["kind"],
  reason: string | undefined,
): Problem | undefined {
  return reason === undefined ? undefined : { kind, reason };
}
