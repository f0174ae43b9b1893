/**
 * What a configuration must not hold that somebody with no more than the right
 * to write a NetworkAttachmentDefinition gave: keys that plugins read
 * differently from us, and an option of the plugin portmap that runs a program.
 *
 * Configurations are looked at as text, since plugins written in Go read them
 * in ways that a parsed object does not show: keys in any case, and objects
 * that stand twice merged into one. It does not make a definition harmless:
 * what plugins may be told to do stands in deployments/PERMISSIONS.md.
 *
 * @module
 */

import type { NetConfList } from "../cni/conf.ts";
import { isMultusType } from "../cni/conf.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import type { JsonText } from "../cni/json_text.ts";
import { readMembers, removeMember } from "../cni/json_text.ts";

/**
 * Refuses a configuration in which Multus would run itself again; `origin` begins the message.
 *
 * @throws {CniError} Code 7, naming the type that stands in it.
 */
export function assertNotMultus(list: NetConfList, origin: string): void {
  for (const { text } of list.plugins) {
    const type = findMultusType(text);
    if (type === undefined) continue;
    throw invalid(
      `${origin} leads back to Multus itself and cannot be a delegate: type ${
        quote(type)
      }`,
    );
  }
}

/**
 * Refuses what the author of a definition may not say; `origin` begins the message.
 *
 * @throws {CniError} Code 7, naming the plugin and what stands in it.
 */
export function assertDefinition(list: NetConfList, origin: string): void {
  assertNotMultus(list, origin);
  for (const { text, type } of list.plugins) {
    const key = findLookalike(text);
    if (key !== undefined) {
      throw invalid(
        `${origin}: plugin ${quote(type)} has a key that it would take for ${
          quote(OURS.get(fold(key)) ?? "")
        }: ${quote(key)}`,
      );
    }
    const option = findModprobe(text);
    if (option !== undefined) {
      throw invalid(
        `${origin}: plugin ${
          quote(type)
        } has a condition that would run a program: ${quote(option)}`,
      );
    }
  }
}

/** The keys of a plugin that mean something to us, or that we put in, by their folded form. */
const OURS: ReadonlyMap<string, string> = new Map(
  ["name", "type", "cniVersion", "prevResult"].map((key) => [fold(key), key]),
);

/** The keys under which portmap takes arguments for iptables. */
const CONDITIONS = ["conditionsV4", "conditionsV6"].map(fold);

/** One string of a JSON text. */
interface StringToken {
  readonly value: string;
  readonly isKey: boolean;
}

/** Outside of strings no quote stands in JSON, so that each match is one whole string. */
const STRING = /("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?/g;

function listStrings(text: JsonText): StringToken[] {
  return Array.from(
    text.matchAll(STRING),
    ([, string = '""', colon]) => ({
      value: JSON.parse(string),
      isKey: colon !== undefined,
    }),
  );
}

/** As Go's decoder compares keys; down and up again, for letters such as the long s. */
function fold(key: string): string {
  return key.toLowerCase().toUpperCase();
}

/** The first `type` of Multus at any depth; the plugin's `args` are left out, since what stands there never names a program. */
function findMultusType(plugin: JsonText): string | undefined {
  const strings = listStrings(removeMember(plugin, "args"));
  return strings.find(({ value, isKey }, index) => {
    const key = strings[index - 1];
    return !isKey && isMultusType(value) && key?.isKey === true &&
      fold(key.value) === fold("type");
  })?.value;
}

function findLookalike(plugin: JsonText): string | undefined {
  return readMembers(plugin).find(({ key }) => {
    const ours = OURS.get(fold(key));
    return ours !== undefined && ours !== key;
  })?.key;
}

/** Nothing but a condition looks like this option, so that where in the plugin it stands is not asked. */
function findModprobe(plugin: JsonText): string | undefined {
  const strings = listStrings(plugin);
  const hasConditions = strings.some(({ value, isKey }) =>
    isKey && CONDITIONS.includes(fold(value))
  );
  return hasConditions
    ? strings.find(({ value, isKey }) => !isKey && isModprobe(value))?.value
    : undefined;
}

/** `-M`, alone or behind other letters, or `--modprobe`, which iptables takes abbreviated, too. */
function isModprobe(argument: string): boolean {
  if (!argument.startsWith("--")) return /^-[^-]*M/.test(argument);
  const [name = ""] = argument.split("=");
  return name.length > "--".length && "--modprobe".startsWith(name);
}

function invalid(message: string): CniError {
  return new CniError(ErrorCode.invalidNetworkConfig, message);
}
