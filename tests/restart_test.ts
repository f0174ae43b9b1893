/**
 * Daemons come and go while pods run: killed in the middle of their work, told
 * to end, started on a node where another one runs or ran. Pods must not
 * notice, and nothing may be lost. Every step of an ADD or DEL at which a
 * daemon may die is gone through in `tests/faults`.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { ask } from "../lib/wire/ask.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { runProgram, TestNode } from "./node.ts";
import { installNoopPlugin, waitForFile } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import { processesGone, processesWith } from "./process_group.ts";
import {
  addPod,
  assertDone,
  assertNothingLeft,
  createPod,
  deletePod,
  listLeft,
  putDefinition,
  readKernel,
  readStatus,
  waitForStatus,
} from "./pods.ts";

interface Scene {
  readonly node: TestNode;
  readonly networks: Networks;
}

/** A node with a plugin `slow`, whose ADD waits until the file `go` is there. */
async function createScene(
  daemonConf: Record<string, unknown> = {},
): Promise<Scene & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(
    await TestNode.create({ plugins: ["slow"], daemonConf }),
  );
  const networks = stack.use(await layNetworks(node));
  await installNoopPlugin(node.binDir, "slow", {
    ADD:
      'mark begun; while ! [ -e "$dir/go" ]; do /bin/sleep 0.02; done; default',
  });
  putDefinition(node, "macvlan", networks.macvlan(1));
  putDefinition(node, "slow", { cniVersion: "1.0.0", type: "slow" });
  await node.startDaemon();
  const kept = stack.move();
  return { node, networks, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function letGo(node: TestNode): Promise<void> {
  await Deno.writeTextFile(join(node.binDir, "go"), "");
}

async function waitForSlow(node: TestNode): Promise<void> {
  const mark = join(node.binDir, "slow.mark.begun");
  await waitForFile(mark);
  await Deno.remove(mark);
}

/** Ends what was started for a container; one that has ended by itself meanwhile is as good. */
async function endProcesses(containerId: string): Promise<void> {
  for (const pid of await processesWith(containerId)) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  await processesGone(containerId);
}

nodeTest(
  "a daemon undoes what the one before it was killed in, and leaves other pods alone",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const lasting = await createPod(node, "lasting", { networks: "macvlan" });
    await addPod(node, lasting);
    const before = await readKernel(lasting);
    const held = await listLeft(node, networks, [lasting]);
    for (
      const asked of [
        "slow, macvlan",
        "macvlan, slow",
        "macvlan, macvlan, slow",
      ]
    ) {
      await step(t, asked, async () => {
        const cut = await createPod(node, "cut", { networks: asked });
        const adding = node.cni("ADD", cut);
        await waitForSlow(node);
        await node.stopDaemon("SIGKILL");
        equal((await adding).json.code, 11);
        // What was begun does not come to its end after it was undone.
        await endProcesses(cut.containerId);
        await node.startDaemon();
        await waitUntil(
          async () =>
            (await listLeft(node, networks, [lasting, cut])).join() ===
              held.join(),
          { what: "the undoing of what was begun", timeoutMs: 30_000 },
        );
        deepEqual(await readKernel(lasting), before);
        assertDone(node, await node.cni("CHECK", lasting));
        assertDone(node, await node.cni("DEL", cut));
        await node.removeSandbox(cut);
      });
    }
    await deletePod(node, lasting, networks);
  },
);

nodeTest(
  "a daemon writes the statuses that the one before it did not",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    for (const signal of ["SIGKILL", "SIGTERM"] as const) {
      await step(t, signal, async () => {
        const sandbox = await createPod(
          node,
          `untold-${signal.toLowerCase()}`,
          {
            networks: "macvlan",
          },
        );
        const end = node.api.faults.add({
          match: { verb: "patch", resource: "pods" },
          status: 503,
        });
        await addPod(node, sandbox);
        await node.stopDaemon(signal);
        equal(readStatus(node, sandbox), undefined);
        end();
        await node.startDaemon();
        await waitForStatus(node, sandbox, ["eth0", "net1"]);
        await deletePod(node, sandbox, networks);
      });
    }
  },
);

