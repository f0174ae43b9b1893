/**
 * An executable of this project, as a file: which program it is, by its name,
 * and what is baked into it, by its bytes, in whichever of the two forms.
 */
import type { Executable } from "../grants.ts";
import type { Baked } from "./baked.ts";
import { readCompiled } from "./compiled.ts";
import { readLauncher } from "./launcher.ts";

const NAMES: Readonly<Record<string, Executable>> = {
  "multus-shim": "multus-shim",
  "multus": "multus-shim",
  "passthru": "multus-shim",
  "multus-daemon": "multus-daemon",
  "multusctl": "multusctl",
};

/** The program that is built or installed under `fileName`; `undefined` when it is none of ours. */
export function executableNamed(fileName: string): Executable | undefined {
  return Object.hasOwn(NAMES, fileName) ? NAMES[fileName] : undefined;
}

/**
 * What is baked into the executable that `bytes` are.
 *
 * @throws {SyntaxError} when they are neither a launcher nor a compiled program, or a damaged one.
 */
export function readBaked(bytes: Uint8Array): Baked {
  const baked = readLauncher(bytes) ?? readCompiled(bytes);
  if (baked !== undefined) return baked;
  throw new SyntaxError(
    "Not an executable of this project: neither a launcher as the build writes it nor a compiled program",
  );
}
