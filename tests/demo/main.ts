/**
 * `deno task demo`: pods get their networks before your eyes. The manifests
 * of `deployments/examples/` go to an API server stand-in; the real daemon
 * and shim, with their real grants, have real plugins make real interfaces
 * in real network namespaces; then everything is undone, and it is shown
 * that nothing is left.
 *
 * This file prepares: packages, bundles. The show itself is `show.ts`, run
 * in namespaces of its own that vanish with it, also when it is interrupted.
 */
import { join } from "node:path";
import { bundleAll } from "../../deployments/build.ts";
import { canIsolate, INSIDE, isolated } from "../isolation.ts";
import { BUNDLES } from "../node.ts";
import { ensurePrerequisites, NETWORK } from "../prerequisites.ts";

const encoder = new TextEncoder();
const say = (line: string): void =>
  void Deno.stdout.writeSync(encoder.encode(`${line}\n`));

const SHOW_FLAGS = [
  "--allow-read",
  "--allow-write",
  "--allow-run",
  "--allow-env",
  "--allow-net",
  "--allow-sys",
];

/** Runs the show, hands signals on, and waits for it to clean up. */
async function runShow(bundles: string): Promise<number> {
  const show = join(import.meta.dirname ?? ".", "show.ts");
  const [program, ...args] = isolated([
    Deno.execPath(),
    "run",
    "--quiet",
    "--no-prompt",
    "--cached-only",
    ...SHOW_FLAGS,
    show,
  ]);
  const child = new Deno.Command(program, {
    args,
    env: { [INSIDE]: "demo", [BUNDLES]: bundles },
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  // A terminal sends Ctrl-C to all of us: wait for the show to end, do not end before it.
  const ignore = (): void => {};
  const hangUp = (): void => child.kill("SIGKILL");
  Deno.addSignalListener("SIGINT", ignore);
  Deno.addSignalListener("SIGTERM", hangUp);
  try {
    return (await child.status).code;
  } finally {
    Deno.removeSignalListener("SIGINT", ignore);
    Deno.removeSignalListener("SIGTERM", hangUp);
  }
}

async function main(): Promise<number> {
  const missing = await ensurePrerequisites(NETWORK, say);
  if (missing.length > 0) {
    const names = missing.map((one) => `${one.debianPackage} (${one.purpose})`);
    say(
      `The demo needs what is not on this machine. Please install: ${
        names.join(", ")
      }`,
    );
    return 2;
  }
  if (!await canIsolate()) {
    say(
      "The demo makes network namespaces: run it as root, or where user namespaces are allowed",
    );
    return 2;
  }
  const bundles = await Deno.makeTempDir({ prefix: "multus-demo-" });
  try {
    await bundleAll(bundles, () => {});
    // Loads the show's modules while the network is still there.
    await new Deno.Command(Deno.execPath(), {
      args: ["cache", "--quiet", join(import.meta.dirname ?? ".", "show.ts")],
    }).output();
    return await runShow(bundles);
  } finally {
    await Deno.remove(bundles, { recursive: true });
  }
}

if (import.meta.main) Deno.exitCode = await main();
