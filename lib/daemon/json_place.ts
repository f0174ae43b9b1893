/**
 * Where a text stops being JSON, for people who look for a missing comma. The
 * engine's own message gives a position for some errors and none for others.
 *
 * Only for text that `JSON.parse` has refused: it judges nothing else.
 *
 * @module
 */

/** A place in a text, both counted from 1. */
export interface TextPlace {
  /** The line. */
  readonly line: number;
  /** The character in it. */
  readonly column: number;
}

// One token of JSON, white space before it included.
const SPACE = /[ \t\n\r]*/y;
const SCALAR =
  /"(?:[ !#-\[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const KEY = /"(?:[ !#-\[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;

/** Finds the first place at which no JSON text could go on like this. */
export function findJsonError(text: string): TextPlace {
  return placeAt(text, offsetOfError(text));
}

/** Where an offset is, for a person. */
export function placeAt(text: string, offset: number): TextPlace {
  const before = text.slice(0, offset).split("\n");
  return { line: before.length, column: (before.at(-1) ?? "").length + 1 };
}

function offsetOfError(text: string): number {
  const open: string[] = [];
  let at = skip(SPACE, text, 0);
  let wants: Want = "value";
  // Each round takes at least one character, or returns.
  while (at < text.length) {
    const step = take(text, at, { wants, open });
    if (step === undefined) return at;
    at = skip(SPACE, text, step.at);
    wants = step.wants;
  }
  return at;
}

type Want =
  | "value"
  | "value or ]"
  | "key"
  | "key or }"
  | "colon"
  | "comma or end";

interface Step {
  readonly at: number;
  readonly wants: Want;
}

function take(
  text: string,
  at: number,
  { wants, open }: { wants: Want; open: string[] },
): Step | undefined {
  const char = text.charAt(at);
  switch (wants) {
    case "colon":
      return char === ":" ? { at: at + 1, wants: "value" } : undefined;
    case "comma or end":
      return takeEnd(char, at, open);
    case "key or }":
      if (char === "}") return takeEnd(char, at, open);
      return takeToken(KEY, { text, at, then: "colon" });
    case "key":
      return takeToken(KEY, { text, at, then: "colon" });
    case "value or ]":
      if (char === "]") return takeEnd(char, at, open);
      return takeValue(text, at, open);
    case "value":
      return takeValue(text, at, open);
  }
}

function takeValue(
  text: string,
  at: number,
  open: string[],
): Step | undefined {
  const char = text.charAt(at);
  if (char === "{" || char === "[") {
    open.push(char);
    return { at: at + 1, wants: char === "{" ? "key or }" : "value or ]" };
  }
  return takeToken(SCALAR, { text, at, then: "comma or end" });
}

function takeEnd(char: string, at: number, open: string[]): Step | undefined {
  const last = open.at(-1);
  if (char === ",") {
    if (last === undefined) return undefined;
    return { at: at + 1, wants: last === "{" ? "key" : "value" };
  }
  if (char !== (last === "{" ? "}" : "]") || last === undefined) {
    return undefined;
  }
  open.pop();
  return { at: at + 1, wants: "comma or end" };
}

function takeToken(
  token: RegExp,
  { text, at, then }: { text: string; at: number; then: Want },
): Step | undefined {
  const end = skip(token, text, at);
  return end === at ? undefined : { at: end, wants: then };
}

function skip(token: RegExp, text: string, at: number): number {
  token.lastIndex = at;
  return token.test(text) ? token.lastIndex : at;
}
