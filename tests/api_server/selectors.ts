/**
 * Field selectors and JSON merge patches (RFC 7396), as the API server applies them.
 *
 * @module
 */
import { StatusError } from "./status.ts";
import type { KubeObject } from "./store.ts";

/** Says whether an object is selected. */
export type Selector = (object: KubeObject) => boolean;

/** Reads `a.b=c,d.e!=f`. @throws {StatusError} 400 when a requirement has no operator. */
export function parseFieldSelector(text: string | null): Selector {
  const requirements = (text ?? "").split(",").filter((item) => item !== "")
    .map(parseRequirement);
  return (object) => requirements.every((holds) => holds(object));
}

/** Applies a merge patch; neither argument is changed. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Record<string, unknown> = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

/** Says whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseRequirement(text: string): Selector {
  const match = /^([^=!]+)(!=|==|=)(.*)$/.exec(text);
  if (match === null) {
    throw new StatusError(400, `invalid field selector "${text}"`);
  }
  const [, path = "", operator, value] = match;
  return (object) => (readPath(object, path) === value) === (operator !== "!=");
}

function readPath(object: unknown, path: string): string {
  const value = path.split(".").reduce<unknown>(
    (at, key) => isObject(at) ? at[key] : undefined,
    object,
  );
  return value === undefined ? "" : String(value);
}
