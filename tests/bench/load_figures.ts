/** What gets through when sixteen pods start at once, and what the API server hears of it. */
import { requestsOf } from "./api.ts";
import { type Figure, overFloor, within } from "./figure.ts";
import { containerFor } from "./node.ts";
import { startWarm, untilQuiet } from "./operation_figures.ts";
import { type Sample, summarize } from "./statistics.ts";
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
/** So much of what the processors could do at the floor's cost. */
const SHARE = 0.6;
const PATCHES_MAX = 1;
const EVENTS_MAX = 1;
/** Between two looks at the bare loop's own cost. */
const LOOP_TIMES = 150;
const FLOOR_RUNS = 20;

interface Round {
  readonly addPerSecond: number;
  readonly delPerSecond: number;
  readonly patches: number;
  readonly events: number;
}

async function loadRound(
  { node, stopwatch }: Surroundings,
  pods: string,
): Promise<Round> {
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
  const del = await stopwatch(
    containers.map((container) => node.shimJob("DEL", container)),
    { parallel: PARALLEL },
  );
  await node.api.tell({ removePods: pods });
  return {
    addPerSecond: CALLS / (add.wallMs / 1000),
    delPerSecond: CALLS / (del.wallMs / 1000),
    patches: requestsOf(heard, "patch", "pods") / CALLS,
    events: (requestsOf(heard, "create", "events") +
      requestsOf(heard, "patch", "events")) / CALLS,
  };
}

/** The processor time of one shim at the floor and three spawns from Deno, in milliseconds. */
async function measureFloorCpu(surroundings: Surroundings): Promise<Sample> {
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
  return summarize(shim.timings.map(({ cpuMs }) => cpuMs + spawns));
}

function toFloor(cpuMs: Sample): Sample {
  const perSecond = (ms: number): number =>
    navigator.hardwareConcurrency * 1000 / ms;
  return {
    median: perSecond(cpuMs.median),
    low: perSecond(cpuMs.high),
    high: perSecond(cpuMs.low),
    count: cpuMs.count,
  };
}

function throughput(
  command: string,
  values: readonly number[],
  floor: Sample,
): Figure {
  return overFloor(
    `${command}, ${CALLS} at ${PARALLEL} in parallel, no-op`,
    "/s",
    {
      value: summarize(values),
      floor,
      rule: {
        what: "processors / (CPU of shim floor + CPU of 3 spawns)",
        factor: SHARE,
      },
      sense: "at least",
    },
  );
}

async function measure(surroundings: Surroundings): Promise<Measured> {
  await startWarm(surroundings);
  const rounds: Round[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    surroundings.say(`load: round ${round + 1} of ${ROUNDS}`);
    rounds.push(await loadRound(surroundings, `load${round}`));
  }
  const floor = toFloor(await measureFloorCpu(surroundings));
  const all = (key: keyof Round): number[] => rounds.map((round) => round[key]);
  return {
    figures: [
      throughput("ADD", all("addPerSecond"), floor),
      throughput("DEL", all("delPerSecond"), floor),
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
