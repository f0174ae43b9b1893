/**
 * Shims and daemons of other versions: what they say (`tests/recordings/`) is
 * played to this version's daemon, which runs with its real grants and makes
 * real interfaces, and to this version's shim, which is executed with its own.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { podManifest } from "./api_server/fixture.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { ip, TestNode } from "./node.ts";
import type { Sandbox, ShimOutcome } from "./node.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  assertNothingLeft,
  putDefinition,
  readKernel,
  waitForStatus,
} from "./pods.ts";
import { findPluginDir } from "./prerequisites.ts";
import { readRecording, replay, type Replayed } from "./replay.ts";
import { type Asked, startScriptedDaemon } from "./scripted_daemon.ts";

/** What stands in the recordings. */
const RECORDED: Sandbox = {
  containerId:
    "fd1478e5fc36bfcf9d0ef6e489eeefd2734adf00dfaffb314fd14890b7c1dba3",
  netns: "/var/run/netns/cni-7f3a9c52-5be1-4b0e-9d0a-1c6f2e8b4a60",
  namespace: "default",
  name: "skew",
  uid: "5d4c3b2a-1f0e-4d9c-8b7a-6f5e4d3c2b1a",
};

/** A shim of another version: what it says for each command, one message after the other. */
interface OtherShim {
  readonly dir: string;
  readonly calls: Readonly<Record<string, readonly string[]>>;
  /** The version of the result that it can read. */
  readonly resultVersion: string;
}

const ONE_MESSAGE = {
  ADD: ["add"],
  CHECK: ["check"],
  STATUS: ["status"],
  GC: ["gc"],
  DEL: ["del"],
};

const SHIMS: readonly OtherShim[] = [
  {
    dir: "go-shim-that-asks-first",
    calls: {
      ADD: ["add-1", "add-2"],
      CHECK: ["check"],
      DEL: ["del-1", "del-2"],
    },
    resultVersion: "1.0.0",
  },
  { dir: "go-shim", calls: ONE_MESSAGE, resultVersion: "1.1.0" },
  { dir: "own-shim-0.1.0", calls: ONE_MESSAGE, resultVersion: "1.1.0" },
];

/** A node on which the recorded pod gets a bridge and a macvlan. */
async function createScene(): Promise<
  { node: TestNode; networks: Networks } & AsyncDisposable
> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(
    await TestNode.create({
      daemonConf: {
        // What the recorded configurations say of these is true on another node.
        clusterNetwork: "$NODE/net.d/10-bridge.conflist",
        binDir: await findPluginDir(),
      },
    }),
  );
  const networks = stack.use(await layNetworks(node));
  putDefinition(node, "macvlan", networks.macvlan(1));
  node.api.put(podManifest(RECORDED.name, {
    namespace: RECORDED.namespace,
    uid: RECORDED.uid,
    nodeName: node.nodeName,
    annotations: { "k8s.v1.cni.cncf.io/networks": "macvlan" },
  }));
  const netns = RECORDED.netns.slice("/var/run/netns/".length);
  await ip("netns", "add", netns);
  stack.defer(async () => void await ip("netns", "delete", netns));
  const kept = stack.move();
  return { node, networks, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Says all that the shim says for a command; the answer to the last of it. */
async function say(
  node: TestNode,
  shim: OtherShim,
  command: string,
): Promise<Replayed> {
  const socketPath = join(node.profile.socketDir, "multus.sock");
  let answer: Replayed = { status: 0, body: "" };
  for (const name of shim.calls[command] ?? []) {
    answer = await replay(
      socketPath,
      await readRecording(`${shim.dir}/${name}`),
    );
    equal(answer.status, 200, `${name}: ${answer.body}\n${node.daemonLog}`);
  }
  return answer;
}

nodeTest(
  "a shim of another version gets its pods' networks from this daemon, and takes them away",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    await node.startDaemon();
    for (const shim of SHIMS) {
      await step(t, `${shim.dir}: ADD`, async () => {
        const { Result: result } = JSON.parse(
          (await say(node, shim, "ADD")).body,
        );
        equal(result.cniVersion, shim.resultVersion);
        const { eth0, net1 } = await readKernel(RECORDED);
        deepEqual(
          result.ips.map(({ address }: { address: string }) => address),
          eth0?.addresses,
        );
        equal(net1?.addresses.length, 1);
        await waitForStatus(node, RECORDED, ["eth0", "net1"]);
      });
      for (const command of ["CHECK", "STATUS", "GC"]) {
        if (shim.calls[command] === undefined) continue;
        await step(t, `${shim.dir}: ${command}`, async () => {
          equal((await say(node, shim, command)).body, "");
          const interfaces = Object.keys(await readKernel(RECORDED));
          deepEqual(interfaces.sort(), ["eth0", "net1"]);
        });
      }
      await step(t, `${shim.dir}: DEL, and once more`, async () => {
        for (let times = 0; times < 2; times++) {
          equal((await say(node, shim, "DEL")).body, "");
          await assertNothingLeft(node, networks, [RECORDED]);
        }
      });
    }
  },
);

nodeTest("a shim of another version is told what is wrong", async (t) => {
  await using scene = await createScene();
  const { node } = scene;
  node.api.delete("Pod", RECORDED.name, RECORDED.namespace);
  await node.startDaemon();
  for (const shim of SHIMS) {
    await step(t, shim.dir, async () => {
      const [name = ""] = (shim.calls.ADD ?? []).slice(-1);
      const answer = await replay(
        join(node.profile.socketDir, "multus.sock"),
        await readRecording(`${shim.dir}/${name}`),
      );
      equal(answer.status, 400);
      const { code, msg } = JSON.parse(answer.body);
      equal(code, 3);
      match(msg, /default\/skew/);
    });
  }
});

