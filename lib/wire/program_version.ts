/**
 * The version of this project, as a value: the shim cannot read `deno.json`, and importing that would put all of
 * it into the shim. A test holds the two together.
 *
 * @module
 */

/** Version of shim and daemon, as `deno.json` has it. */
export const PROGRAM_VERSION = "0.1.0";
