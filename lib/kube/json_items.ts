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

/** The list's object, its list of items, an item. */
const ITEM_DEPTH = 3;

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
  return new Scanner(onItem);
}

class Scanner implements ItemScanner {
  readonly #onItem: (item: unknown) => void;
  #envelope = "";
  /** The item that has begun and not ended. */
  #item: string | undefined;
  #depth = 0;
  #inItems = false;
  #inString = false;
  #escaped = false;

  constructor(onItem: (item: unknown) => void) {
    this.#onItem = onItem;
  }

  push(text: string): void {
    let start = 0;
    for (let index = 0; index < text.length; index += 1) {
      const code = text.charCodeAt(index);
      if (this.#isInString(code)) continue;
      if (code === BRACKET_OPEN || code === BRACE_OPEN) {
        start = this.#open(code, text, [start, index]);
      } else if (code === BRACKET_CLOSE || code === BRACE_CLOSE) {
        start = this.#close(text, [start, index]);
      }
    }
    this.#keep(text.slice(start));
  }

  finish(): unknown {
    if (this.#item !== undefined) {
      throw new SyntaxError("List ends within an item");
    }
    return JSON.parse(this.#envelope);
  }

  /** Follows strings, whose brackets mean nothing. */
  #isInString(code: number): boolean {
    if (this.#escaped) {
      this.#escaped = false;
      return true;
    }
    if (!this.#inString) {
      this.#inString = code === QUOTE;
      return this.#inString;
    }
    if (code === BACKSLASH) this.#escaped = true;
    else if (code === QUOTE) this.#inString = false;
    return true;
  }

  /** Opens an object or a list; returns where the text that is not kept yet begins. */
  #open(code: number, text: string, [start, index]: Span): number {
    this.#depth += 1;
    if (this.#inItems && this.#depth === ITEM_DEPTH) {
      this.#keep(text.slice(start, index));
      // The commas between items stay out of the envelope with them.
      this.#envelope = this.#envelope.replace(/,\s*$/, "");
      this.#item = "";
      return index;
    }
    if (this.#depth === ITEM_DEPTH - 1 && code === BRACKET_OPEN) {
      const before = this.#envelope + text.slice(start, index);
      this.#inItems = /"items"\s*:\s*$/.test(before);
    }
    return start;
  }

  /** Closes an object or a list; returns where the text that is not kept yet begins. */
  #close(text: string, [start, index]: Span): number {
    this.#depth -= 1;
    if (this.#depth < ITEM_DEPTH - 1) this.#inItems = false;
    if (this.#item === undefined || this.#depth >= ITEM_DEPTH) return start;
    this.#keep(text.slice(start, index + 1));
    const whole = this.#item;
    this.#item = undefined;
    this.#onItem(JSON.parse(whole));
    return index + 1;
  }

  /** Puts text where it belongs. */
  #keep(text: string): void {
    if (this.#item === undefined) this.#envelope += text;
    else this.#item += text;
    if ((this.#item ?? this.#envelope).length > ITEM_CHARS_MAX) {
      throw new SyntaxError("Object in a list is too big");
    }
  }
}

/** From where to where in a piece of text. */
type Span = readonly [start: number, index: number];
