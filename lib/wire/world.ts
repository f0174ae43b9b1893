/**
 * What the shim has of its process: how it was started, the environment, stdin and stdout. Both halves of it,
 * the usual call and the whole program, read and write through here, so that either runs in a test as well.
 *
 * CNI specification, section 2 (execution protocol).
 *
 * @module
 */

import { TRACE_NAMES } from "./request.ts";

/** What the shim needs of its process. */
export interface World {
  /** The command line; empty when a runtime executes it. */
  readonly args: readonly string[];
  /** The name that the program was started by, without its directory. */
  readonly programName: string;
  /** Reads one variable of the environment. */
  readonly env: (name: string) => string | undefined;
  /** Where the configuration comes from. */
  readonly stdin: {
    readSync(buffer: Uint8Array): number | null;
    isTerminal(): boolean;
  };
  /** Where the result goes, or the error. */
  readonly stdout: { writeSync(bytes: Uint8Array): number };
  /** For a person at a terminal. */
  readonly stderr: { writeSync(bytes: Uint8Array): number };
}

/** What it is called as the plugin that does nothing; the endings are those of a program that is not built. */
const PASSTHRU_NAMES = ["passthru", "passthru.js", "passthru.ts"];

/** The variables that are the daemon's to know; everything else in the environment stays here. */
const ENV_NAMES = [
  "CNI_COMMAND",
  "CNI_CONTAINERID",
  "CNI_NETNS",
  "CNI_IFNAME",
  "CNI_ARGS",
  "CNI_PATH",
  ...TRACE_NAMES,
] as const;

/** Tells whether the program was started by the name of the plugin that does nothing. */
export function isPassthruName(programName: string): boolean {
  return PASSTHRU_NAMES.includes(programName);
}

/** The variables that go to the daemon. */
export function readCallEnv(env: World["env"]): Record<string, string> {
  const read: Record<string, string> = {};
  for (const name of ENV_NAMES) {
    const value = env(name);
    if (value !== undefined) read[name] = value;
  }
  return read;
}

/** Writes all of a text. */
export function print(
  to: { writeSync(bytes: Uint8Array): number },
  text: string,
): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}
