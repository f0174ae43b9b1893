/**
 * Pods that come and go while shims, plugins, the daemon and the API server are
 * killed at random. A kubelet in small drives them: an ADD that fails is
 * followed by a DEL and another sandbox, a DEL is sent until it is taken. At
 * the end some pods are left, and the books must balance exactly: addresses,
 * interfaces, records, results, statuses are theirs and nobody else's.
 */
import { waitUntil } from "../api_server/wait.ts";
import { runProgram, type Sandbox, type TestNode } from "../node.ts";
import {
  assertAgreement,
  type Expected,
  putPod,
  readKernel,
  sandboxOf,
} from "../pods.ts";
import { createTally, type Fault, type Outcome } from "./fault.ts";
import {
  DELEGATES,
  type Ground,
  prepareGround,
  THREE_NETWORKS,
  waitForRecovery,
} from "./ground.ts";
import { createRandom, type Random } from "./random.ts";

const SEED = 20_260_923;
const PODS_FULL = 300;
const PODS_BOUNDED = 30;

/** Pods that a kubelet starts and stops at once on two processors. */
const WORKERS = 4;

/** One pod in so many stays until the end. */
const STAYS = 6;

/** How often a kubelet in small tries; each kill costs one or two. */
const TRIES_MAX = 40;

/** Between two kills: the daemon comes back in about this time, so that something gets done. */
const KILL_MS = { min: 300, spread: 1_500 };

const ATTACHED: readonly Expected[] = [
  { name: "cluster-net", network: "cluster-net", ifname: "eth0" },
  { name: "default/one", network: "one", ifname: "net1" },
  { name: "default/two", network: "two", ifname: "net2" },
  { name: "default/three", network: "three", ifname: "net3" },
];

/** What a churn works with. */
interface Churn {
  readonly ground: Ground;
  readonly random: Random;
  /** Shims that run. */
  readonly shims: Set<Deno.ChildProcess>;
  readonly kills: Record<string, number>;
}

/** 300 pods and random kills. */
export const CHURNED: Fault = {
  name: "300 pods churned, with kills of shims, plugins, daemon, API server",
  async run(size, say): Promise<Outcome> {
    await using ground = await prepareGround();
    await ground.startDaemon();
    const random = createRandom(SEED);
    const churn: Churn = { ground, random, shims: new Set(), kills: {} };
    const tally = createTally(say);
    const count = size === "full" ? PODS_FULL : PODS_BOUNDED;
    const stayed = await live(churn, count, tally.trial);
    await tally.trial("books of those that stayed", () => audit(churn, stayed));
    for (const sandbox of stayed) {
      await tally.trial(`end of ${sandbox.name}`, () => end(churn, sandbox));
    }
    await tally.trial("books at the end", () => ground.leftOver([]));
    say(`kills: ${JSON.stringify(churn.kills)}`);
    return tally.outcome();
  },
};

type Trial = (
  name: string,
  run: () => Promise<readonly string[] | void>,
) => Promise<void>;

/** All pods, with the killer beside them; those that stay. */
async function live(
  churn: Churn,
  count: number,
  trial: Trial,
): Promise<Sandbox[]> {
  const stayed: Sandbox[] = [];
  const peace = new AbortController();
  const killing = killOnAndOn(churn, peace.signal);
  const numbers = Array.from({ length: count }, (_, index) => index).values();
  const work = async (): Promise<void> => {
    for (const number of numbers) {
      await trial(`pod ${number}`, async () => {
        const sandbox = await begin(churn, `churn-${number}`);
        if (number % STAYS === 0) stayed.push(sandbox);
        else await end(churn, sandbox);
      });
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  peace.abort();
  await killing;
  return stayed;
}

/** ADD, until one works: after each that fails, DEL and another sandbox. */
async function begin(churn: Churn, name: string): Promise<Sandbox> {
  const { node } = churn.ground;
  putPod(node, name, { networks: THREE_NETWORKS });
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    const sandbox = await sandboxOf(node, name);
    if (await runShim(churn, "ADD", sandbox)) return sandbox;
    await remove(churn, sandbox);
  }
  throw new Deno.errors.TimedOut(`Never added: ${name}`);
}

async function end(churn: Churn, sandbox: Sandbox): Promise<void> {
  await remove(churn, sandbox);
  churn.ground.node.api.delete("Pod", sandbox.name);
}

/** DEL, until one is taken, and only then the netns, in which nothing may be left but what a kept DEL will undo. */
async function remove(churn: Churn, sandbox: Sandbox): Promise<void> {
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    if (!await runShim(churn, "DEL", sandbox)) continue;
    return await churn.ground.node.removeSandbox(sandbox);
  }
  throw new Deno.errors.TimedOut(`Never deleted: ${sandbox.name}`);
}

