/**
 * What people read when nothing is wrong with what they asked for, but with
 * the node: the API server, the time, the disk, another daemon, the daemon's
 * own configuration. Cause first, then what is known to help, in less than
 * 1 kB. What is wrong with requests is in `bad_input_cases.ts`.
 */
import { equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { ask } from "../lib/wire/ask.ts";
import { socketPathIn } from "../lib/wire/places.ts";
import { encodeConfig } from "../lib/wire/request.ts";
import type { Fault } from "./api_server/faults.ts";
import { layNetworks } from "./networks.ts";
import {
  type Ran,
  runProgram,
  type Sandbox,
  type ShimOutcome,
  TestNode,
} from "./node.ts";
import { installNoopPlugin, waitForFile } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import { addPod, assertDone, createPod, putDefinition } from "./pods.ts";

/** What the runtime is given is read by people in an event, which Kubernetes cuts. */
const ERROR_BYTES_MAX = 1000;

interface Failure {
  readonly code: number;
  readonly msg: string | RegExp;
}

function assertFailure(
  { stdout, json }: Pick<ShimOutcome, "stdout" | "json">,
  { code, msg }: Failure,
): void {
  ok(json !== undefined, stdout);
  ok(new TextEncoder().encode(stdout).length < ERROR_BYTES_MAX, stdout);
  if (typeof msg === "string") equal(json.msg, msg);
  else match(json.msg, msg);
  equal(json.code, code);
}

const FORBIDDEN_POD =
  'Kubernetes API is not available: the server answered 403 Forbidden: pods "unseen-0" is forbidden: has the service account of Multus its ClusterRole?';

interface ApiCase {
  readonly title: string;
  readonly fault: Fault;
  readonly networks?: string;
  readonly failure: Failure;
}

/** The pod is in no cache, so that each ADD asks the server. */
const API_CASES: readonly ApiCase[] = [
  {
    title: "it forbids to read pods",
    fault: {
      match: { resource: "pods", verb: "get" },
      status: 403,
      message: 'pods "unseen-0" is forbidden',
    },
    failure: { code: 11, msg: FORBIDDEN_POD },
  },
  {
    title: "it refuses the token",
    fault: {
      match: { resource: "pods", verb: "get" },
      status: 401,
      message: "Unauthorized",
    },
    failure: {
      code: 11,
      msg:
        /Kubernetes API is not available: the server answered 401: Unauthorized/,
    },
  },
  {
    title: "it fails",
    fault: {
      match: { resource: "pods", verb: "get" },
      status: 500,
      message: "etcdserver: leader changed",
    },
    failure: {
      code: 11,
      msg:
        /^(Gave up after 4 s: the request was not done; the Kubernetes API had not answered for pod default\/unseen-2|Kubernetes API is not available): the server answered 500: etcdserver: leader changed$/,
    },
  },
  {
    title: "it does not answer",
    fault: { match: { resource: "pods", verb: "get" }, hang: true },
    failure: {
      code: 11,
      msg:
        /^Gave up after 4 s: the request was not done; the Kubernetes API had not answered for pod default\/unseen-3/,
    },
  },
];

nodeTest("ADD says what is wrong with the API server when", async (t) => {
  await using node = await TestNode.create({
    daemonConf: { requestTimeoutSeconds: 4 },
  });
  await using _networks = await layNetworks(node);
  // Without a name, the node has no cache of its pods.
  await node.startDaemon({ env: { MULTUS_NODE_NAME: "" } });
  for (const [index, one] of API_CASES.entries()) {
    await step(t, one.title, async () => {
      const name = `unseen-${index}`;
      const sandbox = await createPod(node, name);
      node.api.faults.add(one.fault);
      assertFailure(await node.cni("ADD", sandbox), one.failure);
      node.api.faults.clear();
    });
  }
  await step(t, "it is not there", async () => {
    const sandbox = await createPod(node, "last");
    await node.api.stop();
    assertFailure(await node.cni("ADD", sandbox), {
      code: 11,
      msg: /Kubernetes API .*: .*[Cc]onnection refused$/,
    });
    await node.api.start();
  });
});

nodeTest("the runtime is told what took too long when", async (t) => {
  await using node = await TestNode.create({
    daemonConf: {
      pluginTimeoutSeconds: 1,
      requestTimeoutSeconds: 3,
      shutdownTimeoutSeconds: 1,
      addConcurrency: 1,
    },
    plugins: ["slow"],
  });
  await using _networks = await layNetworks(node);
  const isSlow = async (script: string, DEL = ":"): Promise<void> => {
    await installNoopPlugin(node.binDir, "slow", { ADD: script, DEL });
  };
  await isSlow("hang");
  putDefinition(node, "slow", { cniVersion: "1.0.0", type: "slow" });
  await node.startDaemon();

  await step(t, "a plugin hangs", async () => {
    const sandbox = await createPod(node, "hanging", { networks: "slow" });
    assertFailure(await node.cni("ADD", sandbox), {
      code: 11,
      msg:
        'Cannot attach "default/slow" as net1: plugin slow did not finish within 1 s and was ended',
    });
  });

  await step(t, "a DEL comes in between", async () => {
    await isSlow("mark superseded; hang");
    const sandbox = await createPod(node, "deleted", { networks: "slow" });
    const adding = node.cni("ADD", sandbox);
    await waitForFile(join(node.binDir, "slow.mark.superseded"));
    assertDone(node, await node.cni("DEL", sandbox));
    assertFailure(await adding, {
      code: 11,
      msg: new RegExp(
        `^Cannot attach "default/slow" as net1: plugin slow was ended: Cancelled by a DEL of the same container: ${sandbox.containerId}$`,
      ),
    });
  });

  await step(t, "others come first", async () => {
    // Undoing the first keeps its place until the second has given up.
    await isSlow("mark first; hang", "exec /bin/sleep 4");
    await node.writeDaemonConf({
      addConcurrency: 1,
      pluginTimeoutSeconds: 30,
      requestTimeoutSeconds: 1,
      shutdownTimeoutSeconds: 1,
    });
    await node.stopDaemon();
    await node.startDaemon();
    const first = await createPod(node, "first", { networks: "slow" });
    const second = await createPod(node, "second");
    const adding = node.cni("ADD", first);
    await waitForFile(join(node.binDir, "slow.mark.first"));
    const [a, b] = await Promise.all([adding, node.cni("ADD", second)]);
    assertFailure(a, {
      code: 11,
      msg:
        'Cannot attach "default/slow" as net1: plugin slow was ended: Gave up after 1 s: the request was not done',
    });
    assertFailure(b, {
      code: 11,
      msg:
        "Gave up after 1 s: the request was still waiting for its turn, behind those of other pods",
    });
  });

  await step(t, "the daemon ends", async () => {
    await isSlow("mark ending; hang");
    await node.writeDaemonConf({
      pluginTimeoutSeconds: 60,
      requestTimeoutSeconds: 60,
      shutdownTimeoutSeconds: 1,
    });
    await node.stopDaemon();
    await node.startDaemon();
    const sandbox = await createPod(node, "ending", { networks: "slow" });
    const adding = node.cni("ADD", sandbox);
    await waitForFile(join(node.binDir, "slow.mark.ending"));
    equal(await node.stopDaemon(), 0);
    assertFailure(await adding, {
      code: 11,
      msg:
        'Cannot attach "default/slow" as net1: plugin slow was ended: The daemon is shutting down',
    });
  });
});

/** The record of a container. */
function recordOf(node: TestNode, { containerId }: Sandbox): string {
  return join(node.profile.cniStateDir, containerId);
}

nodeTest("the runtime is told what is wrong on disk when", async (t) => {
  await using node = await TestNode.create();
  await using _networks = await layNetworks(node);
  await node.startDaemon();
  const conf = JSON.stringify({ ...node.runtimeConf, cniVersion: "1.1.0" });

  await step(t, "CHECK finds nothing of the container", async () => {
    const sandbox = await createPod(node, "unknown");
    assertFailure(await node.cni("CHECK", sandbox), {
      code: 3,
      msg: `Nothing is attached to container "${sandbox.containerId}"`,
    });
  });

  await step(t, "a record is damaged", async () => {
    const sandbox = await createPod(node, "damaged");
    await addPod(node, sandbox);
    const path = recordOf(node, sandbox);
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.slice(0, 40));
    const damage = `The attachment record is damaged: .*: ${path}`;
    const gc = JSON.stringify({
      ...node.runtimeConf,
      cniVersion: "1.1.0",
      "cni.dev/valid-attachments": [],
    });
    assertFailure(await node.cni("GC", sandbox, { conf: gc }), {
      code: 11,
      msg: new RegExp(`${damage}`),
    });
    assertDone(node, await node.cni("DEL", sandbox));
  });

  await step(t, "a cached result is damaged", async () => {
    const sandbox = await createPod(node, "uncached");
    await addPod(node, sandbox);
    const path = join(
      node.profile.cniStateDir,
      "results",
      `cluster-net-${sandbox.containerId}-eth0`,
    );
    await waitForFile(path);
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.slice(0, 20));
    assertFailure(await node.cni("CHECK", sandbox, { conf }), {
      code: 6,
      msg: new RegExp(
        `^Cannot check "cluster-net" as eth0: Result cache is damaged \\(.*\\): ${path}$`,
      ),
    });
    assertDone(node, await node.cni("DEL", sandbox));
  });

  await step(t, "a DEL can neither be done nor kept", async () => {
    const sandbox = await createPod(node, "homeless");
    await node.stopDaemon();
    const spool = join(node.profile.cniStateDir, "spool");
    await Deno.mkdir(spool, { recursive: true });
    await Deno.remove(spool, { recursive: true });
    await Deno.writeTextFile(spool, "");
    assertFailure(await node.cni("DEL", sandbox), {
      code: 11,
      msg: new RegExp(
        `^The DEL cannot be kept in ${spool} \\(.*\\), and nobody takes it: The daemon does not answer on ${
          socketPathIn(node.profile.hostSocketDir)
        }: is the multus DaemonSet running on this node\\?$`,
      ),
    });
    await Deno.remove(spool);
  });
});

