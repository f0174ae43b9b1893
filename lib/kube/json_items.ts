/**
 * Takes the objects of a list out of the answer while it arrives, so that a list of
 * many pods is never in memory as a whole: each item is parsed, handed on, and
 * forgotten. What stands around the items is small and is parsed at the end.
 *
 * @module
 */

/** Cuts a list's JSON into its items. */
export interface ItemScanner {
  /** Takes the next piece of text; items that end in it are handed on. */
  push(text: string): void;
  /** What stands around the items, which are left out. @throws {SyntaxError} when the text has not ended well. */
  finish(): unknown;
}

/** The API server takes no object above 1.5 MB; with managed fields and conversion it may come back bigger. */
const ITEM_CHARS_MAX = 8_000_000;

const QUOTE = 34;
const BACKSLASH = 92;
const BRACKET_OPEN = 91;
const BRACKET_CLOSE = 93;
const BRACE_OPEN = 123;
const BRACE_CLOSE = 125;

/**
 * Makes a scanner that hands every element of the top level member `items` to
 * `onItem`.
 */
export function createItemScanner(
  onItem: (item: unknown) => void,
): ItemScanner {
  let envelope = "";
  let item: string | undefined;
  let depth = 0;
  let inItems = false;
  let inString = false;
  let escaped = false;

  /** Puts text where it belongs. */
  const keep = (text: string): void => {
    if (item === undefined) envelope += text;
    else item += text;
    if ((item ?? envelope).length > ITEM_CHARS_MAX) {
      throw new SyntaxError("Object in a list is too big");
    }
  };
  /** Reads one structural character; returns where the text not kept yet begins. */
  const step = (
    code: number,
    text: string,
    at: [start: number, index: number],
  ): number => {
    const [start, index] = at;
    if (code === BRACKET_OPEN || code === BRACE_OPEN) {
      depth += 1;
      if (inItems && depth === 3) {
        keep(text.slice(start, index));
        // The commas between items stay out of the envelope with them.
        envelope = envelope.replace(/,\s*$/, "");
        item = "";
        return index;
      }
      if (depth === 2 && code === BRACKET_OPEN) {
        const before = envelope + text.slice(start, index);
        inItems = /"items"\s*:\s*$/.test(before);
      }
      return start;
    }
    depth -= 1;
    if (item !== undefined && depth === 2) {
      keep(text.slice(start, index + 1));
      const whole = item;
      item = undefined;
      onItem(JSON.parse(whole));
      return index + 1;
    }
    if (inItems && depth === 1) inItems = false;
    return start;
  };
  return {
    push: (text) => {
      let start = 0;
      for (let index = 0; index < text.length; index += 1) {
        const code = text.charCodeAt(index);
        if (escaped) escaped = false;
        else if (inString) {
          if (code === BACKSLASH) escaped = true;
          else if (code === QUOTE) inString = false;
        } else if (code === QUOTE) inString = true;
        else if (
          code === BRACKET_OPEN || code === BRACE_OPEN ||
          code === BRACKET_CLOSE || code === BRACE_CLOSE
        ) {
          start = step(code, text, [start, index]);
        }
      }
      keep(text.slice(start));
    },
    finish: () => {
      if (item !== undefined) throw new SyntaxError("List ends within an item");
      return JSON.parse(envelope);
    },
  };
}
