/**
 * How often our configuration is put back when another agent takes it away:
 * at once the first time, then ever more rarely, so that two agents that want
 * different things do not rewrite a node's configuration all day. Pure.
 *
 * @module
 */

/** What happened to the file that was there. */
export type Tampering = "renamed" | "deleted" | "changed";

/** The bounds of the waits between repairs. */
export interface RepairPace {
  /** Wait after the first repair. */
  readonly minMs: number;
  /** Wait after many. */
  readonly maxMs: number;
}

/** Repairs further apart than this have nothing to do with each other: an agent renames files when it starts. */
const WINDOW_MS = 600_000;

/** Whoever did it so often will do it again. */
const OFTEN = 3;

/** More doublings than any wait needs. */
const DOUBLINGS_MAX = 20;

const DOING: Readonly<Record<Tampering, string>> = {
  renamed: "renaming us",
  deleted: "deleting us",
  changed: "changing our file",
};

/** The repairs, given by when they were made, that still count. */
export function recentRepairs(
  repairs: readonly number[],
  now: number,
): number[] {
  return repairs.filter((at) => now - at < WINDOW_MS);
}

/** When the next repair may be made: at once if none was made lately. */
export function nextRepairAt(
  repairs: readonly number[],
  { minMs, maxMs }: RepairPace,
): number {
  const last = repairs.at(-1);
  if (last === undefined) return -Infinity;
  const doublings = Math.min(repairs.length - 1, DOUBLINGS_MAX);
  return last + Math.min(maxMs, minMs * 2 ** doublings);
}

/** What to say when the same is done to our file again and again; empty otherwise. */
export function describeHabit(
  repairs: readonly number[],
  tampering: Tampering,
): string {
  if (repairs.length < OFTEN) return "";
  return `another agent keeps ${
    DOING[tampering]
  }: repaired ${repairs.length} times in ${WINDOW_MS / 60_000} minutes`;
}
