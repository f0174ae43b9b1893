/**
 * Clients that go away, that say the same twice, that want two things of one
 * container at once, or that only hold connections open; and a daemon that is
 * asked to end while all of them are there.
 */
import { join } from "node:path";
import { ask } from "../../lib/wire/ask.ts";
import { socketPathIn } from "../../lib/wire/places.ts";
import { installNoopPlugin, waitForFile } from "../noop_plugin.ts";
import type { TestNode } from "../node.ts";
import { membersOf } from "../process_group.ts";
import { putDefinition, readStatus } from "../pods.ts";
import type { Fault } from "./fault.ts";
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
import { faultOf, repeat } from "./trials.ts";

const TYPE = "waiting";
const TRY_AGAIN_LATER = 11;

/** More than any number of shims that a node has at once. */
const IDLE_CONNECTIONS = 300;

/** Whatever is answered is answered within this. */
const ANSWER_MS_MAX = 60_000;

/** `shutdownTimeoutSeconds`, and what comes after it. */
const EXIT_MS_MAX = 20_000;

async function prepare(): Promise<Ground> {
  const ground = await prepareGround({
    plugins: [TYPE],
    daemonConf: { shutdownTimeoutSeconds: 10 },
  });
  const { node } = ground;
  putDefinition(node, "slow", {
    cniVersion: "1.0.0",
    name: "slow",
    type: TYPE,
  });
  return ground;
}

/** A plugin that waits until it is told to go on. */
async function installWaiting(node: TestNode): Promise<() => Promise<void>> {
  const path = join(node.binDir, TYPE);
  for (const mark of ["started", "go"]) {
    await Deno.remove(`${path}.mark.${mark}`).catch(() => {});
  }
  await installNoopPlugin(node.binDir, TYPE, {
    ADD:
      `mark started; echo $$ > "$dir/${TYPE}.pid"; echo x >> "$dir/${TYPE}.runs"
while [ ! -e "$dir/${TYPE}.mark.go" ]; do /bin/sleep 0.05; done
print '{"cniVersion":"1.0.0","interfaces":[],"ips":[]}'`,
    DEL: "",
  });
  await Deno.remove(`${path}.runs`).catch(() => {});
  return () => Deno.writeTextFile(`${path}.mark.go`, "");
}

/** Clients that behave oddly. */
export const CLIENTS: Fault = faultOf(
  "clients that go away, repeat, contradict, or say nothing",
  {
    prepare,
    trials: () => [
      ["goes away", goAway],
      ["says it twice", sayTwice],
      ["DEL during ADD", contradict],
      ["idle connections", holdConnections],
    ],
  },
);

async function pluginPid({ node }: Ground): Promise<number> {
  await waitForFile(join(node.binDir, `${TYPE}.mark.started`));
  await waitForFile(join(node.binDir, `${TYPE}.runs`));
  return Number(await Deno.readTextFile(join(node.binDir, `${TYPE}.pid`)));
}

