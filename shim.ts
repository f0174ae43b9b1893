/**
 * multus-shim: what the container runtime executes. It reads the CNI environment and stdin, asks the daemon on
 * this node once, and prints the answer in the configuration's version.
 *
 * Started as `passthru` (by that name, with `--as-passthru`, or with a configuration of that type) it is the
 * plugin that hands on `prevResult` and does nothing else.
 *
 * Calls go the usual way (`lib/wire/usual_call.ts`), and what is out of the ordinary is for the whole program
 * (`lib/wire/shim_program.ts`): in what is built, that is a text which costs nothing until it is needed.
 *
 * CNI specification, section 2 (execution protocol).
 *
 * @module
 */

import { makeUsualCall } from "./lib/wire/usual_call.ts";
import type { World } from "./lib/wire/world.ts";

/** Runs one call and returns the exit status: 0, or 1 with a CNI error on stdout. */
export async function run(world: World): Promise<number> {
  const begun = await makeUsualCall(world);
  if (begun === undefined) return 0;
  const { goOn } = await import("./lib/wire/shim_program.ts");
  return await goOn(world, begun);
}

// Not imported; in a script, as which the build bundles it, there is no such member, and no await out here.
if (import.meta.main !== false) {
  run({
    args: Deno.args,
    programName: Deno.mainModule.slice(Deno.mainModule.lastIndexOf("/") + 1),
    env: (name) => Deno.env.get(name),
    stdin: Deno.stdin,
    stdout: Deno.stdout,
    stderr: Deno.stderr,
  }).then((code) => Deno.exit(code));
}
