/**
 * What is put into a delegate's configuration before it is run, as edits of
 * its text: every other key and every number stays as its author wrote it.
 * Also refuses configurations that would call Multus again.
 *
 * @module
 */

import type { NetConfList } from "../cni/conf.ts";
import { isMultusType, mapPlugins } from "../cni/conf.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import type { JsonText } from "../cni/json_text.ts";
import { getMember, mergeObjects, setMember } from "../cni/json_text.ts";
import { AnnotationError } from "./annotation_error.ts";

/** Puts the device into each plugin, under both names that plugins look for. */
export function withDevice(list: NetConfList, deviceId: string): NetConfList {
  const value = JSON.stringify(deviceId);
  return mapPlugins(
    list,
    (plugin) =>
      setMember(setMember(plugin, "deviceID", value), "pciBusID", value),
  );
}

/**
 * Merges an object into `args.cni` of each plugin; its members win. `place` is where it was asked for.
 *
 * @throws {AnnotationError} If a plugin's `args` or `args.cni` is not an object.
 */
export function withCniArgs(
  list: NetConfList,
  cniArgs: JsonText,
  place: string,
): NetConfList {
  return mapPlugins(list, (text, { type }) => {
    const args = getObject(text, "args");
    const cni = args === undefined ? undefined : getObject(args, "cni");
    if (args === undefined || cni === undefined) {
      const target = `${args === undefined ? "args" : "args.cni"} of plugin ${
        quote(type)
      }`;
      throw new AnnotationError(
        `${place}.cni-args`,
        `cannot be merged, as it is no object: ${target}`,
      );
    }
    return setMember(
      text,
      "args",
      setMember(args, "cni", mergeObjects(cni, cniArgs)),
    );
  });
}

/**
 * Refuses a configuration in which Multus would run itself again; `origin` begins the message.
 *
 * @throws {CniError} Code 7, naming the type that stands in it.
 */
export function assertNotMultus(list: NetConfList, origin: string): void {
  for (const { text } of list.plugins) {
    const type = findMultusType(JSON.parse(text));
    if (type === undefined) continue;
    throw new CniError(
      ErrorCode.invalidNetworkConfig,
      `${origin} leads back to Multus itself and cannot be a delegate: type ${
        quote(type)
      }`,
    );
  }
}

/** The first `type` of Multus at any depth; `args` is left out, since what stands there never names a program. */
function findMultusType(plugin: unknown): string | undefined {
  const pending: unknown[] = [plugin];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (typeof value !== "object" || value === null) continue;
    for (const [key, item] of Object.entries(value)) {
      if (key === "type" && typeof item === "string" && isMultusType(item)) {
        return item;
      }
      if (key !== "args") pending.push(item);
    }
  }
  return undefined;
}

/** The member's text, an empty object if there is none, undefined if it is something else. */
function getObject(text: JsonText, key: string): JsonText | undefined {
  const value = getMember(text, key) ?? "null";
  const parsed: unknown = JSON.parse(value);
  if (parsed === null) return "{}";
  return typeof parsed === "object" && !Array.isArray(parsed)
    ? value
    : undefined;
}
