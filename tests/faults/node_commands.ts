/**
 * GC and STATUS when it matters: while pods come and go, with a record that
 * cannot be read, with plugins that hang, with the API server away.
 */
import { join } from "node:path";
import { ask } from "../../lib/wire/ask.ts";
import { socketPathIn } from "../../lib/wire/places.ts";
import { installNoopPlugin, readCalls } from "../noop_plugin.ts";
import type { Sandbox, ShimOutcome, TestNode } from "../node.ts";
import { putDefinition, readKernel } from "../pods.ts";
import type { Fault } from "./fault.ts";
import {
  addQuietly,
  deletePods,
  type Ground,
  prepareGround,
  waitForRecovery,
} from "./ground.ts";
import { faultOf, repeat } from "./trials.ts";

const TYPE = "collecting";
const STATUS_MS_MAX = 1_000;
const NOT_AVAILABLE = 50;

/** STATUS takes a second at most, the shim's start included; a busy machine may be late once in ten. */
const LATE_MAX = 0.1;

/** GC and STATUS. */
export const NODE_COMMANDS: Fault = faultOf(
  "GC and STATUS amid ADDs, damaged records, hung plugins, no API server",
  {
    prepare,
    trials: (size) => {
      const rounds = size === "full" ? 10 : 2;
      return [
        ...repeat(rounds, [["GC amid ADDs", collectAmidAdds]]),
        ["GC of what is stale", collectStale],
        ["GC with a damaged record", refuse],
        [
          "STATUS with a plugin that hangs",
          (ground) => askStatus(ground, rounds * 5),
        ],
        ["STATUS without the API server", askEarly],
      ];
    },
  },
);

async function prepare(): Promise<Ground> {
  const ground = await prepareGround({ plugins: [TYPE] });
  const { node } = ground;
  await Deno.mkdir(join(node.binDir, "calls"));
  await installNoopPlugin(node.binDir, TYPE, {});
  putDefinition(node, "collected", {
    cniVersion: "1.1.0",
    name: "collected",
    type: TYPE,
  });
  node.runtimeConf = { ...node.runtimeConf, cniVersion: "1.1.0" };
  return ground;
}

/** A command about the node: it stands for every container. */
async function callNode(
  { node }: Ground,
  command: string,
  conf: string,
): Promise<ShimOutcome> {
  const nobody = {
    containerId: "",
    netns: "",
    namespace: "",
    name: "",
    uid: "",
  };
  return await node.cni(command, nobody, {
    conf,
    env: { CNI_ARGS: "", CNI_IFNAME: "" },
  });
}

function gcConf({ node }: Ground, valid: readonly Sandbox[]): string {
  return JSON.stringify({
    ...node.runtimeConf,
    "cni.dev/valid-attachments": valid.map(({ containerId }) => ({
      containerID: containerId,
      ifname: "eth0",
    })),
  });
}

async function collect(
  ground: Ground,
  valid: readonly Sandbox[],
): Promise<ShimOutcome> {
  return await callNode(ground, "GC", gcConf(ground, valid));
}

/** Pods that are added while GC runs are never taken for garbage. */
async function collectAmidAdds(ground: Ground): Promise<string[]> {
  const old = await ground.createPod("one,collected");
  const wrong = await addQuietly(ground, old);
  const fresh = await Array.fromAsync(
    { length: 3 },
    () => ground.createPod("one,collected"),
  );
  await Deno.remove(join(ground.node.binDir, "calls", "order")).catch(() => {});
  const [collected, ...added] = await Promise.all([
    collect(ground, [old]),
    ...fresh.map((sandbox) => addQuietly(ground, sandbox)),
  ]);
  wrong.push(...added.flat());
  if (collected.code !== 0) wrong.push(`GC answered: ${collected.stdout}`);
  wrong.push(...await unknownAtGc(ground));
  for (const sandbox of [old, ...fresh]) {
    const names = Object.keys(await readKernel(sandbox)).sort().join();
    if (names !== "eth0,net1") wrong.push(`${sandbox.name} has ${names}`);
    const check = await ground.node.cni("CHECK", sandbox);
    if (check.code !== 0) wrong.push(`CHECK: ${check.stdout}`);
  }
  wrong.push(...await deletePods(ground, [old, ...fresh]));
  return wrong;
}

