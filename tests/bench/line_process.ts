/**
 * A process that answers each line that it is told with one line.
 *
 * Needs run of the program.
 */
import { TextLineStream } from "./lines.ts";

/** The process has ended instead of answering. */
export class NoAnswerError extends Error {
  override readonly name = "NoAnswerError";
}

/** A process to talk to; it ends when it is disposed of. */
export interface LineProcess extends AsyncDisposable {
  readonly pid: number;
  /** Says a line, and gives the line that comes back. */
  tell(line: string): Promise<string>;
}

/** Starts one. */
export function startLineProcess(
  [program, ...args]: readonly [string, ...string[]],
): LineProcess {
  const child = new Deno.Command(program, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  const reader = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  return {
    pid: child.pid,
    tell: async (line) => {
      await writer.write(new TextEncoder().encode(`${line}\n`));
      const { value } = await reader.read();
      if (value === undefined) throw new NoAnswerError(`No answer: ${program}`);
      return value;
    },
    [Symbol.asyncDispose]: async () => {
      await writer.close();
      await reader.cancel();
      await child.status;
    },
  };
}
