/**
 * Runs programs under `stopwatch.c`, which takes wall and processor time
 * without a share of its own.
 *
 * Needs run of the compiled stopwatch.
 */
import { runProgram } from "../node.ts";

/** One run of one program. */
export interface Job {
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** The file that is its input. */
  readonly stdin: string;
  /** The file that gets its output; nowhere when left out. */
  readonly stdout?: string;
}

/** How long it took. */
export interface Timing {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** Runs one program after the other, or several at once, and wants each to succeed. */
export type Stopwatch = (
  jobs: readonly Job[],
  options?: { parallel?: number },
) => Promise<{ timings: Timing[]; wallMs: number }>;

const NOWHERE = "/dev/null";

/** A program failed that was to be measured: what it said. */
export class JobError extends Error {
  override readonly name = "JobError";
}

/** Makes a stopwatch of the compiled program. */
export function createStopwatch(program: string): Stopwatch {
  return async (jobs, { parallel = 1 } = {}) => {
    const { code, stdout, stderr } = await runProgram(
      [program, String(parallel)],
      { stdin: jobs.map(format).join("") },
    );
    if (code !== 0) throw new JobError(`The stopwatch failed: ${stderr}`);
    const lines = stdout.trimEnd().split("\n");
    const wallMs = Number(lines.pop()) / 1000;
    const timings: Timing[] = [];
    for (const [index, line] of lines.entries()) {
      const [wall = 0, cpu = 0, status = 0] = line.split(" ").map(Number);
      if (status !== 0) throw await toJobError(jobs[index], status);
      timings.push({ wallMs: wall / 1000, cpuMs: cpu / 1000 });
    }
    await removeOutputs(jobs);
    return { timings, wallMs };
  };
}

async function removeOutputs(jobs: readonly Job[]): Promise<void> {
  const outputs = new Set(jobs.flatMap(({ stdout }) => stdout ?? []));
  for (const output of outputs) await Deno.remove(output);
}

async function toJobError(
  job: Job | undefined,
  status: number,
): Promise<JobError> {
  const said = job?.stdout === undefined
    ? ""
    : await Deno.readTextFile(job.stdout);
  return new JobError(`${job?.command[0]} ended with ${status}: ${said}`);
}

function format({ command, env, stdin, stdout = NOWHERE }: Job): string {
  const assigned = Object.entries(env).map(([name, value]) =>
    `${name}=${value}`
  );
  const words = [
    stdin,
    stdout,
    String(assigned.length),
    ...assigned,
    String(command.length),
    ...command,
  ];
  return words.map((word) => `${word}\0`).join("");
}
