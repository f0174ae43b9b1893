/**
 * Default routes inside a pod's network namespace, changed by way of the script `default-route`: this
 * process can enter no namespace and may run nothing but that. It leaves alone which attachment the
 * default route belongs to; `lib/selection` decides that.
 *
 * @module
 */

import { CniError, ErrorCode } from "../cni/error.ts";
import { type ProcessOutcome, runProcess } from "../cni/process.ts";

/** Which address family. */
export type Family = 4 | 6;

/** Changes the default routes of one interface in one network namespace. */
export interface DefaultRoutes {
  /**
   * Takes away all default routes of the family that lead through the interface; none is no error.
   *
   * @throws {CniError} 5 the script's or the kernel's reason, 11 when it was ended by the signal
   */
  remove(
    netns: string,
    ifname: string,
    family: Family,
    options: { readonly signal: AbortSignal },
  ): Promise<void>;
  /**
   * Sets the family's default route through the interface to the gateway, in the place of one that is there.
   *
   * @throws {CniError} 5 the script's or the kernel's reason, 11 when it was ended by the signal
   */
  add(
    netns: string,
    ifname: string,
    family: Family,
    gateway: string,
    options: { readonly signal: AbortSignal },
  ): Promise<void>;
}

/** `ip` says what is wrong in one line. */
const STDERR_BYTES_MAX = 512;

/**
 * Uses the installed script.
 *
 * Needs `--allow-run` for the script; the script needs to be root.
 */
export function createDefaultRoutes(scriptPath: string): DefaultRoutes {
  return {
    remove: (netns, ifname, family, { signal }) =>
      change([netns, ifname, String(family), "del"], { scriptPath, signal }),
    add: (netns, ifname, family, gateway, { signal }) =>
      change([netns, ifname, String(family), "add", gateway], {
        scriptPath,
        signal,
      }),
  };
}

async function change(
  args: readonly string[],
  { scriptPath, signal }: { scriptPath: string; signal: AbortSignal },
): Promise<void> {
  const outcome = await run(args, { scriptPath, signal });
  if (outcome.code === 0) return;
  const reason = outcome.stderr.trim().split("\n").at(0) ||
    `exit status ${outcome.code}`;
  throw new CniError(
    ErrorCode.ioFailure,
    `${describe(args)}: ${reason.replace(/^(?:default-route|Error): /, "")}`,
  );
}

async function run(
  args: readonly string[],
  { scriptPath, signal }: { scriptPath: string; signal: AbortSignal },
): Promise<ProcessOutcome> {
  try {
    return await runProcess(
      { path: scriptPath, args, stdin: "", signal },
      { stderrBytesMax: STDERR_BYTES_MAX },
    );
  } catch (cause) {
    const isEnded = signal.aborted && cause === signal.reason;
    const reason = isEnded
      ? "was ended before it was done"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new CniError(
      isEnded ? ErrorCode.tryAgainLater : ErrorCode.ioFailure,
      `${describe(args)}: ${reason}`,
      { cause },
    );
  }
}

function describe(
  [netns = "", ifname = "", family = "", action = ""]: readonly string[],
): string {
  const what = action === "add" ? "set" : "removed";
  return `IPv${family} default route of ${ifname} could not be ${what} in ${netns}`;
}
