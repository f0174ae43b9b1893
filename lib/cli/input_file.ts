/**
 * Files that an operator names on the command line: multusctl may read few
 * directories, so anything else comes in on standard input.
 *
 * Needs: read of the file.
 */
import { type CliWorld, UsageError } from "./command.ts";

/** A list of all NetworkAttachmentDefinitions of a cluster stays below it. */
const BYTES_MAX = 16 * 1024 * 1024;

/**
 * The text of a file; `-` is standard input.
 *
 * @throws {UsageError} when there is no such file, or it may not be read, with what to do instead.
 */
export async function readInput(
  path: string,
  world: Pick<CliWorld, "readStdin">,
): Promise<string> {
  if (path === "-") return await (world.readStdin ?? readStdin)();
  try {
    const { size } = await Deno.stat(path);
    if (size > BYTES_MAX) throw tooLarge(path);
    return await Deno.readTextFile(path);
  } catch (error) {
    throw toUsageError(path, error);
  }
}

function toUsageError(path: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) {
    return new UsageError(
      `multusctl may not read ${path}: give it on standard input, as - < ${path}`,
      { cause: error },
    );
  }
  if (error instanceof Deno.errors.NotFound) {
    return new UsageError(`No such file: ${path}`, { cause: error });
  }
  return error;
}

function tooLarge(path: string): RangeError {
  return new RangeError(`File is larger than ${BYTES_MAX} bytes: ${path}`);
}

async function readStdin(): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of Deno.stdin.readable) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > BYTES_MAX) throw tooLarge("-");
  }
  return text + decoder.decode();
}
