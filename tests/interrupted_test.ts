/**
 * What is found again later must mean what it meant: a namespace that was
 * named by a process, a record that a crash left half-way, a request that
 * looks like another one, a daemon that is ending.
 */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { join } from "node:path";
import { ask } from "../lib/wire/ask.ts";
import { socketPathIn } from "../lib/wire/places.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks } from "./networks.ts";
import { runProgram, type Sandbox, TestNode } from "./node.ts";
import { installNoopPlugin, waitForFile } from "./noop_plugin.ts";
import { nodeTest } from "./on_node.ts";
import { createPod, ipIn, putDefinition } from "./pods.ts";

/** An answer of the daemon must be there long before this, on the busiest machine. */
const ANSWER_MS = 30_000;

async function linksIn(sandbox: Sandbox): Promise<string[]> {
  const lines = (await ipIn(sandbox, "-br", "link")).trim().split("\n");
  return lines.map((line) => line.split(/[@\s]/)[0] ?? "").sort();
}

/**
 * A process in the namespace of one sandbox that a signal (USR1) takes to that
 * of another: what its number leads to is then somebody else's, as when the
 * number is given again.
 */
function startMoving(from: Sandbox, to: Sandbox): Deno.ChildProcess {
  const script = `
trap 'exec nsenter --net=${to.netns} sleep 1000' USR1
while :; do sleep 1000 & wait; done`;
  return new Deno.Command("nsenter", {
    args: [`--net=${from.netns}`, "sh", "-c", script],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

/** Which namespace a path leads to. */
async function namespaceOf(path: string): Promise<string> {
  return (await runProgram(["stat", "--dereference", "--format=%i", path]))
    .stdout;
}

async function hotplug(
  node: TestNode,
  sandbox: Sandbox,
  options: { conf: Record<string, unknown>; ips?: readonly string[] },
): Promise<{ status: number; body: string }> {
  const body = JSON.stringify({
    env: { ...node.cniEnv("ADD", sandbox), CNI_IFNAME: "hot1" },
    config: new TextEncoder().encode(JSON.stringify(options.conf)).toBase64(),
    ...(options.ips === undefined
      ? {}
      : { interfaceAttributes: { ips: options.ips } }),
  });
  const socketPath = socketPathIn(node.profile.socketDir);
  return await ask({ socketPath, route: "/delegate", body }, {
    signal: AbortSignal.timeout(ANSWER_MS),
  });
}

nodeTest(
  "DEL without namespace leaves alone the pod whose process has the number of another one's",
  async () => {
    await using node = await TestNode.create();
    await using _networks = await layNetworks(node);
    await node.startDaemon();
    const other = await createPod(node, "other");
    equal((await node.cni("ADD", other)).code, 0);
    const pod = await createPod(node, "pod");
    const pause = startMoving(pod, other);
    try {
      const named = { ...pod, netns: `/proc/${pause.pid}/ns/net` };
      const own = await namespaceOf(pod.netns);
      await waitUntil(async () => await namespaceOf(named.netns) === own, {
        what: "the process to be in the pod",
      });
      equal((await node.cni("ADD", named)).code, 0);
      pause.kill("SIGUSR1");
      const others = await namespaceOf(other.netns);
      await waitUntil(async () => await namespaceOf(named.netns) === others, {
        what: "the number to lead to the other pod",
      });
      const before = await linksIn(other);
      const deleted = await node.cni("DEL", named, { env: { CNI_NETNS: "" } });
      equal(deleted.code, 0);
      deepEqual(await linksIn(other), before);
    } finally {
      pause.kill("SIGKILL");
      await pause.status;
    }
  },
);

nodeTest(
  "a restart after a half-done unplug leaves the pod its other networks",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinition(node, "second", networks.bridge(1));
    await node.startDaemon();
    const pod = await createPod(node, "pod", { networks: "second" });
    equal((await node.cni("ADD", pod)).code, 0);
    await node.stopDaemon("SIGKILL");
    // As the daemon leaves it that is killed after it undid net1, and before it took it out.
    const file = join(node.profile.cniStateDir, pod.containerId);
    const text = await Deno.readTextFile(file);
    const last = text.lastIndexOf('"state":"done  "');
    notEqual(last, -1);
    await Deno.writeTextFile(
      file,
      `${text.slice(0, last)}${
        text.slice(last).replace('"done  "', '"undone"')
      }`,
    );
    await node.startDaemon();
    await waitUntil(() => node.daemonLog.includes("Records are in order"), {
      what: "the records to be put in order",
    });
    const links = await linksIn(pod);
    ok(links.includes("eth0"), links.join(" "));
    equal((await node.cni("DEL", pod)).code, 0);
  },
);

nodeTest(
  "two hot-plugged interfaces of one name with other addresses are two requests",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    await node.startDaemon();
    const pod = await createPod(node, "pod");
    equal((await node.cni("ADD", pod)).code, 0);
    const conf = {
      ...networks.macvlan(3),
      name: "hot",
      ipam: { type: "static" },
      capabilities: { ips: true },
    };
    const answers = await Promise.all(
      ["192.0.2.7/24", "192.0.2.8/24"].map((address) =>
        hotplug(node, pod, { conf, ips: [address] })
      ),
    );
    deepEqual(answers.map(({ status }) => status).sort(), [200, 400]);
    match(
      answers.find(({ status }) => status === 400)?.body ?? "",
      /has an interface of this name already: hot1/,
    );
    equal((await node.cni("DEL", pod)).code, 0);
  },
);

nodeTest("a daemon that is ending hot-plugs nothing any more", async () => {
  await using node = await TestNode.create({ plugins: ["slow"] });
  await using networks = await layNetworks(node);
  await installNoopPlugin(node.binDir, "slow", {
    ADD: `mark begun
until [ -e "$dir/go" ]; do /bin/sleep 0.05; done
print '{"cniVersion":"1.0.0"}'`,
  });
  putDefinition(node, "slow", {
    cniVersion: "1.0.0",
    name: "slow",
    type: "slow",
  });
  await node.startDaemon();
  const pod = await createPod(node, "pod");
  equal((await node.cni("ADD", pod)).code, 0);
  const slowPod = await createPod(node, "slow-pod", { networks: "slow" });
  const slow = node.cni("ADD", slowPod);
  await waitForFile(join(node.binDir, "slow.mark.begun"));
  const stopped = node.stopDaemon();
  await waitUntil(async () => {
    const socketPath = socketPathIn(node.profile.socketDir);
    const ready = await ask({ socketPath, route: "/readyz", method: "GET" }, {
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return ready.status !== 200;
  }, { what: "the daemon to be ending" });
  const answer = await hotplug(node, pod, {
    conf: { ...networks.macvlan(3), name: "hot" },
  });
  equal(answer.status, 400);
  match(answer.body, /"code":11.*shutting down/);
  await Deno.writeTextFile(join(node.binDir, "go"), "");
  equal((await slow).code, 0, "what had begun is finished");
  equal(await stopped, 0);
});