nodeTest("a hot-plug controller is told what is wrong when", async (t) => {
  await using node = await TestNode.create({ plugins: ["plain"] });
  await using _networks = await layNetworks(node);
  await installNoopPlugin(node.binDir, "plain", {});
  await node.startDaemon();
  const sandbox = await createPod(node, "plugged");
  await addPod(node, sandbox);
  const delegate = async (
    command: string,
    ifname: string,
    conf: string,
  ): Promise<Pick<ShimOutcome, "stdout" | "json">> => {
    const env = { ...node.cniEnv(command, sandbox), CNI_IFNAME: ifname };
    const config = encodeConfig(new TextEncoder().encode(conf));
    const { body } = await ask({
      socketPath: socketPathIn(node.profile.socketDir),
      route: "/delegate",
      body: JSON.stringify({ env, config }),
    }, { signal: AbortSignal.timeout(20_000) });
    return { stdout: body, json: body === "" ? undefined : JSON.parse(body) };
  };
  const plain = '{"cniVersion":"1.0.0","name":"plain","type":"plain"}';
  const cases: readonly (readonly [string, string, string, string, Failure])[] =
    [
      ["the interface is there", "ADD", "eth0", plain, {
        code: 7,
        msg: "The pod has an interface of this name already: eth0",
      }],
      ["the interface is not there", "CHECK", "net7", plain, {
        code: 3,
        msg:
          `Interface "net7" is not attached to container "${sandbox.containerId}"`,
      }],
      ["the configuration is none", "ADD", "net1", "{", {
        code: 6,
        msg: /JSON/,
      }],
      ["the command is none for an interface", "GC", "net1", plain, {
        code: 4,
        msg: "The daemon does not do CNI_COMMAND GC",
      }],
    ];
  for (const [title, command, ifname, conf, failure] of cases) {
    await step(t, title, async () => {
      assertFailure(await delegate(command, ifname, conf), failure);
    });
  }
  assertDone(node, await node.cni("DEL", sandbox));
});

