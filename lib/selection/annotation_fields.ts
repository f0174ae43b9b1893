/**
 * Reads the fields of an object in an annotation, each with its place in every
 * message. An absent member, a null and, for strings, an empty one are the
 * same, as they are for those who generate annotations from Go.
 *
 * @module
 */

import type { JsonText } from "../cni/json_text.ts";
import { getMember } from "../cni/json_text.ts";
import { AnnotationError, notJson, show } from "./annotation_error.ts";

/** An object: where it stands, its text, and its members by name. */
export interface Fields {
  /** Where it stands, such as `networks[1]`. */
  readonly place: string;
  /** As it was written. */
  readonly text: JsonText;
  /** Its members, parsed. */
  readonly members: Readonly<Record<string, unknown>>;
}

/** What a string must look like. */
export interface Form {
  /** As it stands in a message. */
  readonly expected: string;
  /** Whether a text has it. */
  readonly accepts: (value: string) => boolean;
}

/** Elements of a list: an interface has a handful of addresses, and all of them travel in one variable of the plugins' environment. */
const ELEMENTS_MAX = 32;

/**
 * Opens an object at a place.
 *
 * @throws {AnnotationError} If the text is not a JSON object.
 */
export function openFields(text: JsonText, place: string): Fields {
  let members: unknown;
  try {
    members = JSON.parse(text);
  } catch (cause) {
    throw notJson(place, cause);
  }
  if (isObject(members)) return { place, text, members };
  throw unexpected(place, { expected: "an object", found: members });
}

/** A member's value; undefined if it is absent or null, and never one of the prototype. */
export function readMember({ members }: Fields, key: string): unknown {
  return Object.hasOwn(members, key) ? members[key] ?? undefined : undefined;
}

/**
 * A member that is a string, in the given form if there is one.
 *
 * @throws {AnnotationError} If it is something else.
 */
export function readString(
  fields: Fields,
  key: string,
  form: Form = { expected: "a string", accepts: () => true },
): string | undefined {
  const found = readMember(fields, key);
  if (found === undefined || found === "") return undefined;
  if (typeof found === "string" && form.accepts(found)) return found;
  const expected = typeof found === "string" ? form.expected : "a string";
  throw unexpected(`${fields.place}.${key}`, { expected, found });
}

/**
 * A member that is a list of strings in the given form.
 *
 * @throws {AnnotationError} If it, or one of its elements, is something else, or there are too many.
 */
export function readStrings(
  fields: Fields,
  key: string,
  form: Form,
): readonly string[] | undefined {
  const place = `${fields.place}.${key}`;
  const list = readMember(fields, key);
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) {
    throw unexpected(place, { expected: "a list", found: list });
  }
  if (list.length > ELEMENTS_MAX) {
    const expected = `at most ${ELEMENTS_MAX} elements`;
    throw new AnnotationError(
      place,
      `expected ${expected}, found ${list.length}`,
    );
  }
  return list.map((found: unknown, index) => {
    if (typeof found === "string" && form.accepts(found)) return found;
    const { expected } = form;
    throw unexpected(`${place}[${index}]`, { expected, found });
  });
}

/**
 * A member that is a whole number within limits.
 *
 * @throws {AnnotationError} If it is something else.
 */
export function readCount(
  fields: Fields,
  key: string,
  { min, max }: { min: number; max: number },
): number | undefined {
  const found = readMember(fields, key);
  if (found === undefined) return undefined;
  if (Number.isInteger(found) && Number(found) >= min && Number(found) <= max) {
    return Number(found);
  }
  const expected = `a whole number from ${min} to ${max}`;
  throw unexpected(`${fields.place}.${key}`, { expected, found });
}

/**
 * A member that is an object, opened.
 *
 * @throws {AnnotationError} If it is something else.
 */
export function readObject(fields: Fields, key: string): Fields | undefined {
  if (readMember(fields, key) === undefined) return undefined;
  const text = getMember(fields.text, key) ?? "";
  return openFields(text, `${fields.place}.${key}`);
}

/** The error for a value that is not what it should be. */
export function unexpected(
  place: string,
  { expected, found }: { expected: string; found: unknown },
): AnnotationError {
  return new AnnotationError(
    place,
    `expected ${expected}, found ${show(found)}`,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