/** Executes the shim, which may be killed meanwhile; whether it went well. */
async function runShim(
  { ground: { node }, shims }: Churn,
  command: string,
  sandbox: Sandbox,
): Promise<boolean> {
  const child = new Deno.Command(node.program("multus-shim"), {
    env: node.cniEnv(command, sandbox),
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  shims.add(child);
  const writer = child.stdin.getWriter();
  const conf = JSON.stringify({ ...node.runtimeConf, shimWaitSeconds: 5 });
  await writer.write(new TextEncoder().encode(conf))
    .then(() => writer.close()).catch(() => {});
  const { success } = await child.output();
  shims.delete(child);
  return success;
}

/** Kills something, waits, and so on until there is peace; leaves everything running. */
async function killOnAndOn(churn: Churn, peace: AbortSignal): Promise<void> {
  const { random, kills } = churn;
  while (!peace.aborted) {
    const kind = random.pick([
      "shim",
      "shim",
      "plugin",
      "plugin",
      "daemon",
      "api",
    ]);
    kills[kind] = (kills[kind] ?? 0) + 1;
    await kill(churn, kind);
    await pause(KILL_MS.min + random.below(KILL_MS.spread), peace);
  }
}

/** The time between two kills is part of what is tried, not a wait for something. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  return promise.finally(() => clearTimeout(timer));
}

async function kill(churn: Churn, kind: string): Promise<void> {
  const { ground, random, shims } = churn;
  const { api } = ground.node;
  if (kind === "shim") {
    const running = [...shims];
    if (running.length === 0) return;
    try {
      random.pick(running).kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
  } else if (kind === "plugin") await killPlugin(churn);
  else if (kind === "daemon") {
    await ground.killDaemon();
    await ground.startDaemon();
  } else {
    await api.stop();
    await pause(random.below(1_000), new AbortController().signal);
    await api.start();
  }
}

/** Kills one of the plugins that run, of the daemon's own children. */
async function killPlugin({ ground, random }: Churn): Promise<void> {
  const { stdout } = await runProgram([
    "sh",
    "-c",
    `grep -lzE '/step-(bridge|macvlan)$' /proc/[0-9]*/cmdline 2>/dev/null`,
  ]);
  const pids = [...stdout.matchAll(/\d+/g)].map(([pid]) => Number(pid))
    .filter((pid) => pid !== ground.node.daemonPid);
  if (pids.length === 0) return;
  try {
    Deno.kill(random.pick(pids), "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

/** What is there belongs to those that stayed, and all that belongs to them is there. */
async function audit(
  { ground }: Churn,
  stayed: readonly Sandbox[],
): Promise<string[]> {
  const { node, networks } = ground;
  const wanted = stayed.length * DELEGATES;
  const wrong: string[] = [];
  await waitForRecovery(
    `${wanted} addresses in use`,
    async () => (await networks.addressesInUse()).length === wanted,
  ).catch(async () => {
    const { length } = await networks.addressesInUse();
    wrong.push(`${length} addresses in use, not ${wanted}`);
  });
  await waitUntil(
    async () => (await filesOf(node)).length === 5 * stayed.length,
    {
      what: "files of those that stayed",
    },
  ).catch(async () => wrong.push(`files: ${(await filesOf(node)).join()}`));
  for (const sandbox of stayed) {
    await waitForRecovery(`agreement about ${sandbox.name}`, async () => {
      const names = Object.keys(await readKernel(sandbox));
      return names.length === DELEGATES;
    }).then(() => assertAgreement(node, sandbox, ATTACHED))
      .catch((error) => wrong.push(`${sandbox.name}: ${error}`));
  }
  return wrong;
}

/** Records and results. */
async function filesOf(node: TestNode): Promise<string[]> {
  const { stdout } = await runProgram([
    "find",
    node.profile.cniStateDir,
    "-type",
    "f",
  ]);
  return stdout.split("\n").filter((path) => path !== "");
}