/** Runs the daemon to its end, which comes at once. */
async function failToStart(
  node: TestNode,
  args: readonly string[],
): Promise<Ran> {
  return await runProgram([node.program("multus-daemon"), ...args], {
    env: { MULTUS_NODE_NAME: node.nodeName, ...node.auditEnv("multus-daemon") },
  });
}

nodeTest(
  "the daemon says in one line why it does not start when",
  async (t) => {
    await using node = await TestNode.create();
    const path = node.profile.daemonConfig;
    const config = ["--config", path];
    const missing = join(node.dir, "kubeconfig");
    const refuses = async (
      expected: string | RegExp,
      options: { code?: number; args?: readonly string[] } = {},
    ): Promise<void> => {
      const { code = 1, args = config } = options;
      const { stderr, ...ran } = await failToStart(node, args);
      const [line = "", ...others] = stderr.trimEnd().split("\n");
      equal(ran.code, code, stderr);
      ok(others.length <= (code === 2 ? 1 : 0), stderr);
      ok(line.length < ERROR_BYTES_MAX);
      if (typeof expected === "string") {
        equal(line, `multus-daemon: ${expected}`);
      } else match(line, expected);
    };

    await step(t, "another daemon serves", async () => {
      await node.startDaemon();
      await refuses(
        `Another daemon serves this socket: ${
          socketPathIn(node.profile.socketDir)
        }: is there a second multus DaemonSet?`,
      );
      equal(await node.stopDaemon(), 0);
    });
    await step(t, "a flag is unknown", async () => {
      await refuses(/^multus-daemon: .*--colour/, {
        code: 2,
        args: ["--colour=red"],
      });
    });
    await step(t, "the kubeconfig is gone", async () => {
      await Deno.rename(missing, `${missing}.gone`);
      await refuses(
        /^multus-daemon: Cannot read .*kubeconfig: .*[Nn]o such file/,
      );
      await Deno.rename(`${missing}.gone`, missing);
    });
    await step(t, "the kubeconfig is none", async () => {
      const text = await Deno.readTextFile(missing);
      await Deno.writeTextFile(missing, "");
      await refuses(`Kubeconfig is empty: ${missing}`);
      await Deno.writeTextFile(missing, text);
    });
    await step(t, "the kubeconfig's token is gone", async () => {
      const token = join(node.dir, "token");
      await Deno.rename(token, `${token}.gone`);
      await refuses(/^multus-daemon: Cannot read .*token: .*[Nn]o such file/);
      await Deno.rename(`${token}.gone`, token);
    });
    await step(t, "its socket is not granted", async () => {
      await node.writeDaemonConf({ socketDir: "/run/elsewhere" });
      await refuses(/^multus-daemon: .*\/run\/elsewhere/);
    });
    await step(t, "a value is out of range", async () => {
      await node.writeDaemonConf({ pluginTimeoutSeconds: 0 });
      await refuses(
        /^multus-daemon: .*pluginTimeoutSeconds: expected a whole number from 1 to 3600, found 0/,
      );
    });
    await step(t, "the configuration is not JSON", async () => {
      await Deno.writeTextFile(path, '{"logLevel": }');
      await refuses(/^multus-daemon: .*(JSON|line 1).*/);
    });
    await step(t, "the configuration is gone", async () => {
      await Deno.remove(path);
      await refuses(
        `Cannot read the daemon's configuration: no such file: ${path}`,
      );
    });
  },
);
