/**
 * One line that says what is being done, on a terminal and for as long as it
 * is done; nothing at all where the output goes to a file or a program.
 */
import type { CliWorld } from "./command.ts";

/** The line; it is gone when it is disposed of. */
export interface Progress extends Disposable {
  /** Says what is done now. */
  say(what: string): void;
}

/** Back to the line's beginning, and everything behind it away. */
const CLEAR = "\r\x1b[K";

/** Starts a line on stderr. */
export function startProgress(
  { isErrorTerminal = false, stderr }: Pick<
    CliWorld,
    "isErrorTerminal" | "stderr"
  >,
): Progress {
  if (!isErrorTerminal) return { say: () => {}, [Symbol.dispose]: () => {} };
  return {
    say: (what) => stderr(`${CLEAR}${what} …`),
    [Symbol.dispose]: () => stderr(CLEAR),
  };
}
