/** How long a node is without a daemon when it is started again. */
import { overFloor } from "./figure.ts";
import { summarize } from "./statistics.ts";
import type { Group, Measured, Surroundings } from "./surroundings.ts";

const ROUNDS = 15;
const FACTOR = 2;

async function measure(
  { node, stopwatch }: Surroundings,
): Promise<Measured> {
  const { command: [program] } = node.daemonCommand;
  const version = {
    command: [program, "--version"],
    env: {},
    stdin: "/dev/null",
  } as const;
  const floor: number[] = [];
  const ready: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const { timings } = await stopwatch([version]);
    floor.push(...timings.map(({ wallMs }) => wallMs));
    ready.push(await node.startDaemon());
    await node.stopDaemon();
  }
  return {
    figures: [
      overFloor("daemon, start to ready", "ms", {
        value: summarize(ready),
        floor: summarize(floor),
        rule: {
          what: "the daemon's bundle imported, and the end: --version",
          factor: FACTOR,
        },
      }),
    ],
  };
}

/** Start to ready. */
export const startFigures: Group = { name: "start", measure };