nodeTest(
  "an older shim's question before the call is answered also when the answer is no",
  async () => {
    await using scene = await createScene();
    const { node } = scene;
    await node.api.stop();
    await node.startDaemon({ waitReady: false });
    const [first = "", second = ""] = ["add-1", "del-1"];
    const socketPath = join(node.profile.socketDir, "multus.sock");
    await waitForSocket(socketPath);
    const ask = async (name: string): Promise<Replayed> =>
      await replay(
        socketPath,
        await readRecording(`go-shim-that-asks-first/${name}`),
      );
    const ready = await ask(first);
    equal(ready.status, 500);
    match(ready.body, /^\[-\] cluster: waiting for pods/m);
    deepEqual(await ask(second), { status: 200, body: "ok\n" });
  },
);

async function waitForSocket(path: string): Promise<void> {
  await waitUntil(
    async () => {
      try {
        (await Deno.connect({ transport: "unix", path })).close();
        return true;
      } catch {
        return false;
      }
    },
    { what: "the daemon listens" },
  );
}

/** Runs this version's shim against a daemon that says what was recorded. */
async function callOld(
  command: string,
  options: { answer: string; cniVersion?: string },
): Promise<{ outcome: ShimOutcome; asked: readonly Asked[] }> {
  await using node = await TestNode.create();
  await Deno.mkdir(node.profile.hostSocketDir, { recursive: true });
  const answer = await readRecording(options.answer);
  await using daemon = startScriptedDaemon(
    join(node.profile.hostSocketDir, "multus.sock"),
    ({ gone }) => [answer, gone],
  );
  const { cniVersion = "1.1.0" } = options;
  node.runtimeConf = { ...node.runtimeConf, cniVersion };
  const isOfNode = command === "STATUS" || command === "GC";
  const outcome = await node.cni(command, RECORDED, {
    env: isOfNode
      ? {
        CNI_ARGS: undefined,
        CNI_CONTAINERID: undefined,
        CNI_IFNAME: undefined,
        CNI_NETNS: undefined,
      }
      : {},
  });
  equal(outcome.stderr, "");
  return { outcome, asked: [...daemon.asked] };
}

const DAEMONS = ["go-daemon-of-1.0.0", "go-daemon-of-1.1.0"];

Deno.test("this shim prints what an older daemon's ADD says, in its configuration's version", async (t) => {
  for (const dir of DAEMONS) {
    for (const cniVersion of ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
      await t.step(`${dir}, ${cniVersion}`, async () => {
        const { outcome, asked } = await callOld("ADD", {
          answer: `${dir}/add`,
          cniVersion,
        });
        equal(outcome.code, 0, outcome.stdout);
        equal(outcome.json.cniVersion, cniVersion);
        equal(outcome.json.ips[0].address, "10.244.0.5/24");
        equal(outcome.json.interfaces[2].sandbox, RECORDED.netns);
        ok(outcome.json.routes.length >= 1);
        deepEqual(asked.map(({ method, route }) => `${method} ${route}`), [
          "POST /cni",
        ]);
      });
    }
  }
});

Deno.test("this shim takes an older daemon's empty answer for what it is", async (t) => {
  for (const dir of DAEMONS) {
    for (const command of ["DEL", "CHECK", "STATUS", "GC"]) {
      await t.step(`${dir}, ${command}`, async () => {
        const { outcome } = await callOld(command, { answer: `${dir}/empty` });
        deepEqual([outcome.code, outcome.stdout], [0, ""]);
      });
    }
  }
});

Deno.test("this shim tells an older daemon's error, as text or as JSON", async (t) => {
  const errors = [
    [
      "go-daemon-of-1.0.0/error-text",
      999,
      /error adding container to network "cluster-net": no addresses left$/,
    ],
    ["go-daemon-of-1.1.0/error-json", 50, /^Plugin is not available$/],
    ["go-daemon-of-1.1.0/not-ready", 999, /status 500/],
  ] as const;
  for (const [answer, code, msg] of errors) {
    for (const command of ["ADD", "DEL", "CHECK", "STATUS", "GC"]) {
      await t.step(`${answer}, ${command}`, async () => {
        const { outcome } = await callOld(command, { answer });
        equal(outcome.code, 1);
        deepEqual(outcome.json.code, code);
        match(outcome.json.msg, msg);
        equal(outcome.json.cniVersion, "1.1.0");
      });
    }
  }
});

Deno.test("this shim says what the recordings of its version say", async (t) => {
  for (const command of ["ADD", "CHECK", "STATUS", "GC", "DEL"]) {
    await t.step(command, async () => {
      const { asked: [asked] } = await callOld(command, {
        answer: "go-daemon-of-1.1.0/add",
      });
      const text = new TextDecoder().decode(
        await readRecording(`own-shim-0.1.0/${command.toLowerCase()}`),
      );
      const [head = "", body = ""] = text.split("\r\n\r\n");
      const [line, ...fields] = head.split("\r\n");
      equal(`${asked?.method} ${asked?.route} HTTP/1.1`, line);
      const names = fields.map((field) => field.split(":")[0]?.toLowerCase());
      deepEqual([...asked?.headers.keys() ?? []].sort(), names.sort());
      const said = JSON.parse(asked?.body ?? "");
      const recorded = JSON.parse(body);
      deepEqual(Object.keys(said), Object.keys(recorded));
      deepEqual(Object.keys(said.env), Object.keys(recorded.env));
    });
  }
});
