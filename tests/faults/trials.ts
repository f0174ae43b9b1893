/** Faults that are a row of trials on one ground. */
import { createTally, type Fault, type Outcome, type Size } from "./fault.ts";
import { type Ground, prepareGround } from "./ground.ts";

/** One trial: its name, and what makes the fault happen and says what was wrong afterwards. */
export type Trial = readonly [
  name: string,
  run: (ground: Ground) => Promise<readonly string[] | void>,
];

/** What a row of trials is tried on, and what is tried. */
export interface TrialsOptions {
  /** Makes the ground; the usual one, if left out. */
  readonly prepare?: () => Promise<Ground>;
  /** The trials start the daemon themselves. */
  readonly startsDaemon?: boolean;
  /** In the order in which they are tried. */
  readonly trials: (size: Size) => Iterable<Trial>;
}

/** The fault of this name: one trial after the other, with a daemon that runs when the first begins. */
export function faultOf(
  name: string,
  { prepare = prepareGround, startsDaemon = false, trials }: TrialsOptions,
): Fault {
  return {
    name,
    async run(size, say): Promise<Outcome> {
      await using ground = await prepare();
      if (!startsDaemon) await ground.startDaemon();
      const tally = createTally(say);
      for (const [trial, run] of trials(size)) {
        await tally.trial(trial, () => run(ground));
      }
      return tally.outcome();
    },
  };
}

/** The same trials, again and again. */
export function repeat(times: number, trials: readonly Trial[]): Trial[] {
  return Array.from({ length: times }, () => trials).flat();
}
