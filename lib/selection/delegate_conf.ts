/**
 * What is put into a delegate's configuration before it is run, as edits of
 * its text: every other key and every number stays as its author wrote it.
 *
 * @module
 */

import type { NetConfList } from "../cni/conf.ts";
import { mapPlugins } from "../cni/conf.ts";
import { quote } from "../cni/error.ts";
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

/** The member's text, an empty object if there is none, undefined if it is something else. */
function getObject(text: JsonText, key: string): JsonText | undefined {
  const value = getMember(text, key) ?? "null";
  const parsed: unknown = JSON.parse(value);
  if (parsed === null) return "{}";
  return typeof parsed === "object" && !Array.isArray(parsed)
    ? value
    : undefined;
}
