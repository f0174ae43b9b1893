/**
 * What readiness means: pods and networks are known or can be read, runtimes
 * use the configuration of Multus, requests are taken. Each is said by
 * `/readyz?verbose`, and what a node lacks is said on the node. How it goes on
 * a node with other agents is in `real_node_test.ts`.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { join } from "node:path";
import { ask } from "../lib/wire/ask.ts";
import type { Answer } from "../lib/wire/answer.ts";
import { findTypeOfManifest } from "./api_server/resources.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks } from "./networks.ts";
import { TestNode } from "./node.ts";
import { waitForFile } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import { addPod, createPod, deletePod, putDefinition } from "./pods.ts";

/** A daemon that serves answers at once. */
const ANSWER_MS = 5_000;

/** Trials of live reads come every few seconds. */
const TRIAL_MS = 20_000;

async function readyz(node: TestNode): Promise<Answer> {
  const socketPath = join(node.profile.socketDir, "multus.sock");
  const signal = AbortSignal.timeout(ANSWER_MS);
  const route = "/readyz?verbose";
  return await ask({ socketPath, route, method: "GET" }, { signal });
}

/** What is said on the node that is wrong with it. */
function warnings({ api, nodeName }: TestNode): string[] {
  const type = findTypeOfManifest("v1", "Event");
  if (type === undefined) return [];
  return api.store.list(type)
    // deno-lint-ignore no-explicit-any -- objects of a server
    .filter(({ involvedObject, type }: any) =>
      involvedObject.kind === "Node" && involvedObject.name === nodeName &&
      type === "Warning"
    )
    // deno-lint-ignore no-explicit-any -- objects of a server
    .map(({ message }: any) => message);
}

async function listening(node: TestNode): Promise<void> {
  await waitForFile(join(node.profile.socketDir, "multus.sock"));
}

nodeTest("readiness says what is waited for, and that it came", async (t) => {
  await using node = await TestNode.create({
    daemonConf: {
      multusConfigFile: "auto",
      multusAutoconfigDir: "$NODE/net.d",
      cniConfigDir: "$NODE/net.d",
    },
  });
  await using _networks = await layNetworks(node);
  const primary = join(node.profile.cniConfDir, "10-bridge.conflist");
  const text = await Deno.readTextFile(primary);
  await Deno.remove(primary);
  await node.api.stop();
  await node.startDaemon({ waitReady: false });
  await listening(node);
  await step(t, "neither API server nor default network", async () => {
    const { status, body } = await readyz(node);
    equal(status, 500);
    const lines = body.trimEnd().split("\n");
    deepEqual(lines.map((line) => /^\[.\] \w+/.exec(line)?.[0] ?? line), [
      "[+] serving",
      "[+] certificate",
      "[-] cluster",
      "[-] configuration",
      "not ready",
    ]);
    match(body, /^\[-\] cluster: waiting for pods and .* of the API server$/m);
  });
  await step(t, "the API server comes", async () => {
    await node.api.start();
    await waitUntil(
      async () =>
        (await readyz(node)).body.includes(
          "[+] cluster: caches are complete\n",
        ),
      { what: "complete caches", timeoutMs: TRIAL_MS },
    );
    equal((await readyz(node)).status, 500);
  });
  await step(t, "the default network comes", async () => {
    await Deno.writeTextFile(primary, text);
    await node.waitReady();
    const { status, body } = await readyz(node);
    equal(status, 200);
    match(body, /^\[\+\] configuration: .*10-bridge\.conflist/m);
    match(body, /\nok\n$/);
  });
  await step(t, "it goes, which is said on the node", async () => {
    await Deno.remove(primary);
    const isSaid = (): boolean =>
      warnings(node).some((message) =>
        message.endsWith("; the last good configuration is kept")
      );
    await waitUntil(isSaid, { what: "an event", timeoutMs: TRIAL_MS });
    match((await readyz(node)).body, /^\[-\] configuration: .* is kept$/m);
  });
});

nodeTest(
  "a node is ready when pods and networks cannot be listed, but read",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinition(node, "macvlan", networks.macvlan(1));
    const refuse = { match: { verb: "list" }, status: 403 };
    const end = node.api.faults.add(refuse);
    await node.startDaemon();
    match(
      (await readyz(node)).body,
      /^\[\+\] cluster: waiting for pods and .*, meanwhile each is read live$/m,
    );
    const sandbox = await createPod(node, "read", { networks: "macvlan" });
    await addPod(node, sandbox);
    await deletePod(node, sandbox, networks);
    end();
    await waitUntil(
      async () => (await readyz(node)).body.includes("caches are complete"),
      { what: "complete caches", timeoutMs: 60_000 },
    );
  },
);
