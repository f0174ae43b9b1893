/**
 * Edits JSON objects and arrays as text. A plugin must get what the author of
 * its configuration wrote: unknown keys, key order, white space and numbers
 * beyond 2^53 would not survive `JSON.parse` and `JSON.stringify`, so an edit
 * here finds the span of one value and splices. Only the top level of a text is
 * looked at; a nested object is taken out, edited, and put back.
 *
 * What this leaves alone: the meaning of any key, and the look of the output
 * (what is put in is put in as it is given).
 *
 * A key that stands twice counts as its last value, as in `JSON.parse` and in
 * the decoders that plugins use. An edit leaves exactly one of them, so that a
 * reader who would take the first, or merge both, sees the same as we do.
 *
 * @module
 */

/** A JSON value as text. */
export type JsonText = string;

/** A parsed JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** One member of an object, with its place in the object's text. */
export interface Member {
  /** The key, decoded. */
  readonly key: string;
  /** Where the key's opening quote stands. */
  readonly keyStart: number;
  /** Where the value starts. */
  readonly start: number;
  /** Where the value ends (exclusive). */
  readonly end: number;
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** Ten times what people write, and shallow enough for every recursive reader of a result. */
const DEPTH_MAX = 1000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Lists the top-level members of an object in the order in which they stand;
 * of a key that stands more than once, only the last.
 *
 * @throws {SyntaxError} if the text is not JSON, not an object, or nested too deep
 */
export function readMembers(objectText: JsonText): Member[] {
  const members = scanObject(objectText);
  const last = new Map(members.map((member) => [member.key, member]));
  return members.filter((member) => last.get(member.key) === member);
}

/**
 * Gives the text of a member's value, or undefined if there is none of that key.
 *
 * @throws {SyntaxError} if the text is not a JSON object
 */
export function getMember(
  objectText: JsonText,
  key: string,
): JsonText | undefined {
  const member = scanObject(objectText).findLast((member) =>
    member.key === key
  );
  return member && objectText.slice(member.start, member.end);
}

/**
 * Puts a value in the place of the one that stands under the key, or behind
 * the last member if none does. White space around the value is dropped, so that
 * setting it again changes nothing.
 *
 * @throws {SyntaxError} if the text is not a JSON object, or the value not JSON
 */
export function setMember(
  objectText: JsonText,
  key: string,
  value: JsonText,
): JsonText {
  JSON.parse(value);
  return edit(objectText, new Map([[key, value.trim()]]));
}

/**
 * Takes a member out, each of them if the key stands more than once.
 *
 * @throws {SyntaxError} if the text is not a JSON object
 */
export function removeMember(objectText: JsonText, key: string): JsonText {
  return edit(objectText, new Map([[key, undefined]]));
}

/**
 * Sets every member of `over` in `base`. Shallow: a nested object replaces the
 * one that stands there.
 *
 * @throws {SyntaxError} if one of the two is not a JSON object
 */
export function mergeObjects(base: JsonText, over: JsonText): JsonText {
  const members = readMembers(over);
  return edit(
    base,
    new Map(
      members.map(({ key, start, end }) => [key, over.slice(start, end)]),
    ),
  );
}

/**
 * Gives the text of each element of an array.
 *
 * @throws {SyntaxError} if the text is not JSON, not an array, or nested too deep
 */
export function readElements(arrayText: JsonText): JsonText[] {
  return scanArray(arrayText).map(({ start, end }) =>
    arrayText.slice(start, end)
  );
}

/**
 * Puts the answer of `change` in the place of each element; what stands between
 * the elements stays.
 *
 * @throws {SyntaxError} if the text is not a JSON array, or an answer not JSON
 */
export function mapElements(
  arrayText: JsonText,
  change: (element: JsonText, index: number) => JsonText,
): JsonText {
  let out = "";
  let done = 0;
  for (const [index, { start, end }] of scanArray(arrayText).entries()) {
    const element = change(arrayText.slice(start, end), index);
    JSON.parse(element);
    out += arrayText.slice(done, start) + element;
    done = end;
  }
  return out + arrayText.slice(done);
}

/**
 * Puts elements behind the last one of an array.
 *
 * @throws {SyntaxError} if the text is not a JSON array, or an element not JSON
 */
export function appendElements(
  arrayText: JsonText,
  elements: readonly JsonText[],
): JsonText {
  const last = scanArray(arrayText).at(-1);
  const at = last?.end ?? arrayText.indexOf("[") + 1;
  for (const element of elements) JSON.parse(element);
  const added = elements.join(",");
  const comma = last !== undefined && elements.length > 0 ? "," : "";
  return arrayText.slice(0, at) + comma + added + arrayText.slice(at);
}

/** Tells whether a parsed JSON value is an object. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sets the members that have a text, takes out those that have none. */
function edit(
  text: JsonText,
  changes: ReadonlyMap<string, JsonText | undefined>,
): JsonText {
  const members = scanObject(text);
  const places = new Map(members.map(({ key }, index) => [key, index]));
  const open = text.indexOf("{") + 1;
  let out = text.slice(0, open);
  let isFirst = true;
  for (const [index, { key, keyStart, start, end }] of members.entries()) {
    const isChanged = changes.has(key);
    const value = isChanged ? changes.get(key) : text.slice(start, end);
    const isStale = isChanged && places.get(key) !== index;
    if (value === undefined || isStale) continue;
    // The first one kept takes the white space that the first one had.
    const gapStart = isFirst ? open : members[index - 1]?.end ?? open;
    const gapEnd = isFirst ? members[0]?.keyStart ?? keyStart : keyStart;
    out += text.slice(gapStart, gapEnd) + text.slice(keyStart, start) + value;
    isFirst = false;
  }
  for (const [key, value] of changes) {
    if (value === undefined || places.has(key)) continue;
    out += `${isFirst ? "" : ","}${JSON.stringify(key)}:${value}`;
    isFirst = false;
  }
  return out + text.slice(members.at(-1)?.end ?? open);
}

function scanObject(text: JsonText): Member[] {
  JSON.parse(text);
  const open = skipSpace(text, 0);
  if (text.charCodeAt(open) !== OPEN_OBJECT) {
    throw new SyntaxError(`Not a JSON object: ${kindAt(text, open)}`);
  }
  const members: Member[] = [];
  let at = skipSpace(text, open + 1);
  while (text.charCodeAt(at) !== CLOSE_OBJECT) {
    const keyEnd = skipString(text, at);
    const key: string = JSON.parse(text.slice(at, keyEnd));
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1); // the colon
    const end = skipValue(text, start);
    members.push({ key, keyStart: at, start, end });
    at = skipComma(text, end);
  }
  return members;
}