/** The shim is killed while a plugin runs: that is ended, and all is undone. */
async function goAway(ground: Ground): Promise<string[]> {
  const { node } = ground;
  await installWaiting(node);
  const sandbox = await ground.createPod("one,slow");
  const shim = new Deno.Command(node.program("multus-shim"), {
    env: node.cniEnv("ADD", sandbox),
    clearEnv: true,
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const writer = shim.stdin.getWriter();
  await writer.write(
    new TextEncoder().encode(JSON.stringify(node.runtimeConf)),
  );
  await writer.close();
  const pid = await pluginPid(ground);
  shim.kill("SIGKILL");
  await shim.status;
  await waitForRecovery(
    "the plugin ended",
    async () => (await membersOf(pid)).length === 0,
  );
  return await endPods(ground, [sandbox]);
}

async function sayTwice(ground: Ground): Promise<string[]> {
  const { node } = ground;
  const goOn = await installWaiting(node);
  const sandbox = await ground.createPod("one,slow");
  const first = askDaemon(ground, "ADD", sandbox);
  await pluginPid(ground);
  const second = askDaemon(ground, "ADD", sandbox);
  const socketPath = socketPathIn(node.profile.socketDir);
  const signal = AbortSignal.timeout(ANSWER_MS_MAX);
  // What is asked later is answered later: then the second is with the daemon.
  await ask({ socketPath, route: "/healthz", method: "GET" }, { signal });
  await goOn();
  const [a, b] = await Promise.all([first, second]);
  const wrong = [a, b].filter(({ status }) => status !== 200)
    .map(({ body }) => `ADD answered: ${body}`);
  if (a.body !== b.body) wrong.push("two different results");
  const runs = await Deno.readTextFile(join(node.binDir, `${TYPE}.runs`));
  if (runs !== "x\n") wrong.push("the plugin ran twice");
  wrong.push(...await deletePods(ground, [sandbox]));
  return wrong;
}

/** A DEL does not wait for an ADD that hangs: it ends it. */
async function contradict(ground: Ground): Promise<string[]> {
  const { node } = ground;
  await installWaiting(node);
  const sandbox = await ground.createPod("one,slow");
  const adding = node.cni("ADD", sandbox);
  await pluginPid(ground);
  const wrong = await deleteQuietly(ground, sandbox);
  const { json, stdout } = await adding;
  if (json?.code !== TRY_AGAIN_LATER) wrong.push(`ADD answered: ${stdout}`);
  wrong.push(...await endPods(ground, [sandbox]));
  return wrong;
}

async function holdConnections(ground: Ground): Promise<string[]> {
  const { node } = ground;
  const path = socketPathIn(node.profile.socketDir);
  const half = new TextEncoder().encode("POST /cni HTTP/1.1\r\nHo");
  const held: Deno.Conn[] = [];
  try {
    for (let count = 0; count < IDLE_CONNECTIONS; count++) {
      const conn = await Deno.connect({ transport: "unix", path });
      held.push(conn);
      await conn.write(half);
    }
    const sandbox = await ground.createPod();
    const wrong = await addQuietly(ground, sandbox);
    wrong.push(...await deletePods(ground, [sandbox]));
    return wrong;
  } finally {
    for (const conn of held) conn.close();
  }
}

/** The daemon is asked to end, or killed, and comes back. */
export const RESTARTS: Fault = faultOf(
  "SIGTERM while ADDs run; statuses and pods missed by a restart",
  {
    prepare,
    startsDaemon: true,
    trials: (size) =>
      repeat(size === "full" ? 5 : 1, [
        ["SIGTERM", endDuringAdd],
        ["missing status", missStatus],
        ["bare pod", reportBarePod],
      ]),
  },
);

/** What runs is finished, what comes is told to come again, DEL is still served, and the daemon ends in time. */
async function endDuringAdd(ground: Ground): Promise<string[]> {
  const { node } = ground;
  await ground.startDaemon();
  const goOn = await installWaiting(node);
  const [running, late, gone] = [
    await ground.createPod("one,slow"),
    await ground.createPod(),
    await ground.createPod("one"),
  ];
  const wrong = await addQuietly(ground, gone);
  const adding = node.cni("ADD", running);
  await pluginPid(ground);
  const start = performance.now();
  const stopping = node.stopDaemon("SIGTERM");
  await waitForRecovery("the daemon takes no ADD any more", async () => {
    const { code, json } = await node.cni("ADD", late, {
      conf: JSON.stringify({ ...node.runtimeConf, shimWaitSeconds: 0 }),
    });
    if (code === 0) await node.cni("DEL", late);
    return json?.code === TRY_AGAIN_LATER;
  });
  wrong.push(...await deleteQuietly(ground, gone));
  await goOn();
  const { code, stdout } = await adding;
  if (code !== 0) wrong.push(`ADD that ran answered: ${stdout}`);
  const status = await stopping;
  if (status !== 0) wrong.push(`exit status ${status}`);
  const ms = performance.now() - start;
  if (ms > EXIT_MS_MAX) wrong.push(`took ${Math.round(ms)} ms to end`);
  await ground.startDaemon();
  wrong.push(...await deleteQuietly(ground, running));
  wrong.push(...await endPods(ground, [running, late, gone]));
  await ground.killDaemon();
  return wrong;
}

/** The status that could not be written before the daemon was killed is written by the next. */
async function missStatus(ground: Ground): Promise<string[]> {
  const { node } = ground;
  await ground.startDaemon();
  const match = { verb: "patch", resource: "pods" };
  const heal = node.api.faults.add({ match, status: 500 });
  const sandbox = await ground.createPod();
  const wrong = await addQuietly(ground, sandbox);
  await ground.killDaemon();
  heal();
  if (readStatus(node, sandbox) !== undefined) wrong.push("a status too early");
  await ground.startDaemon();
  await waitForRecovery(
    "the status",
    () => readStatus(node, sandbox)?.length === 4,
  );
  wrong.push(...await deletePods(ground, [sandbox]));
  await ground.killDaemon();
  return wrong;
}

/** A pod that was started while Multus was not in place is told of. */
async function reportBarePod(ground: Ground): Promise<string[]> {
  const { node } = ground;
  const sandbox = await ground.createPod();
  const pod = node.api.get("Pod", sandbox.name);
  node.api.put({ ...pod, status: { phase: "Running" } });
  await ground.startDaemon();
  await waitForRecovery(
    "an event about the pod",
    () =>
      node.api.list("Event").some((event) => {
        const text = JSON.stringify(event);
        return text.includes("NetworksMissing") && text.includes(sandbox.name);
      }),
  );
  await ground.killDaemon();
  node.api.delete("Pod", sandbox.name);
  await node.removeSandbox(sandbox);
  return [];
}
