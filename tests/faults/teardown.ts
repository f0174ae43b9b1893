/**
 * DEL when everything that it could ask is gone, when plugins fail, and when
 * nobody is there to take it.
 */
import { ask } from "../../lib/wire/ask.ts";
import { socketPathIn } from "../../lib/wire/places.ts";
import type { Sandbox } from "../node.ts";
import { readKernel } from "../pods.ts";
import { createTally, type Fault, type Outcome } from "./fault.ts";
import {
  addQuietly,
  askDaemon,
  deletePods,
  deleteQuietly,
  endPods,
  type Ground,
  prepareGround,
  waitForRecovery,
} from "./ground.ts";
import { faultOf } from "./trials.ts";

/** A DEL of a container that nobody knows. */
const UNKNOWN_MS_MAX = 100;

/** What a DEL could want to know is gone. */
export const NOBODY_TO_ASK: Fault = faultOf(
  "DEL with API server, NAD, pod, netns gone; of unknown containers",
  {
    trials: (size) => [
      ["all gone", deleteOrphan],
      [
        "unknown",
        (ground) => deleteUnknown(ground, size === "full" ? 1_000 : 100),
      ],
    ],
  },
);

async function deleteOrphan(ground: Ground): Promise<string[]> {
  const { node, networks } = ground;
  const sandbox = await ground.createPod();
  const wrong = await addQuietly(ground, sandbox);
  const { api } = node;
  for (const name of ["one", "two", "three"]) {
    api.delete("NetworkAttachmentDefinition", name);
  }
  api.delete("Pod", sandbox.name);
  await api.stop();
  await node.removeSandbox(sandbox);
  wrong.push(...await deleteQuietly(ground, sandbox));
  wrong.push(...await networks.addressesInUse());
  wrong.push(...await ground.leftOver([]));
  await api.start();
  return wrong;
}

async function deleteUnknown(ground: Ground, times: number): Promise<string[]> {
  const { node } = ground;
  const sandbox = await ground.createPod("");
  const reads = (): number =>
    node.api.log.count({ verb: "get" }) + node.api.log.count({ verb: "list" });
  const before = reads();
  const durations: number[] = [];
  for (let count = 0; count < times; count++) {
    const containerId = crypto.randomUUID().replaceAll("-", "");
    const start = performance.now();
    const { status } = await askDaemon(ground, "DEL", {
      ...sandbox,
      containerId,
    });
    if (status !== 200) return [`answer ${status}`];
    durations.push(performance.now() - start);
  }
  // One that is late is the machine's, one in a hundred is ours.
  const late = durations.filter((ms) => ms > UNKNOWN_MS_MAX).length;
  const wrong = late > times / 100 ? [`${late} took too long`] : [];
  if (reads() > before) wrong.push(`${reads() - before} questions to the API`);
  wrong.push(...await endPods(ground, [sandbox]));
  return wrong;
}

/** A plugin whose DEL fails for a while. */
export const PLUGIN_FAILS: Fault = faultOf(
  "DEL with a plugin that fails, over restarts of the daemon",
  {
    trials: () => [
      ["kept", deleteLater],
      ["added again meanwhile", addAgain],
      ["deleted again", deleteAgain],
      ["told to the runtime", tellRuntime],
    ],
  },
);

async function deleteLater(ground: Ground): Promise<string[]> {
  const sandbox = await ground.createPod();
  const wrong = await addQuietly(ground, sandbox);
  {
    await using _failing = await ground.tell("fail_DEL");
    wrong.push(...await deleteQuietly(ground, sandbox));
    await waitForRetries(ground, 2);
    await ground.killDaemon();
    await ground.startDaemon();
    await waitForRetries(ground, 1);
  }
  wrong.push(...await endPods(ground, [sandbox]));
  return wrong;
}

/** Waits until the DEL that is kept was tried so often again. */
async function waitForRetries(ground: Ground, times: number): Promise<void> {
  await ground.killAt(0);
  await waitForRecovery("a DEL tried again", async () => {
    const steps = await ground.steps();
    return steps.filter((step) => step.includes("DEL bridge eth0")).length >=
      times;
  });
}

/** What is added after a DEL that is kept is not undone by it. */
async function addAgain(ground: Ground): Promise<string[]> {
  const { node } = ground;
  const sandbox = await ground.createPod();
  const wrong = await addQuietly(ground, sandbox);
  {
    await using _failing = await ground.tell("fail_DEL");
    wrong.push(...await deleteQuietly(ground, sandbox));
  }
  wrong.push(...await addQuietly(ground, sandbox));
  await waitForRecovery(
    "nothing waiting",
    async () => (await readPending(ground)) === 0,
  );
  const names = Object.keys(await readKernel(sandbox)).sort().join();
  if (names !== "eth0,net1,net2,net3") wrong.push(`interfaces ${names}`);
  const check = await node.cni("CHECK", sandbox);
  if (check.code !== 0) wrong.push(check.stdout);
  wrong.push(...await deletePods(ground, [sandbox]));
  return wrong;
}

async function readPending({ node }: Ground): Promise<number> {
  const socketPath = socketPathIn(node.profile.socketDir);
  const { body } = await ask({ socketPath, route: "/status", method: "GET" }, {
    signal: AbortSignal.timeout(10_000),
  });
  return JSON.parse(body).pendingTeardowns;
}

/** A DEL of the runtime that works makes the one that is kept void. */
async function deleteAgain(ground: Ground): Promise<string[]> {
  const sandbox = await ground.createPod();
  const wrong = await addQuietly(ground, sandbox);
  {
    await using _failing = await ground.tell("fail_DEL");
    wrong.push(...await deleteQuietly(ground, sandbox));
  }
  wrong.push(...await deletePods(ground, [sandbox]));
  return wrong;
}

async function tellRuntime(ground: Ground): Promise<string[]> {
  const { node } = ground;
  const conf = JSON.stringify({
    ...node.runtimeConf,
    retryDeleteOnError: true,
  });
  const sandbox = await ground.createPod();
  const wrong = await addQuietly(ground, sandbox);
  {
    await using _failing = await ground.tell("fail_DEL");
    const { json } = await node.cni("DEL", sandbox, { conf });
    if (json?.code !== 111) wrong.push(`told ${JSON.stringify(json)}`);
  }
  wrong.push(...await deletePods(ground, [sandbox]));
  return wrong;
}

/** Pods deleted while no daemon is there. */
export const NOBODY_THERE: Fault = {
  name: "pods deleted while the daemon is away",
  async run(size, say): Promise<Outcome> {
    await using ground = await prepareGround();
    await ground.startDaemon();
    const tally = createTally(say);
    const sandboxes: Sandbox[] = [];
    for (let count = size === "full" ? 50 : 8; count > 0; count--) {
      const sandbox = await ground.createPod();
      sandboxes.push(sandbox);
      await tally.trial(`ADD ${count}`, () => addQuietly(ground, sandbox));
    }
    await ground.killDaemon();
    for (const sandbox of sandboxes) {
      await tally.trial(`DEL of ${sandbox.name}`, async () => {
        const wrong = await deleteQuietly(ground, sandbox);
        // The same DEL again is the same file.
        wrong.push(...await deleteQuietly(ground, sandbox));
        return wrong;
      });
    }
    await ground.startDaemon();
    await tally.trial("when it is back", () => ground.leftOver(sandboxes));
    return tally.outcome();
  },
};
