/**
 * The entry of `multus-daemon` and `multusctl`: two programs from one source,
 * told apart by the name that they are built under, each with its own grants.
 * What they do is in `lib/daemon/program.ts` and `lib/cli/multusctl.ts`,
 * loaded only by the one that needs it.
 */

/** What both programs need of their process. */
export interface World {
  /** The command line. */
  readonly args: readonly string[];
  /** The name that the program was built or started under. */
  readonly programName: string;
  /** Reads one variable of the environment. */
  readonly env: (name: string) => string | undefined;
  /** Writes to standard output. */
  readonly stdout: (text: string) => void;
  /** Writes bytes to standard output. */
  readonly stdoutBytes: (bytes: Uint8Array) => void;
  /** Writes to standard error. */
  readonly stderr: (text: string) => void;
  /** Whether stdout is a terminal. */
  readonly isTerminal: boolean;
  /** Whether stderr is a terminal. */
  readonly isErrorTerminal: boolean;
}

/** The file name of a module, without directory and ending. */
function nameOf(url: string): string {
  return (url.split("/").at(-1) ?? "").replace(/\.[a-z]+$/, "");
}

/** Runs the program that `world` names; its exit code. */
export async function run(world: World): Promise<number> {
  const [first, ...rest] = world.args;
  if (
    world.programName === "multusctl" ||
    (world.programName === "main" && first === "ctl")
  ) {
    const { runMultusctl } = await import("./lib/cli/multusctl.ts");
    return await runMultusctl(first === "ctl" ? rest : world.args, world);
  }
  const { runDaemon } = await import("./lib/daemon/program.ts");
  return await runDaemon(world.args, world);
}

interface SyncWriter {
  writeSync(bytes: Uint8Array): number;
}

function bytesWriter(stream: SyncWriter): (bytes: Uint8Array) => void {
  return (bytes) => {
    let rest = bytes;
    while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
  };
}

function writer(stream: SyncWriter): (text: string) => void {
  const write = bytesWriter(stream);
  return (text) => write(new TextEncoder().encode(text));
}

// Not imported; in a script, as which the build bundles it, there is no such member, and no await out here.
if (import.meta.main !== false) {
  run({
    args: Deno.args,
    programName: nameOf(Deno.mainModule),
    env: (name) => Deno.env.get(name),
    stdout: writer(Deno.stdout),
    stdoutBytes: bytesWriter(Deno.stdout),
    stderr: writer(Deno.stderr),
    isTerminal: Deno.stdout.isTerminal(),
    isErrorTerminal: Deno.stderr.isTerminal(),
  }).then((code) => Deno.exit(code));
}
