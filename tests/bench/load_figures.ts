/** What gets through when sixteen pods start at once, and what the API server hears of it. */
import { requestsOf } from "./api.ts";
import { type Figure, overFloorInRounds, within } from "./figure.ts";
import { containerFor } from "./node.ts";
import { startWarm, untilQuiet } from "./operation_figures.ts";
import { summarize } from "./statistics.ts";
import type { Timing } from "./stopwatch.ts";
import {
  floorScript,
  type Group,
  type Measured,
  spawnLoopCommand,
  type Surroundings,
} from "./surroundings.ts";

const CALLS = 200;
const PARALLEL = 16;
const ROUNDS = 5;
const RULE = {
  what: "processors / (CPU of shim floor + CPU of 3 spawns)",
  factor: 0.6,
} as const;
const PATCHES_MAX = 1;
const EVENTS_MAX = 1;
/** Between two looks at the bare loop's own cost. */
const LOOP_TIMES = 150;
const FLOOR_RUNS = 20;

interface LoadRound {
  /** What the processors could do at the floor's cost, between the two bursts. */
  readonly floorPerSecond: number;
  readonly addPerSecond: number;
  readonly delPerSecond: number;
  readonly patches: number;
  readonly events: number;
}

async function loadRound(
  surroundings: Surroundings,
  pods: string,
): Promise<LoadRound> {
  const { node, stopwatch } = surroundings;
  await node.api.tell({
    pods: { count: CALLS, prefix: pods, networks: "net-0,net-1" },
  });
  await untilQuiet(node);
  await node.api.tell({ clear: true });
  const containers = Array.from(
    { length: CALLS },
    (_, at) => containerFor(`${pods}-${at}`),
  );
  const add = await stopwatch(
    containers.map((container) => node.shimJob("ADD", container)),
    { parallel: PARALLEL },
  );
  await untilQuiet(node);
  const heard = await node.api.tell({ clear: true });
  const floorPerSecond = await measureFloor(surroundings);
  const del = await stopwatch(
    containers.map((container) => node.shimJob("DEL", container)),
    { parallel: PARALLEL },
  );
  await node.api.tell({ removePods: pods });
  return {
    floorPerSecond,
    addPerSecond: CALLS / (add.wallMs / 1000),
    delPerSecond: CALLS / (del.wallMs / 1000),
    patches: requestsOf(heard, "patch", "pods") / CALLS,
    events: (requestsOf(heard, "create", "events") +
      requestsOf(heard, "patch", "events")) / CALLS,
  };
}

/** How often a second the processors have the time of one shim at the floor and three spawns from Deno. */
async function measureFloor(surroundings: Surroundings): Promise<number> {
  const { node, stopwatch } = surroundings;
  const shim = await stopwatch(
    Array.from(
      { length: FLOOR_RUNS },
      () => node.floorJob(floorScript("exit")),
    ),
  );
  const loop = async (times: number): Promise<Timing> => {
    const stdin = `${node.dir}/loop-${times}`;
    await Deno.writeTextFile(stdin, `${times}\n`);
    const { timings } = await stopwatch([
      { command: spawnLoopCommand(surroundings), env: {}, stdin },
    ]);
    return timings[0] ?? { wallMs: 0, cpuMs: 0 };
  };
  const warm = await loop(LOOP_TIMES / 3);
  const all = await loop(LOOP_TIMES + LOOP_TIMES / 3);
  const spawns = (all.cpuMs - warm.cpuMs) / LOOP_TIMES;
  const { median } = summarize(shim.timings.map(({ cpuMs }) => cpuMs));
  return navigator.hardwareConcurrency * 1000 / (median + spawns);
}

function throughput(
  command: string,
  rounds: readonly LoadRound[],
  perSecond: "addPerSecond" | "delPerSecond",
): Figure {
  return overFloorInRounds(
    `${command}, ${CALLS} at ${PARALLEL} in parallel, no-op`,
    "/s",
    {
      rounds: rounds.map((round) => ({
        value: round[perSecond],
        floor: round.floorPerSecond,
      })),
      rule: RULE,
      sense: "at least",
    },
  );
}

async function measure(surroundings: Surroundings): Promise<Measured> {
  await startWarm(surroundings);
  const rounds: LoadRound[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    surroundings.say(`load: round ${round + 1} of ${ROUNDS}`);
    rounds.push(await loadRound(surroundings, `load${round}`));
  }
  const all = (key: keyof LoadRound): number[] =>
    rounds.map((round) => round[key]);
  return {
    figures: [
      throughput("ADD", rounds, "addPerSecond"),
      throughput("DEL", rounds, "delPerSecond"),
      within("status patches per ADD, under load", "requests", {
        value: summarize(all("patches")),
        limit: PATCHES_MAX,
      }),
      within("event requests per ADD, under load", "requests", {
        value: summarize(all("events")),
        limit: EVENTS_MAX,
      }),
    ],
  };
}

/** Throughput and requests. */
export const loadFigures: Group = { name: "load", measure };
