/**
 * The ground that faults happen on: a test node with real networks, whose pods
 * ask for four of them, through plugins that take steps (`step_plugin`).
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Answer } from "../../lib/wire/answer.ts";
import { ask } from "../../lib/wire/ask.ts";
import { socketPathIn } from "../../lib/wire/places.ts";
import { waitUntil } from "../api_server/wait.ts";
import { layNetworks, type Networks } from "../networks.ts";
import { type NodeOptions, type Sandbox, TestNode } from "../node.ts";
import { createPod, listLeft, putDefinition } from "../pods.ts";

const STEP_PLUGIN = fileURLToPath(new URL("./step_plugin", import.meta.url));
const STEPPED = ["bridge", "macvlan"];

/** A daemon that was killed is back, and has put things right, within this; a busy machine takes seconds. */
const RECOVERY_MS = 30_000;

/** What a shim waits for an answer. */
const ANSWER_MS_MAX = 160_000;

/** What the pods of a ground ask for beside the default network. */
export const THREE_NETWORKS = "one,two,three";

/** The delegates of such a pod. */
export const DELEGATES = 4;

/** A test node with networks. */
export interface Ground extends AsyncDisposable {
  /** The node. */
  readonly node: TestNode;
  /** Its networks. */
  readonly networks: Networks;
  /** A pod with the default network and, if not told otherwise, three more. */
  createPod(networks?: string): Promise<Sandbox>;
  /** Starts the daemon, and tells the step plugins which process it is. */
  startDaemon(): Promise<void>;
  /** Kills the daemon. */
  killDaemon(): Promise<void>;
  /** From now on the daemon is killed at this step; 0 for never. */
  killAt(step: number): Promise<void>;
  /** The steps that were taken since the last `killAt`. */
  steps(): Promise<string[]>;
  /** What is left of pods but for files of these names, empty when all is gone; waits for it to become empty for a while. */
  leftOver(sandboxes: readonly Sandbox[], except?: RegExp): Promise<string[]>;
  /** Tells the step plugins something: the file `name` of theirs, which goes when the answer is disposed of. */
  tell(name: string, text?: string): Promise<AsyncDisposable>;
}