nodeTest(
  "a daemon that is told to end finishes what it does, and leaves pods as they are",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const lasting = await createPod(node, "lasting", { networks: "macvlan" });
    await addPod(node, lasting);
    const last = await createPod(node, "last", { networks: "slow" });
    const adding = node.cni("ADD", last);
    await waitForSlow(node);
    const before = await readKernel(lasting);
    const ending = node.stopDaemon("SIGTERM");
    const next = await createPod(node, "next");
    const waiting = node.cni("ADD", next);
    await letGo(node);
    assertDone(node, await adding);
    equal(await ending, 0);
    const socket = join(node.profile.socketDir, "multus.sock");
    equal(await Deno.stat(socket).catch(() => undefined), undefined);
    deepEqual(await readKernel(lasting), before);
    await node.startDaemon();
    // Cut off as it was being taken, it is to be tried again, as runtimes do.
    const waited = await waiting;
    const again = waited.json?.code === 11;
    assertDone(node, again ? await node.cni("ADD", next) : waited);
    for (const sandbox of [lasting, last, next]) {
      assertDone(node, await node.cni("CHECK", sandbox));
      assertDone(node, await node.cni("DEL", sandbox));
    }
    await assertNothingLeft(node, networks, [lasting, last, next]);
  },
);

nodeTest(
  "a daemon that is told to end does so in time, whatever hangs",
  async () => {
    await using scene = await createScene({ shutdownTimeoutSeconds: 2 });
    const { node, networks } = scene;
    const sandbox = await createPod(node, "hung", {
      networks: "macvlan, slow",
    });
    const adding = node.cni("ADD", sandbox);
    await waitForSlow(node);
    const start = performance.now();
    equal(await node.stopDaemon("SIGTERM"), 0);
    const tookMs = performance.now() - start;
    // Kubernetes kills after 30 s, of which two are configured here.
    ok(tookMs < 15_000, `${tookMs} ms`);
    const outcome = await adding;
    equal(outcome.code, 1);
    equal(outcome.json.code, 11, outcome.stdout);
    await node.startDaemon();
    await waitUntil(
      async () => (await listLeft(node, networks, [sandbox])).length === 0,
      { what: "the undoing of what was begun", timeoutMs: 30_000 },
    );
  },
);

async function modeOf(path: string): Promise<string> {
  return (((await Deno.stat(path)).mode ?? 0) & 0o777).toString(8);
}

nodeTest(
  "a daemon replaces a socket that was left behind, for root alone",
  async (t) => {
    await using scene = await createScene();
    const { node } = scene;
    const { socketDir } = node.profile;
    const socket = join(socketDir, "multus.sock");
    const assertModes = async (): Promise<void> =>
      deepEqual([await modeOf(socketDir), await modeOf(socket)], [
        "700",
        "600",
      ]);
    await assertModes();
    await step(t, "that of a daemon that was killed", async () => {
      await node.stopDaemon("SIGKILL");
      ok((await Deno.stat(socket)).isSocket);
      await node.startDaemon();
      await assertModes();
    });
    await step(t, "in a directory that is open to all", async () => {
      await node.stopDaemon();
      await Deno.chmod(socketDir, 0o777);
      await node.startDaemon();
      await assertModes();
    });
  },
);

nodeTest(
  "a second daemon refuses to start, and the first one goes on",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const second = await runProgram([
      node.program("multus-daemon"),
      "--config",
      node.profile.daemonConfig,
    ]);
    equal(second.code, 1);
    const socket = join(node.profile.socketDir, "multus.sock");
    const lines = second.stderr.trim().split("\n");
    match(lines.at(-1) ?? "", /Another daemon serves this socket: /);
    ok(lines.at(-1)?.includes(socket), second.stderr);
    ok(!second.stderr.includes("    at "), second.stderr);
    const question = { socketPath: socket, route: "/healthz" };
    const signal = AbortSignal.timeout(5_000);
    equal((await ask(question, { signal })).status, 200);
    const sandbox = await createPod(node, "undisturbed", {
      networks: "macvlan",
    });
    await addPod(node, sandbox);
    await deletePod(node, sandbox, networks);
  },
);

nodeTest(
  "DEL after the machine was started again undoes what is on disk",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const sandbox = await createPod(node, "before", { networks: "macvlan" });
    await addPod(node, sandbox);
    await node.stopDaemon("SIGKILL");
    // Another boot: /run is empty, namespaces are gone, addresses are still written down.
    await Deno.remove(node.profile.socketDir, { recursive: true });
    await node.removeSandbox(sandbox);
    await waitForNoPorts(networks);
    await node.startDaemon();
    assertDone(node, await node.cni("DEL", sandbox));
    await assertNothingLeft(node, networks, []);
  },
);

/** The kernel takes a namespace apart some time after its name is gone. */
async function waitForNoPorts(networks: Networks): Promise<void> {
  for (let tries = 200; tries > 0; tries--) {
    if ((await networks.ports()).length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
