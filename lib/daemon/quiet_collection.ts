/**
 * Garbage is collected when nothing is to be done. V8 collects while memory is
 * asked for, so what the last burst of pods left, or reading the lists at the
 * start, stays until the next one: on most nodes, for hours. What is collected
 * here is given back to the system.
 *
 * A collection takes some 30 ms. It waits for a time without work that makes
 * this less than a hundredth of a processor, whatever the rhythm of pods.
 *
 * Needs the flag `--expose-gc` (see `V8_FLAGS`); nothing is done without.
 *
 * @module
 */

/** Collects when it is quiet, until it is disposed of. */
export interface QuietCollection extends Disposable {
  /** Says that something was done. */
  noteWork(): void;
}

/** How it is collected, and when. */
export interface QuietOptions {
  /** Collects; V8's own unless given. */
  readonly collect?: (() => void) | undefined;
  /** How long there must have been no work. */
  readonly quietMs?: number;
  /** How long after the start for the first time. */
  readonly startMs?: number;
}

const QUIET_MS = 5_000;
/** The lists of pods and networks are read by then. */
const START_MS = 2_000;

/** Begins with a collection after the start. */
export function startQuietCollection(
  options: QuietOptions = {},
): QuietCollection {
  const { collect = findCollector(), quietMs = QUIET_MS, startMs = START_MS } =
    options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let workedAt = -Infinity;
  const look = (): void => {
    const restMs = workedAt + quietMs - performance.now();
    timer = restMs > 0 ? setTimeout(look, restMs) : undefined;
    if (restMs <= 0) collect?.();
  };
  let isDisposed = false;
  timer = setTimeout(look, startMs);
  return {
    // One timer for a whole burst: it looks at the time itself.
    noteWork(): void {
      if (isDisposed) return;
      workedAt = performance.now();
      timer ??= setTimeout(look, quietMs);
    },
    [Symbol.dispose](): void {
      isDisposed = true;
      clearTimeout(timer);
    },
  };
}

interface Collector {
  (how: { type: "major"; flavor: "last-resort" }): void;
}

/** All that can be collected, compiled code that is not used included; an ordinary collection leaves 3 MB more. */
function findCollector(): (() => void) | undefined {
  const { gc } = globalThis as { gc?: Collector };
  return gc && (() => gc({ type: "major", flavor: "last-resort" }));
}