/** Makes the ground; the daemon is not started yet. */
export async function prepareGround(
  options: NodeOptions = {},
): Promise<Ground> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(
    await TestNode.create({
      ...options,
      plugins: [
        ...STEPPED.map((type) => `step-${type}`),
        ...options.plugins ?? [],
      ],
    }),
  );
  const networks = stack.use(await layNetworks(node));
  for (const type of STEPPED) {
    const path = join(node.binDir, `step-${type}`);
    await Deno.copyFile(STEP_PLUGIN, path);
    await Deno.chmod(path, 0o755);
  }
  await layStepped(node, networks);
  const kept = stack.move();
  let pods = 0;
  // What one trial has left is not held against the next.
  const known = new Set<string>();
  return {
    node,
    networks,
    createPod: (asked = THREE_NETWORKS) =>
      createPod(node, `pod-${pods++}`, asked === "" ? {} : { networks: asked }),
    startDaemon: () => startDaemon(node),
    killDaemon: async () => void await node.stopDaemon("SIGKILL"),
    killAt: (step) => killAt(node, step),
    steps: () => readSteps(node),
    leftOver: (sandboxes, except) =>
      waitForNothing({ node, networks, known }, sandboxes, except),
    tell: (name, text = "") => tell(join(node.binDir, name), text),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** The same networks as elsewhere, through plugins that take steps. */
async function layStepped(node: TestNode, networks: Networks): Promise<void> {
  const { cniVersion, ...plugin } = networks.bridge(0, {
    type: "step-bridge",
    isGateway: true,
    ipam: networks.hostLocal(0, { routes: [{ dst: "0.0.0.0/0" }] }),
  });
  await Deno.writeTextFile(
    join(node.profile.cniConfDir, "10-bridge.conflist"),
    JSON.stringify({ cniVersion, name: "cluster-net", plugins: [plugin] }),
  );
  // As a gateway it keeps its own MAC: without, it takes that of the lowest port, and the plugin's CHECK of other pods fails.
  const bridge = { type: "step-bridge", isGateway: true };
  putDefinition(node, "one", networks.bridge(1, bridge));
  putDefinition(node, "two", networks.macvlan(2, { type: "step-macvlan" }));
  putDefinition(node, "three", networks.bridge(3, bridge));
}

async function startDaemon(node: TestNode): Promise<void> {
  await node.startDaemon();
  await Deno.writeTextFile(
    join(node.binDir, "daemon_pid"),
    String(node.daemonPid),
  );
}

/** A plugin that just takes a step would find none in the emptied file: then there must be no number to compare. */
async function killAt(node: TestNode, step: number): Promise<void> {
  const file = join(node.binDir, "kill_at");
  await Deno.remove(file).catch(() => {});
  await Deno.writeTextFile(join(node.binDir, "steps"), "");
  if (step > 0) await Deno.writeTextFile(file, String(step));
}

async function readSteps(node: TestNode): Promise<string[]> {
  const text = await Deno.readTextFile(join(node.binDir, "steps"))
    .catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

async function tell(path: string, text: string): Promise<AsyncDisposable> {
  await Deno.writeTextFile(path, text);
  return { [Symbol.asyncDispose]: () => Deno.remove(path) };
}

async function waitForNothing(
  { node, networks, known }: Pick<Ground, "node" | "networks"> & {
    known: Set<string>;
  },
  sandboxes: readonly Sandbox[],
  except?: RegExp,
): Promise<string[]> {
  let left: string[] = [];
  await waitUntil(async () => {
    const found = await listLeft(node, networks, sandboxes);
    left = found.filter((what) =>
      except?.test(what) !== true && !known.has(what)
    );
    return left.length === 0;
  }, { what: "nothing left", timeoutMs: RECOVERY_MS }).catch(() => {});
  for (const what of left) known.add(what);
  return left;
}

/** The DEL of a pod; what is wrong with its answer. */
export async function deleteQuietly(
  { node }: Ground,
  sandbox: Sandbox,
): Promise<string[]> {
  const { code, stdout } = await node.cni("DEL", sandbox);
  return code === 0 ? [] : [`DEL answered ${code}: ${stdout}`];
}

/** The ADD of a pod; what is wrong with its answer. */
export async function addQuietly(
  { node }: Ground,
  sandbox: Sandbox,
): Promise<string[]> {
  const { code, stdout } = await node.cni("ADD", sandbox);
  return code === 0 ? [] : [`ADD answered ${code}: ${stdout}`];
}

/** The end of pods whose DEL was answered: what is left of them, as `leftOver` says it; then their sandboxes go. */
export async function endPods(
  ground: Ground,
  sandboxes: readonly Sandbox[],
  except?: RegExp,
): Promise<string[]> {
  const left = await ground.leftOver(sandboxes, except);
  for (const sandbox of sandboxes) await ground.node.removeSandbox(sandbox);
  return left;
}

/** The DEL of pods, and their end; what is wrong with any of it. */
export async function deletePods(
  ground: Ground,
  sandboxes: readonly Sandbox[],
  except?: RegExp,
): Promise<string[]> {
  const wrong: string[] = [];
  for (const sandbox of sandboxes) {
    wrong.push(...await deleteQuietly(ground, sandbox));
  }
  return [...wrong, ...await endPods(ground, sandboxes, except)];
}

/** A call without a shim, where that would be the load, or would be too slow. */
export function askDaemon(
  { node }: Ground,
  command: string,
  sandbox: Sandbox,
): Promise<Answer> {
  return ask({
    socketPath: socketPathIn(node.profile.socketDir),
    route: "/cni",
    body: JSON.stringify({
      env: node.cniEnv(command, sandbox),
      config: btoa(JSON.stringify(node.runtimeConf)),
    }),
  }, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
}

/** Waits for a condition as long as a recovery may take. */
export async function waitForRecovery(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  await waitUntil(condition, { what, timeoutMs: RECOVERY_MS });
}
