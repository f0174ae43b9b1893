/** What the daemon has in memory: idle, in a big cluster, and after thousands of pods. */
import { join } from "node:path";
import { type Figure, overFloor, within } from "./figure.ts";
import { addAndDelete } from "./operation_figures.ts";
import { memoryOf, type ProcessMemory } from "./process_memory.ts";
import { summarize } from "./statistics.ts";
import {
  type Group,
  type Measured,
  startServer,
  type Surroundings,
} from "./surroundings.ts";

/** The node that everybody measures. */
const SMALL = { pods: { count: 200 }, networks: { count: 50 } } as const;
/** Pods of the node in the big cluster; those of the small one are gone by then. */
const BIG_LOCAL = { count: 110, prefix: "local", networks: "net-0,net-1" };
const BIG = {
  pods: { count: 9_890, prefix: "far", nodeName: "node-b" },
  networks: { count: 1_000 },
} as const;

const IDLE_FACTOR = 2;
const IDLE_MB_MAX = 90;
const BIG_MB_MAX = 15;
const GROWTH_PERCENT_MAX = 3;
/** Time to become quiet after the start: lists are read, and what was read is thrown away. */
const SETTLE_MS = 3_000;
const STARTS = 3;

const FIRST = 2_000;
const LAST = 10_000;
/** As many as a node starts at once. */
const WORKERS = 4;

async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}

async function idleMemory({ node }: Surroundings): Promise<ProcessMemory[]> {
  const found: ProcessMemory[] = [];
  for (let start = 0; start < STARTS; start++) {
    await node.restartDaemon();
    await settle();
    found.push(await memoryOf(node.daemonPid));
  }
  return found;
}

async function floorMemory({ node }: Surroundings): Promise<ProcessMemory[]> {
  const found: ProcessMemory[] = [];
  for (let start = 0; start < STARTS; start++) {
    const socketPath = join(node.dir, "floor.sock");
    await using server = await startServer(socketPath, node.confFile);
    await settle();
    found.push(await memoryOf(server.pid));
  }
  return found;
}

/** ADDs and DELs of the node's pods until so many were made. */
async function churn(
  { node, say }: Surroundings,
  range: { from: number; to: number },
): Promise<void> {
  let next = range.from;
  const worker = async (): Promise<void> => {
    while (next < range.to) {
      const at = next++;
      if (at % 1_000 === 0) say(`memory: ${at} ADDs and DELs`);
      await addAndDelete(
        node,
        1,
        `${BIG_LOCAL.prefix}-${at % BIG_LOCAL.count}`,
      );
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
}

/** The resident size, as it is between two collections: the median of some looks. */
async function steadyMemory({ node }: Surroundings): Promise<ProcessMemory> {
  const looks: ProcessMemory[] = [];
  for (let look = 0; look < 5; look++) {
    await settle();
    looks.push(await memoryOf(node.daemonPid));
  }
  return {
    residentMB: summarize(looks.map((one) => one.residentMB)).median,
    privateMB: summarize(looks.map((one) => one.privateMB)).median,
  };
}

async function measureGrowth(surroundings: Surroundings): Promise<Figure[]> {
  await churn(surroundings, { from: 0, to: FIRST });
  const early = await steadyMemory(surroundings);
  await churn(surroundings, { from: FIRST, to: LAST });
  const late = await steadyMemory(surroundings);
  const percent = (late.residentMB / early.residentMB - 1) * 100;
  return [
    within(`memory, growth from ADD ${FIRST} to ${LAST}`, "%", {
      value: percent,
      limit: GROWTH_PERCENT_MAX,
      note: `${early.residentMB.toFixed(1)} MB, then ${
        late.residentMB.toFixed(1)
      } MB; private ${early.privateMB.toFixed(1)} MB, then ${
        late.privateMB.toFixed(1)
      } MB`,
    }),
  ];
}

function residents(found: readonly ProcessMemory[]): number[] {
  return found.map(({ residentMB }) => residentMB);
}

function privates(found: readonly ProcessMemory[]): number[] {
  return found.map(({ privateMB }) => privateMB);
}

async function measure(surroundings: Surroundings): Promise<Measured> {
  const { node } = surroundings;
  await node.api.tell(SMALL);
  const floor = await floorMemory(surroundings);
  const idle = await idleMemory(surroundings);
  await node.api.tell({ removePods: "pod" });
  await node.api.tell({ pods: BIG_LOCAL });
  await node.api.tell(BIG);
  const big = await idleMemory(surroundings);
  const rule = {
    what: "idle Deno.serve on a unix socket",
    factor: IDLE_FACTOR,
  };
  const idleSample = summarize(residents(idle));
  const figures = [
    overFloor("memory, idle, resident", "MB", {
      value: idleSample,
      floor: summarize(residents(floor)),
      rule,
    }),
    within("memory, idle, resident, limit", "MB", {
      value: idleSample,
      limit: IDLE_MB_MAX,
      note: "75 MB is the aim",
    }),
    overFloor("memory, idle, private", "MB", {
      value: summarize(privates(idle)),
      floor: summarize(privates(floor)),
      rule,
    }),
    overFloor("memory, cluster of 10,000 pods and 1,000 networks", "MB", {
      value: summarize(residents(big)),
      floor: idleSample,
      rule: { what: "idle", factor: 1, plus: BIG_MB_MAX },
    }),
    ...await measureGrowth(surroundings),
  ];
  return { figures };
}

/** Resident and private memory. */
export const memoryFigures: Group = { name: "memory", measure };
