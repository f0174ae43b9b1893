/**
 * The versions of the CNI specification that are spoken here, and which command
 * came with which (CNI specification 1.1.0, "Version" and "CNI operations").
 * How a result looks in a version stands in `result.ts`.
 *
 * @module
 */

import { CniError, ErrorCode, quote } from "./error.ts";

/** What a runtime can ask for in CNI_COMMAND. */
export type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** All versions that are spoken, oldest first. */
export const SUPPORTED_VERSIONS: readonly string[] = [
  "0.1.0",
  "0.2.0",
  "0.3.0",
  "0.3.1",
  "0.4.0",
  "1.0.0",
  "1.1.0",
];

/** The newest version that is spoken, and the one that results have in memory. */
export const LATEST_VERSION = "1.1.0";

/** What a configuration without cniVersion means. */
export const DEFAULT_VERSION = "0.1.0";

/** The version with which a command came; the others were always there. */
const SINCE: Partial<Record<Command, string>> = {
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** Three numbers of up to nine digits, so that each one is exact. */
const VERSION = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})$/;

/**
 * Compares two versions by number: negative if `a` is the older one, 0 if they
 * are the same.
 *
 * @throws {SyntaxError} if one of them is not three numbers with dots between
 */
export function compareVersions(a: string, b: string): number {
  const left = parseVersion(a);
  const right = parseVersion(b);
  const differences = left.map((number, index) => number - (right[index] ?? 0));
  return differences.find((difference) => difference !== 0) ?? 0;
}

/** Tells whether a version is spoken here. */
export function isSupportedVersion(version: string): boolean {
  return SUPPORTED_VERSIONS.includes(version);
}

/**
 * Checks that a version is spoken here.
 *
 * @throws {CniError} with code 1 if it is not
 */
export function assertVersion(version: string): void {
  if (isSupportedVersion(version)) return;
  throw new CniError(
    ErrorCode.incompatibleVersion,
    `Unsupported CNI version (known are ${SUPPORTED_VERSIONS.join(", ")}): ${
      quote(version)
    }`,
  );
}

/**
 * Tells whether a version has the command.
 *
 * @throws {SyntaxError} if that depends on the version, and it is not three numbers with dots between
 */
export function supportsCommand(command: Command, version: string): boolean {
  const since = SINCE[command];
  return since === undefined || compareVersions(version, since) >= 0;
}

/**
 * Checks that a version is spoken here and has the command.
 *
 * @throws {CniError} with code 1 if not
 */
export function assertCommandVersion(command: Command, version: string): void {
  assertVersion(version);
  if (supportsCommand(command, version)) return;
  throw new CniError(
    ErrorCode.incompatibleVersion,
    `${command} needs a configuration of CNI version ${
      SINCE[command]
    } or newer: ${quote(version)}`,
  );
}

/** Writes the answer to VERSION, in the version that was asked with. */
export function formatVersionDocument(cniVersion: string): string {
  return JSON.stringify({ cniVersion, supportedVersions: SUPPORTED_VERSIONS });
}

function parseVersion(version: string): number[] {
  const parts = VERSION.exec(version);
  if (parts === null) {
    throw new SyntaxError(`Malformed version: ${quote(version)}`);
  }
  return parts.slice(1).map(Number);
}