function scanArray(text: JsonText): Span[] {
  JSON.parse(text);
  const open = skipSpace(text, 0);
  if (text.charCodeAt(open) !== OPEN_LIST) {
    throw new SyntaxError(`Not a JSON array: ${kindAt(text, open)}`);
  }
  const spans: Span[] = [];
  let at = skipSpace(text, open + 1);
  while (text.charCodeAt(at) !== CLOSE_LIST) {
    const end = skipValue(text, at);
    spans.push({ start: at, end });
    at = skipComma(text, end);
  }
  return spans;
}

// The functions below go over text that `JSON.parse` has accepted, so they
// need not tell right from wrong, only where a thing ends.

function skipValue(text: JsonText, start: number): number {
  const first = text.charCodeAt(start);
  if (first === QUOTE) return skipString(text, start);
  if (first === OPEN_OBJECT || first === OPEN_LIST) {
    return skipNested(text, start);
  }
  let at = start;
  while (at < text.length && !isBoundary(text.charCodeAt(at))) at++;
  return at;
}

function skipNested(text: JsonText, start: number): number {
  let depth = 0;
  let at = start;
  do {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = skipString(text, at);
      continue;
    }
    if (code === OPEN_OBJECT || code === OPEN_LIST) depth++;
    if (code === CLOSE_OBJECT || code === CLOSE_LIST) depth--;
    if (depth > DEPTH_MAX) {
      throw new SyntaxError(`JSON nested deeper than ${DEPTH_MAX} levels`);
    }
    at++;
  } while (depth > 0);
  return at;
}

function skipString(text: JsonText, start: number): number {
  let at = start + 1;
  while (text.charCodeAt(at) !== QUOTE) {
    at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  }
  return at + 1;
}

function skipComma(text: JsonText, end: number): number {
  const at = skipSpace(text, end);
  return text.charCodeAt(at) === COMMA ? skipSpace(text, at + 1) : at;
}

function skipSpace(text: JsonText, start: number): number {
  let at = start;
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function isBoundary(code: number): boolean {
  return code === COMMA || code === CLOSE_LIST || code === CLOSE_OBJECT ||
    isSpace(code);
}

function kindAt(text: JsonText, at: number): string {
  const kinds: Record<string, string> = {
    "{": "an object",
    "[": "an array",
    '"': "a string",
    t: "a boolean",
    f: "a boolean",
    n: "null",
  };
  return kinds[text.charAt(at)] ?? "a number";
}