/** Whatever was added before the plugin's GC began must be in the list that it got. */
async function unknownAtGc({ node }: Ground): Promise<string[]> {
  const added = new Set<string>();
  const wrong: string[] = [];
  for (const { command, env, stdin } of await readCalls(node.binDir)) {
    const id = env.CNI_CONTAINERID ?? "";
    if (command === "ADD") added.add(id);
    if (command !== "GC") continue;
    const valid: { containerID: string }[] =
      JSON.parse(stdin)["cni.dev/valid-attachments"];
    const told = new Set(valid.map(({ containerID }) => containerID));
    wrong.push(
      ...[...added].filter((id) => !told.has(id)).map((id) =>
        `GC did not hear of ${id}`
      ),
    );
  }
  return wrong;
}

async function collectStale(ground: Ground): Promise<string[]> {
  const [stale, live] = [await ground.createPod(), await ground.createPod()];
  const wrong = [
    ...await addQuietly(ground, stale),
    ...await addQuietly(ground, live),
  ];
  await ground.node.removeSandbox(stale);
  const { code, stdout } = await collect(ground, [live]);
  if (code !== 0) wrong.push(`GC answered: ${stdout}`);
  const check = await ground.node.cni("CHECK", live);
  if (check.code !== 0) wrong.push(`CHECK: ${check.stdout}`);
  const addresses = await ground.networks.addressesInUse();
  if (addresses.length !== 4) wrong.push(`addresses: ${addresses.join()}`);
  wrong.push(...await deletePods(ground, [live]));
  return wrong;
}

/** What cannot be read cannot be told valid from stale: nothing is freed at all. */
async function refuse(ground: Ground): Promise<string[]> {
  const [damaged, other] = [await ground.createPod(), await ground.createPod()];
  const wrong = [
    ...await addQuietly(ground, damaged),
    ...await addQuietly(ground, other),
  ];
  const { node, networks } = ground;
  await Deno.truncate(join(node.profile.cniStateDir, damaged.containerId), 99);
  const { code } = await collect(ground, [damaged]);
  if (code === 0) wrong.push("GC answered 0");
  const addresses = await networks.addressesInUse();
  if (addresses.length !== 8) wrong.push(`addresses: ${addresses.join()}`);
  wrong.push(...await deletePods(ground, [damaged, other], /\/quarantine\//));
  return wrong;
}

async function timeStatus(
  ground: Ground,
  { conf }: { conf: string },
): Promise<{ code: number; late: boolean; error?: number }> {
  const { code, json, durationMs } = await callNode(ground, "STATUS", conf);
  const late = durationMs > STATUS_MS_MAX;
  return {
    code,
    late,
    ...(json?.code === undefined ? {} : { error: json.code }),
  };
}

/** A default network whose STATUS hangs is not unready, and keeps nobody waiting. */
async function askStatus(ground: Ground, times: number): Promise<string[]> {
  const { node } = ground;
  await installNoopPlugin(node.binDir, TYPE, { STATUS: "hang" });
  const conf = JSON.stringify({
    ...node.runtimeConf,
    clusterNetwork: undefined,
    delegates: [{ cniVersion: "1.1.0", name: "hangs", type: TYPE }],
  });
  const answers = await Array.fromAsync(
    { length: times },
    () => timeStatus(ground, { conf }),
  );
  await installNoopPlugin(node.binDir, TYPE, { STATUS: "" });
  const wrong = answers.filter(({ code }) => code !== 0)
    .map(({ error }) => `STATUS answered ${error}`);
  const late = answers.filter((answer) => answer.late).length;
  if (late > times * LATE_MAX) wrong.push(`${late} of ${times} were late`);
  return wrong;
}

/** A daemon that has not heard of the API server yet says so at once. */
async function askEarly(ground: Ground): Promise<string[]> {
  const { node } = ground;
  await ground.killDaemon();
  await node.api.stop();
  await node.startDaemon({ waitReady: false });
  const conf = JSON.stringify(node.runtimeConf);
  await waitForSocket(node);
  const answer = await timeStatus(ground, { conf });
  await node.api.start();
  await node.waitReady();
  const wrong = answer.error === NOT_AVAILABLE
    ? []
    : [`STATUS answered ${answer.error}`];
  const { code } = await timeStatus(ground, { conf });
  if (code !== 0) wrong.push("STATUS is not good when the server is back");
  return wrong;
}

/** Waits until the daemon serves, ready or not. */
async function waitForSocket({ profile }: TestNode): Promise<void> {
  const socketPath = socketPathIn(profile.socketDir);
  const question = { socketPath, route: "/healthz", method: "GET" } as const;
  await waitForRecovery("the daemon serves", async () => {
    const signal = AbortSignal.timeout(STATUS_MS_MAX);
    return await ask(question, { signal }).then(
      ({ status }) => status === 200,
      () => false,
    );
  });
}
