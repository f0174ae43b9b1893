/**
 * Whether the daemon can take ADDs, and why not. Each part of the daemon says
 * what it knows of itself when it is asked; nothing is polled here.
 */
import { CniError, ErrorCode } from "../cni/error.ts";
import type { Check } from "./server.ts";

/** Says how it stands with one part. */
export type Probe = () => Check;

/** The readiness of the daemon. */
export interface Readiness {
  /** Adds a part that has a say. */
  watch(probe: Probe): void;
  /** From now on the daemon is not ready: it is shutting down. */
  shutDown(): void;
  /** Whether it is. */
  readonly isShuttingDown: boolean;
  /** All parts, in the order in which they were added. */
  checks(): readonly Check[];
}

/** Makes a readiness without parts. */
export function createReadiness(): Readiness {
  const probes: Probe[] = [];
  let isShuttingDown = false;
  return {
    watch: (probe) => void probes.push(probe),
    get isShuttingDown(): boolean {
      return isShuttingDown;
    },
    shutDown(): void {
      isShuttingDown = true;
    },
    checks(): Check[] {
      const serving = isShuttingDown
        ? { name: "serving", ok: false, reason: "the daemon is shutting down" }
        : { name: "serving", ok: true, reason: "requests are taken" };
      return [serving, ...probes.map((probe) => probe())];
    },
  };
}

/** Whether a file is there; one that cannot be looked at is not. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

/** The default network's agent writes its file within seconds of its start: looked for often, it costs a stat. */
const INDICATOR_LOOK_MS = 200;

/** As long as the Go daemon waits: longer than an agent takes to start, and the pod's owner reads why soon enough. */
const INDICATOR_WAIT_MS = 45_000;

/**
 * Waits until the default network shows its sign of life. Needs read of the file.
 *
 * @throws {CniError} 11 when it is not there in time.
 * @throws the signal's reason when that is not about time.
 */
export async function waitForIndicator(
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const end = performance.now() + INDICATOR_WAIT_MS;
  while (!await isThere(path)) {
    const isOver = performance.now() > end;
    if (signal.aborted && !isTimeout(signal.reason)) throw signal.reason;
    if (isOver || signal.aborted) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `The default network is not ready: its readiness indicator is not there: ${path}: does its agent run on this node?`,
        {
          cause: new DOMException(
            "Readiness deadline exceeded",
            "TimeoutError",
          ),
        },
      );
    }
    await pause(INDICATOR_LOOK_MS, signal);
  }
}

/** The request's own deadline comes as a CniError around it. */
function isTimeout(reason: unknown): boolean {
  if (reason instanceof CniError) return isTimeout(reason.cause);
  return reason instanceof DOMException && reason.name === "TimeoutError";
}

/** Returns after so long, or when the signal is given. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
