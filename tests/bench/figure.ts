/**
 * One row of the benchmark: what was measured, the floor that was measured
 * beside it, and how far from the floor it may be. Where figure and floor were
 * measured in turns, each round is judged by its own floor and the median of
 * the rounds counts: the processors of a machine that is shared run at half
 * their speed one second and at all of it the next, and the median of all
 * figures may be of one kind, that of all floors of the other.
 */
import { exactly, type Sample, summarize } from "./statistics.ts";

/** What a figure is counted in. */
export type Unit = "ms" | "MB" | "kB" | "/s" | "requests" | "%";

/** One row. */
export interface Figure {
  readonly name: string;
  readonly unit: Unit;
  readonly value: Sample;
  /** What the floor is, and what it came to in the same run. */
  readonly floor?: { readonly what: string; readonly value: Sample };
  /** How the limit is worded, and what it is in this run. */
  readonly limit: { readonly rule: string; readonly value: number };
  /** Of rounds: how the value stands to its floor, and to the limit that follows from it. */
  readonly rounds?: { readonly ratio: Sample; readonly share: Sample };
  /** Whether the value must not be above the limit, or not below it. */
  readonly sense: "at most" | "at least";
  /** More about it, for a person. */
  readonly note?: string;
}

/** How a figure is made from its floor. */
export interface FloorRule {
  readonly what: string;
  readonly factor: number;
  readonly plus?: number;
}

/** A figure that may be so many times its floor, and a little more. */
export function overFloor(
  name: string,
  unit: Unit,
  parts: {
    value: Sample;
    floor: Sample;
    rule: FloorRule;
    sense?: Figure["sense"];
    note?: string;
  },
): Figure {
  const { value, floor, rule, sense = "at most", note } = parts;
  const { factor, plus = 0 } = rule;
  const tail = plus === 0 ? "" : ` + ${plus} ${unit}`;
  return {
    name,
    unit,
    value,
    floor: { what: rule.what, value: floor },
    limit: { rule: `${factor} x${tail}`, value: floor.median * factor + plus },
    sense,
    ...(note === undefined ? {} : { note }),
  };
}

/** What was measured in one round. */
export interface Round {
  readonly value: number;
  readonly floor: number;
}

/** A figure over its floor, measured in turns with it. */
export function overFloorInRounds(
  name: string,
  unit: Unit,
  parts: {
    rounds: readonly Round[];
    rule: FloorRule;
    sense?: Figure["sense"];
    note?: string;
  },
): Figure {
  const { rounds, rule, ...rest } = parts;
  const { factor, plus = 0 } = rule;
  const figure = overFloor(name, unit, {
    value: summarize(rounds.map(({ value }) => value)),
    floor: summarize(rounds.map(({ floor }) => floor)),
    rule,
    ...rest,
  });
  const ratio = rounds.map(({ value, floor }) => value / floor);
  const share = rounds.map(({ value, floor }) =>
    value / (floor * factor + plus)
  );
  return {
    ...figure,
    rounds: { ratio: summarize(ratio), share: summarize(share) },
  };
}

/** A figure with a limit of its own. */
export function within(
  name: string,
  unit: Unit,
  parts: { value: Sample | number; limit: number; note?: string },
): Figure {
  const { value, limit, note } = parts;
  return {
    name,
    unit,
    value: typeof value === "number" ? exactly(value) : value,
    limit: { rule: `${limit} ${unit}`, value: limit },
    sense: "at most",
    ...(note === undefined ? {} : { note }),
  };
}

/** Whether a figure keeps its limit. */
export function holds({ value, limit, sense, rounds }: Figure): boolean {
  const [found, allowed] = rounds === undefined
    ? [value.median, limit.value]
    : [rounds.share.median, 1];
  return sense === "at most" ? found <= allowed : found >= allowed;
}

/** Cost at several sizes of one thing: printed, not judged. */
export interface Curve {
  readonly name: string;
  readonly of: string;
  readonly unit: Unit;
  readonly points: readonly { readonly at: number; readonly value: Sample }[];
}
