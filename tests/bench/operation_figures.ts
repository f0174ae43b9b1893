/** What ADD and DEL cost with three delegates that do nothing, and what of it a slow API server adds. */
import { overFloorInRounds, type Round, within } from "./figure.ts";
import type { LineProcess } from "./line_process.ts";
import {
  type BenchCommand,
  type BenchNode,
  type Container,
  containerFor,
} from "./node.ts";
import { summarize } from "./statistics.ts";
import type { Timing } from "./stopwatch.ts";
import {
  floorScript,
  type Group,
  type Measured,
  spawnThree,
  startSpawnLoop,
  type Surroundings,
} from "./surroundings.ts";

/** A pod with the default network and two more. */
export const POD = { prefix: "trio", networks: "net-0,net-1" } as const;
/** Its name. */
export const POD_NAME = `${POD.prefix}-0`;

const ROUNDS = 40;
/** Each round is this many of each thing, so that a short disturbance hits floor and figure alike. */
const PER_ROUND = 3;
const WARM_UP = 60;

const DAEMON_RULE = {
  what: "3 spawns of the no-op in a bare Deno loop",
  factor: 1.6,
  plus: 2,
} as const;
const WHOLE_RULE = {
  what: "floor of the shim + floor of the daemon",
  factor: 1.4,
} as const;
const DELAY_MS = 50;
const DELAYED_MS_MAX = 2;

/** Puts the pod and its networks into the cluster, and starts a daemon that is warm. */
export async function startWarm({ node }: Surroundings): Promise<void> {
  await node.api.tell({
    networks: { count: 2 },
    pods: { count: 1, ...POD },
  });
  await node.restartDaemon();
  await addAndDelete(node, WARM_UP);
}

/** So many ADDs and DELs of the pod over the socket, one after the other; the milliseconds of each. */
export async function addAndDelete(
  node: BenchNode,
  times: number,
  pod: string = POD_NAME,
): Promise<{ add: number[]; del: number[] }> {
  const add: number[] = [];
  const del: number[] = [];
  for (let time = 0; time < times; time++) {
    const container = containerFor(pod);
    add.push(await node.call("ADD", container));
    del.push(await node.call("DEL", container));
  }
  return { add, del };
}

async function measureDaemon(surroundings: Surroundings): Promise<Measured> {
  const { node } = surroundings;
  await startWarm(surroundings);
  await using loop = startSpawnLoop(surroundings);
  await spawnThree(loop, WARM_UP);
  const add: Round[] = [];
  const del: Round[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const floor = middle(await spawnThree(loop, PER_ROUND));
    const measured = await addAndDelete(node, PER_ROUND);
    add.push({ value: middle(measured.add), floor });
    del.push({ value: middle(measured.del), floor });
  }
  return {
    figures: [
      overFloorInRounds("ADD, 3 no-op, daemon only", "ms", {
        rounds: add,
        rule: DAEMON_RULE,
      }),
      overFloorInRounds("DEL, 3 no-op, daemon only", "ms", {
        rounds: del,
        rule: DAEMON_RULE,
        note: "not in the table of the issue: for comparison",
      }),
    ],
  };
}

function middle(values: readonly number[]): number {
  return summarize(values).median;
}

/** Over the socket, without the shim. */
export const daemonFigures: Group = { name: "daemon", measure: measureDaemon };

/** By then the daemon has told the API server of the call before, and rests: its events wait 200 ms for others. */
const REST_MS = 350;

/** One call alone on the node, and its floor just before: the program that does nothing, and one go of the bare loop. */
async function measureAlone(
  { node, stopwatch }: Surroundings,
  loop: LineProcess,
  call: { command: BenchCommand; container: Container },
): Promise<Round> {
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  const exit = await stopwatch([node.floorJob(floorScript("exit"))]);
  const [spawns = 0] = await spawnThree(loop, 1);
  const { timings } = await stopwatch([
    node.shimJob(call.command, call.container),
  ]);
  const wallMs = (measured: readonly Timing[]): number =>
    measured[0]?.wallMs ?? 0;
  return { value: wallMs(timings), floor: wallMs(exit.timings) + spawns };
}

async function measureWhole(surroundings: Surroundings): Promise<Measured> {
  await startWarm(surroundings);
  await using loop = startSpawnLoop(surroundings);
  await spawnThree(loop, WARM_UP);
  const add: Round[] = [];
  const del: Round[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const container = containerFor(POD_NAME);
    const measure = (command: BenchCommand): Promise<Round> =>
      measureAlone(surroundings, loop, { command, container });
    add.push(await measure("ADD"));
    del.push(await measure("DEL"));
  }
  return {
    figures: [
      overFloorInRounds("ADD, 3 no-op, whole", "ms", {
        rounds: add,
        rule: WHOLE_RULE,
      }),
      overFloorInRounds("DEL, 3 no-op, whole", "ms", {
        rounds: del,
        rule: WHOLE_RULE,
      }),
    ],
  };
}

/** Shim and daemon together, as the runtime sees them. */
export const wholeFigures: Group = { name: "whole", measure: measureWhole };

async function measureDelay(surroundings: Surroundings): Promise<Measured> {
  const { node } = surroundings;
  await startWarm(surroundings);
  const rounds: Round[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await node.api.tell({ delayMs: 0 });
    const once = await addAndDelete(node, PER_ROUND);
    await node.api.tell({ delayMs: DELAY_MS });
    const late = await addAndDelete(node, PER_ROUND);
    rounds.push({ value: middle(late.add), floor: middle(once.add) });
  }
  await node.api.tell({ delayMs: 0 });
  const rule = {
    what: "the same with an API server that answers at once",
    factor: 1,
    plus: DELAYED_MS_MAX,
  };
  const name = `ADD, daemon only, API answers ${DELAY_MS} ms late`;
  return { figures: [overFloorInRounds(name, "ms", { rounds, rule })] };
}

/** Nothing on the way of an ADD may wait for a write to the API server. */
export const delayFigures: Group = { name: "delay", measure: measureDelay };

async function countRequests(
  { node }: Surroundings,
  work: () => Promise<unknown>,
): Promise<number> {
  await node.api.tell({ clear: true });
  await work();
  const { counters } = await node.api.tell({ clear: true });
  return Object.values(counters).reduce((all, count) => all + count, 0);
}

const COUNTED = 20;

async function measureSilence(surroundings: Surroundings): Promise<Measured> {
  const { node } = surroundings;
  await startWarm(surroundings);
  const containers = Array.from(
    { length: COUNTED },
    () => containerFor(POD_NAME),
  );
  for (const container of containers) await node.call("ADD", container);
  await untilQuiet(node);
  const check = await countRequests(surroundings, async () => {
    for (const container of containers) await node.call("CHECK", container);
  });
  const del = await countRequests(surroundings, async () => {
    for (const container of containers) await node.call("DEL", container);
  });
  return {
    figures: [
      within("API requests per DEL", "requests", {
        value: del / COUNTED,
        limit: 0,
      }),
      within("API requests per CHECK", "requests", {
        value: check / COUNTED,
        limit: 0,
      }),
    ],
  };
}

/** So long without a request, and what was to be written is written: the slowest are events, five a second. */
const QUIET_MS = 1_000;

/** Waits until the daemon asks the API server nothing any more. */
export async function untilQuiet(node: BenchNode): Promise<void> {
  for (let before = "";;) {
    const { counters, inFlight } = await node.api.tell({});
    const now = JSON.stringify([counters, inFlight]);
    if (now === before) return;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  }
}

/** DEL and CHECK ask nobody. */
export const silenceFigures: Group = {
  name: "silence",
  measure: measureSilence,
};
