/**
 * What a fault test is: something that goes wrong, again and again, and the
 * books afterwards. `main.ts` runs all of them in full and shows the table, the
 * tests beside run a part of each.
 */

/** How much of a fault is tried. */
export type Size = "bounded" | "full";

/** What became of it. */
export interface Outcome {
  /** How often the fault was made to happen. */
  readonly tried: number;
  /** How often everything was as it should be afterwards. */
  readonly survived: number;
  /** What was left that should not be, and what was wrong otherwise; nothing is what is wanted. */
  readonly leftOver: readonly string[];
}

/** One kind of fault. */
export interface Fault {
  /** What goes wrong, in a few words. */
  readonly name: string;
  /** Makes it go wrong; `say` hears how far it has come. */
  run(size: Size, say: (text: string) => void): Promise<Outcome>;
}

/** Counts what survives, one trial after the other. */
export interface Tally {
  /** Runs one trial: it survives when it throws nothing and finds nothing. */
  trial(
    name: string,
    run: () => Promise<readonly string[] | void>,
  ): Promise<void>;
  /** What became of all of them. */
  outcome(): Outcome;
}

/** How much of an error is worth a line of the table. */
const REASON_LENGTH_MAX = 600;

/** Makes a tally that begins at nothing. */
export function createTally(say: (text: string) => void): Tally {
  const leftOver: string[] = [];
  let tried = 0;
  let survived = 0;
  return {
    async trial(name, run): Promise<void> {
      tried += 1;
      let found: readonly string[];
      try {
        found = await run() ?? [];
      } catch (error) {
        found = [String(error).slice(0, REASON_LENGTH_MAX)];
      }
      if (found.length === 0) survived += 1;
      leftOver.push(...found.map((what) => `${name}: ${what.trim()}`));
      say(`${tried} tried, ${survived} survived`);
    },
    outcome: () => ({ tried, survived, leftOver }),
  };
}
