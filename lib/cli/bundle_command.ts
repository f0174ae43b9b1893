/**
 * `multusctl bundle`: an archive for a bug report, written to standard output,
 * so that multusctl needs no directory to write to and it works through
 * `kubectl exec` alike.
 *
 * Needs: see `bundle.ts`.
 */
import { gatherBundle } from "./bundle.ts";
import { type Call, type CtlCommand, ExitCode, UsageError } from "./command.ts";
import { viewNode } from "./node_view.ts";
import { PROFILE_OPTION } from "./own_profile.ts";
import { startProgress } from "./progress.ts";
import { makeTar } from "./tar.ts";

const HELP =
  `The archive is a tar, compressed by gzip. Secrets are taken out; look through it
before you publish it all the same. It is written although the daemon or the API
server does not answer: then it says so.

Examples:
  multusctl bundle > multus-bundle.tar.gz
  kubectl -n kube-system exec POD -- multusctl bundle > multus-bundle.tar.gz`;

/** The command `bundle`. */
export const BUNDLE: CtlCommand = {
  arguments: [],
  options: [PROFILE_OPTION],
  help: HELP,
  run: runBundle,
};

async function runBundle({ options, world }: Call): Promise<number> {
  if (world.isTerminal) {
    throw new UsageError(
      "The archive is no text for a terminal: multusctl bundle > multus-bundle.tar.gz",
    );
  }
  const view = await viewNode(options, world);
  using progress = startProgress(world);
  const now = new Date();
  const files = await gatherBundle(view, {
    world,
    say: (what) => progress.say(what),
    now,
  });
  const packed = new Blob([makeTar(files, now)]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  world.stdoutBytes(new Uint8Array(await new Response(packed).arrayBuffer()));
  return ExitCode.ok;
}
