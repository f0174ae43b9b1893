/** Chance that is the same each time: what went wrong once can be made to go wrong again. */

/** A source of chance. */
export interface Random {
  /** From 0 up to below 1. */
  fraction(): number;
  /** A whole number from 0 up to below `limit`. */
  below(limit: number): number;
  /** One of them. */
  pick<T>(items: readonly T[]): T;
  /** So many bytes. */
  bytes(length: number): Uint8Array;
  /** So many letters, digits, and other characters. */
  text(length: number): string;
}

const CHARACTERS =
  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:;=/";

/** Makes a source from a seed (mulberry32, which is small and good enough to be surprised by). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(fraction() * limit);
  return {
    fraction,
    below,
    pick: (items) => items[below(items.length)] as (typeof items)[number],
    bytes: (length) => Uint8Array.from({ length }, () => below(256)),
    text: (length) =>
      Array.from({ length }, () => CHARACTERS[below(CHARACTERS.length)])
        .join(""),
  };
}
