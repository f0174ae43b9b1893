/**
 * Reading the bodies of answers: bounded, within a deadline, and never left half
 * read, because that would keep a connection.
 *
 * @module
 */
import type { Deadline } from "./deadline.ts";

/** Reads a body as text. @throws {RangeError} when it is longer than `charsMax`. */
export async function readText(
  response: Response,
  charsMax: number,
): Promise<string> {
  let text = "";
  await forEachText(response, (piece) => {
    text += piece;
    if (text.length > charsMax) {
      throw new RangeError(`Answer is longer than ${charsMax} characters`);
    }
  });
  return text;
}

/**
 * Hands a body on in pieces of text. A deadline that is given begins anew with
 * each piece.
 */
export async function forEachText(
  response: Response,
  onText: (piece: string) => void,
  deadline?: Deadline,
): Promise<void> {
  if (response.body === null) return;
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      deadline?.extend();
      onText(decoder.decode(value, { stream: true }));
    }
    onText(decoder.decode());
  } finally {
    // Cancelling a body that ended, or broke, does nothing.
    await reader.cancel().catch(() => {});
  }
}

/** One event is one object; see the bound of an item in a list. */
const LINE_CHARS_MAX = 8_000_000;

/** Hands a body on line by line; a last line that has no end is dropped. */
export async function forEachLine(
  response: Response,
  onLine: (line: string) => void,
  deadline?: Deadline,
): Promise<void> {
  let rest = "";
  await forEachText(response, (piece) => {
    let start = 0;
    for (
      let end = piece.indexOf("\n");
      end >= 0;
      end = piece.indexOf("\n", start)
    ) {
      onLine(rest + piece.slice(start, end));
      rest = "";
      start = end + 1;
    }
    rest += piece.slice(start);
    if (rest.length > LINE_CHARS_MAX) {
      throw new RangeError(`Line is longer than ${LINE_CHARS_MAX} characters`);
    }
  }, deadline);
}

/** Gives a body up unread. */
export async function discard(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => {});
}
