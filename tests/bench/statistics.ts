/**
 * Medians and their spread: what a figure is when the machine is noisy and
 * several rounds were made.
 */

/** What several measurements of one thing come to. */
export interface Sample {
  readonly median: number;
  /** A quarter of the measurements lie below. */
  readonly low: number;
  /** A quarter of the measurements lie above. */
  readonly high: number;
  readonly count: number;
}

/** Sums measurements up; at least one is needed. */
export function summarize(values: readonly number[]): Sample {
  if (values.length === 0) throw new RangeError("Nothing was measured");
  const sorted = values.toSorted((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    low: quantile(sorted, 0.25),
    high: quantile(sorted, 0.75),
    count: sorted.length,
  };
}

/** A number that was not measured several times, such as a size. */
export function exactly(value: number): Sample {
  return { median: value, low: value, high: value, count: 1 };
}

function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)] ?? 0;
  const above = sorted[Math.ceil(at)] ?? below;
  return below + (above - below) * (at - Math.floor(at));
}
