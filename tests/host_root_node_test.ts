/**
 * The same pod's life in both forms of the daemon: beside the plugins, each of
 * which it is granted by path; and in a pod, where plugins are the host's and
 * it is granted the two scripts alone. The host's root has what makes paths
 * differ there: `/var/run` is an absolute link, and so is each plugin, as on
 * k3s.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { grantsOf } from "../lib/grants.ts";
import { createHostRoot, type HostRoot } from "./host_root.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { runProgram, type Sandbox, TestNode } from "./node.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertAgreement,
  assertDone,
  assertNothingLeft,
  createPod,
  putDefinition,
  readDefaultRoutes,
} from "./pods.ts";
import { findPluginDir } from "./prerequisites.ts";

/** The CNI directory of k3s, and a directory that its links lead to. */
const PLUGIN_DIR = "/var/lib/rancher/k3s/data/cni";
const LINKED_DIR = "/var/lib/rancher/k3s/data/current/bin";
const PLUGINS = ["bridge", "host-local", "macvlan"];

interface Scene extends AsyncDisposable {
  readonly node: TestNode;
  readonly networks: Networks;
}

async function mount(...args: string[]): Promise<void> {
  const { code, stderr } = await runProgram(["mount", ...args]);
  equal(code, 0, stderr);
}

/** Shows a directory of this root in the host's, with what is mounted in it later. */
async function showIn(host: HostRoot, dir: string): Promise<AsyncDisposable> {
  const target = `${host.path}${dir}`;
  await Deno.mkdir(target, { recursive: true });
  await mount("--rbind", dir, target);
  // One way: what is unmounted there at the end is in use by other tests.
  await mount("--make-rslave", target);
  return unmounting(target);
}

function unmounting(target: string): AsyncDisposable {
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      await runProgram(["umount", "--recursive", "--lazy", target]);
    },
  };
}

/** A host's root with plugins as k3s has them, where the node's networks are. */
async function layHostRoot(stack: AsyncDisposableStack): Promise<HostRoot> {
  const host = stack.use(await createHostRoot({ pluginDirs: [PLUGIN_DIR] }));
  const from = await findPluginDir() ?? "";
  await Deno.mkdir(`${host.path}${LINKED_DIR}`, { recursive: true });
  for (const name of PLUGINS) {
    const file = `${LINKED_DIR}/${name}`;
    await Deno.copyFile(join(from, name), `${host.path}${file}`);
    await host.link(file, `${PLUGIN_DIR}/${name}`);
  }
  await host.link("/run", "/var/run");
  await mount("--make-shared", "/run/netns");
  stack.use(await showIn(host, "/run/netns"));
  await Deno.mkdir(`${host.path}/proc`);
  await mount("-t", "proc", "proc", `${host.path}/proc`);
  stack.use(unmounting(`${host.path}/proc`));
  return host;
}

async function createDirect(stack: AsyncDisposableStack): Promise<TestNode> {
  return stack.use(await TestNode.create());
}

async function createInPod(stack: AsyncDisposableStack): Promise<TestNode> {
  const host = await layHostRoot(stack);
  const node = stack.use(
    await TestNode.create({
      profile: { hostRoot: host.path, cniBinDirs: [PLUGIN_DIR], plugins: [] },
      daemonConf: { chrootDir: host.path },
    }),
  );
  await Deno.mkdir(join(node.dir, "ipam"));
  stack.use(await showIn(host, join(node.dir, "ipam")));
  return node;
}

async function createScene(
  create: (stack: AsyncDisposableStack) => Promise<TestNode>,
): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const node = await create(stack);
  const networks = stack.use(await layNetworks(node));
  putDefinition(node, "macvlan", networks.macvlan(1));
  await node.startDaemon();
  const kept = stack.move();
  return {
    node,
    networks,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function tellLife(
  { node, networks }: Scene,
  t: Deno.TestContext,
): Promise<void> {
  const gateway = `${networks.subnet(1)}.1`;
  let pod: Sandbox | undefined;
  await step(
    t,
    "ADD attaches bridge and macvlan, which owns the default route",
    async () => {
      const sandbox = await createPod(node, "both", {
        networks: [{ name: "macvlan", "default-route": [gateway] }],
      });
      pod = sandbox;
      match(sandbox.netns, /^\/var\/run\/netns\//);
      await addPod(node, sandbox);
      deepEqual(await readDefaultRoutes(sandbox), [`${gateway} net1`]);
      await assertAgreement(node, sandbox, [
        { name: "cluster-net", network: "cluster-net", ifname: "eth0" },
        { name: "default/macvlan", network: "macvlan", ifname: "net1" },
      ]);
    },
  );
  await step(t, "CHECK finds what ADD left", async () => {
    ok(pod);
    assertDone(node, await node.cni("CHECK", pod));
  });
  await step(t, "DEL leaves nothing, and so does the second one", async () => {
    ok(pod);
    for (let times = 0; times < 2; times++) {
      assertDone(node, await node.cni("DEL", pod));
      await assertNothingLeft(node, networks, [pod]);
    }
  });
}

nodeTest(
  "beside its plugins the daemon makes and undoes a pod's networks",
  async (t) => {
    await using scene = await createScene(createDirect);
    await tellLife(scene, t);
  },
);

nodeTest(
  "in a pod the daemon does the same by two scripts, and may run nothing else",
  async (t) => {
    await using scene = await createScene(createInPod);
    const { node } = scene;
    const run = grantsOf("multus-daemon", node.profile)
      .filter(({ kind }) => kind === "run").map(({ value }) => value);
    deepEqual(
      run,
      ["delegate-exec", "default-route"].map((name) =>
        join(node.profile.libexecDir, name)
      ),
    );
    // What the program was really started with.
    const compared = await node.ctl(["grants", node.program("multus-daemon")]);
    equal(compared.code, 0, compared.stdout + compared.stderr);
    await tellLife(scene, t);
  },
);
