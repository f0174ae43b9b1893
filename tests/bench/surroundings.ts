/** What every figure is measured with. */
import { join } from "node:path";
import type { Curve, Figure } from "./figure.ts";
import { type LineProcess, startLineProcess } from "./line_process.ts";
import type { BenchNode } from "./node.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** What every figure is measured with. */
export interface Surroundings {
  readonly node: BenchNode;
  readonly stopwatch: Stopwatch;
  /** The compiled plugin that does nothing. */
  readonly noop: string;
  /** The bundled shim. */
  readonly shimBundle: string;
  /** Says what is being done. */
  readonly say: (line: string) => void;
}

/** What a group of figures came to. */
export interface Measured {
  readonly figures: readonly Figure[];
  readonly curves?: readonly Curve[];
}

/** Figures that are measured together. */
export interface Group {
  readonly name: string;
  readonly measure: (surroundings: Surroundings) => Promise<Measured>;
}

/** A floor's script. */
export function floorScript(name: string): string {
  return join(import.meta.dirname ?? ".", `floor_${name}.js`);
}

const FLOOR_FLAGS = ["--quiet", "--no-config", "--no-code-cache"];

/** The words that start three no-ops in a bare loop. */
export function spawnLoopCommand(
  { node, noop }: Surroundings,
): [string, ...string[]] {
  return [
    Deno.execPath(),
    "run",
    ...FLOOR_FLAGS,
    "--allow-read",
    `--allow-run=${noop}`,
    floorScript("spawn"),
    noop,
    node.confFile,
  ];
}

/** Starts the bare loop. */
export function startSpawnLoop(surroundings: Surroundings): LineProcess {
  return startLineProcess(spawnLoopCommand(surroundings));
}

/** Has the bare loop go round; the milliseconds of each time. */
export async function spawnThree(
  loop: LineProcess,
  times: number,
): Promise<number[]> {
  return JSON.parse(await loop.tell(String(times)));
}

/** The words that start Deno's server on a socket, with a file's content as its answer. */
export function serverCommand(
  socketPath: string,
  answerFile: string,
): [string, ...string[]] {
  return [
    Deno.execPath(),
    "run",
    ...FLOOR_FLAGS,
    "--allow-read",
    `--allow-write=${socketPath}`,
    `--allow-net=unix:${socketPath}`,
    floorScript("serve"),
    socketPath,
    answerFile,
  ];
}

/** Deno's server on a socket; it ends when it is disposed of. */
export async function startServer(
  socketPath: string,
  answerFile: string,
): Promise<AsyncDisposable & { readonly pid: number }> {
  const [program, ...args] = serverCommand(socketPath, answerFile);
  const child = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  await waitForSocket(socketPath);
  return {
    pid: child.pid,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await child.status;
      await Deno.remove(socketPath).catch(() => {});
    },
  };
}

const SOCKET_WAIT_MS = 10_000;

async function waitForSocket(path: string): Promise<void> {
  const end = performance.now() + SOCKET_WAIT_MS;
  for (;;) {
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      return;
    } catch (error) {
      if (performance.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
