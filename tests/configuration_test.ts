/**
 * The configuration through whole programs: where the default network comes
 * from, who gets which further networks, what a pod may use, what the daemon's
 * command line says, and which credentials it works with.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { PAIR_FILE } from "../lib/kube/node_certificate.ts";
import { waitUntil } from "./api_server/wait.ts";
import { installHandOnPlugin } from "./kernel_links.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { runProgram, type Sandbox, TestNode } from "./node.ts";
import { installNoopPlugin, readCalls } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertAgreement,
  assertDone,
  assertNothingLeft,
  createPod,
  deletePod,
  ipIn,
  putDefinition,
  readCache,
  readKernel,
  waitForStatus,
} from "./pods.ts";

/** A CNI file with one network. */
async function writeList(
  dir: string,
  file: string,
  options: { name: string; plugin: Record<string, unknown> },
): Promise<string> {
  const { cniVersion = "1.0.0", ...plugin } = options.plugin;
  await Deno.mkdir(dir, { recursive: true });
  const path = join(dir, file);
  await Deno.writeTextFile(
    path,
    JSON.stringify({ cniVersion, name: options.name, plugins: [plugin] }),
  );
  return path;
}

/** What an interface's address tells of where it came from: the subnet's number. */
async function subnetsOf(sandbox: Sandbox): Promise<Record<string, number>> {
  const kernel = await readKernel(sandbox);
  return Object.fromEntries(
    Object.entries(kernel).map(([ifname, { addresses }]) => [
      ifname,
      Number(addresses[0]?.split(".")[2]),
    ]),
  );
}

/** Starts a daemon that has a reason not to be ready, and waits until it serves. */
async function startUnready(
  node: TestNode,
  args: readonly string[] = [],
): Promise<void> {
  await node.startDaemon({ waitReady: false, args });
  await waitUntil(() => node.daemonLog.includes("Serving"), {
    what: "a daemon that serves",
    timeoutMs: 30_000,
  });
}

/** One network in each of the four ways that an operator may name one. */
async function putFourWays(
  node: TestNode,
  networks: Networks,
): Promise<Record<string, { reference: string; number: number }>> {
  putDefinition(node, "by-definition", networks.bridge(1), "kube-system");
  // A definition of this name comes before a file of it.
  const { multusConfDir } = node.profile;
  await writeList(multusConfDir, "10-a.conflist", {
    name: "by-definition",
    plugin: networks.bridge(9),
  });
  await writeList(multusConfDir, "20-b.conflist", {
    name: "by-name",
    plugin: networks.bridge(2),
  });
  const dir = join(multusConfDir, "chosen");
  await writeList(dir, "10-first.conflist", {
    name: "by-directory",
    plugin: networks.bridge(3),
  });
  await writeList(dir, "20-second.conflist", {
    name: "never",
    plugin: networks.bridge(9),
  });
  const file = await writeList(dir, "30-file.conflist", {
    name: "by-file",
    plugin: networks.bridge(4),
  });
  return {
    "by-definition": { reference: "by-definition", number: 1 },
    "by-name": { reference: "by-name", number: 2 },
    "by-directory": { reference: dir, number: 3 },
    "by-file": { reference: file, number: 4 },
  };
}

nodeTest(
  "clusterNetwork is found in four ways, and makes delegates void",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    const ways = await putFourWays(node, networks);
    await node.startDaemon();
    for (const [name, { reference, number }] of Object.entries(ways)) {
      for (const type of ["multus-shim", "multus"]) {
        await step(t, `${name}, type ${type}`, async () => {
          node.runtimeConf = {
            ...node.runtimeConf,
            type,
            clusterNetwork: reference,
            delegates: [networks.bridge(9, { name: "void" })],
          };
          const sandbox = await createPod(node, name);
          await addPod(node, sandbox);
          deepEqual(await subnetsOf(sandbox), { eth0: number });
          await assertAgreement(node, sandbox, [
            { name, network: name, ifname: "eth0" },
          ]);
          await deletePod(node, sandbox, networks);
        });
      }
    }
  },
);

nodeTest(
  "delegates are attached in their order when there is no clusterNetwork",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    await node.startDaemon();
    const { clusterNetwork: _, ...rest } = node.runtimeConf;
    node.runtimeConf = {
      ...rest,
      delegates: [
        networks.bridge(1, { name: "one" }),
        networks.bridge(2, { name: "two" }),
      ],
    };
    const sandbox = await createPod(node, "delegated");
    await addPod(node, sandbox);
    deepEqual(await subnetsOf(sandbox), { eth0: 1, net1: 2 });
    await assertAgreement(node, sandbox, [
      { name: "one", network: "one", ifname: "eth0" },
      { name: "two", network: "two", ifname: "net1" },
    ]);
    await deletePod(node, sandbox, networks);
  },
);

nodeTest(
  "defaultNetworks are found in four ways, for pods outside systemNamespaces, before the pod's own",
  async (t) => {
    await using node = await TestNode.create({
      daemonConf: { systemNamespaces: ["quiet", "kube-system"] },
    });
    await using networks = await layNetworks(node);
    const ways = await putFourWays(node, networks);
    const defaultNetworks = Object.values(ways).map(({ reference }) =>
      reference
    );
    node.runtimeConf = { ...node.runtimeConf, defaultNetworks };
    putDefinition(node, "own", networks.bridge(5));
    putDefinition(node, "own", networks.bridge(5), "quiet");
    putDefinition(node, "own", networks.bridge(5), "kube-system");
    await node.startDaemon();
    const cases: readonly [string, Record<string, number>][] = [
      ["default", { eth0: 0, net1: 1, net2: 2, net3: 3, net4: 4, net5: 5 }],
      ["quiet", { eth0: 0, net1: 5 }],
      ["kube-system", { eth0: 0, net1: 5 }],
    ];
    for (const [namespace, expected] of cases) {
      await step(t, namespace, async () => {
        const sandbox = await createPod(node, "anyone", {
          namespace,
          networks: "own",
        });
        await addPod(node, sandbox);
        deepEqual(await subnetsOf(sandbox), expected);
        const status = await waitForStatus(
          node,
          sandbox,
          Object.keys(expected),
        );
        const names = status.map(({ name }) => name);
        const everywhere = [
          "kube-system/by-definition",
          "by-name",
          "by-directory",
          "by-file",
        ];
        deepEqual(names, [
          "cluster-net",
          ...(namespace === "default" ? everywhere : []),
          `${namespace}/own`,
        ]);
        await deletePod(node, sandbox, networks);
      });
    }
  },
);

nodeTest(
  "namespaceIsolation keeps pods to their own namespace and the global ones",
  async (t) => {
    await using node = await TestNode.create({
      daemonConf: {
        namespaceIsolation: true,
        globalNamespaces: "shared, default",
      },
    });
    await using networks = await layNetworks(node);
    for (const namespace of ["team", "shared", "default", "other"]) {
      putDefinition(node, "net", networks.bridge(1), namespace);
    }
    await node.startDaemon();
    for (const asked of ["net", "team/net", "shared/net", "default/net"]) {
      await step(t, asked, async () => {
        const sandbox = await createPod(node, "member", {
          namespace: "team",
          networks: asked,
        });
        await addPod(node, sandbox);
        deepEqual(await subnetsOf(sandbox), { eth0: 0, net1: 1 });
        await deletePod(node, sandbox, networks);
      });
    }
    await step(t, "other/net", async () => {
      const sandbox = await createPod(node, "stranger", {
        namespace: "team",
        networks: "net,other/net",
      });
      const { json } = await node.cni("ADD", sandbox);
      deepEqual([json.code, json.msg], [
        7,
        'networks[1]: a pod of namespace "team" may not use NetworkAttachmentDefinition "net" of ' +
        'namespace "other": namespaceIsolation is on, and globalNamespaces are "shared,default"',
      ]);
      await assertNothingLeft(node, networks, [sandbox]);
    });
  },
);

nodeTest(
  "the default-network annotation replaces the default network",
  async (t) => {
    await using node = await TestNode.create({
      daemonConf: { multusNamespace: "networks" },
    });
    await using networks = await layNetworks(node);
    const conf = (number: number): Record<string, unknown> => ({
      cniVersion: "1.0.0",
      name: `fast-${number}`,
      plugins: [{
        ...networks.macvlan(number, { capabilities: { mac: true, ips: true } }),
        ...(number === 2 ? { ipam: { type: "static" } } : {}),
      }],
    });
    putDefinition(node, "fast", conf(1), "networks");
    putDefinition(node, "fast", conf(2), "lab");
    await node.startDaemon();
    const key = "v1.multus-cni.io/default-network";
    const runtimeConfig = { mac: "02:00:00:00:00:99" };
    node.runtimeConf = { ...node.runtimeConf, runtimeConfig };
    await step(t, "by name, with what the runtime gave", async () => {
      const sandbox = await createPod(node, "renamed", {
        annotations: { [key]: "fast" },
      });
      await addPod(node, sandbox);
      await assertAgreement(node, sandbox, [
        { name: "fast-1", network: "fast-1", ifname: "eth0" },
      ]);
      deepEqual(await subnetsOf(sandbox), { eth0: 1 });
      equal((await readKernel(sandbox)).eth0?.mac, runtimeConfig.mac);
      await deletePod(node, sandbox, networks);
    });
    await step(
      t,
      "with requests of its own, and not the runtime's",
      async () => {
        const sandbox = await createPod(node, "requested", {
          annotations: {
            [key]: JSON.stringify([{
              name: "fast",
              namespace: "lab",
              ips: ["198.51.100.7/24"],
              mac: "02:00:00:00:00:07",
            }]),
          },
        });
        await addPod(node, sandbox);
        deepEqual(await readKernel(sandbox), {
          eth0: { mac: "02:00:00:00:00:07", addresses: ["198.51.100.7/24"] },
        });
        await deletePod(node, sandbox, networks);
      },
    );
  },
);

nodeTest(
  "runtimeConfig reaches the default network, by its capabilities, and no other",
  async () => {
    await using node = await TestNode.create({ plugins: ["meta"] });
    await using networks = await layNetworks(node);
    const { cniVersion: _, ...bridge } = networks.bridge(1);
    await Deno.writeTextFile(
      join(node.profile.cniConfDir, "20-able.conflist"),
      JSON.stringify({
        cniVersion: "1.0.0",
        name: "able",
        plugins: [bridge, { type: "tuning", capabilities: { mac: true } }],
      }),
    );
    const tuned = { type: "tuning", capabilities: { mac: true, ips: true } };
    const { cniVersion: __, ...second } = networks.bridge(2);
    putDefinition(node, "second", {
      cniVersion: "1.0.0",
      name: "second",
      plugins: [second, tuned],
    });
    await node.startDaemon();
    node.runtimeConf = {
      ...node.runtimeConf,
      clusterNetwork: join(node.profile.cniConfDir, "20-able.conflist"),
      capabilities: { mac: true, portMappings: true },
      runtimeConfig: { mac: "02:00:00:00:00:31", aliases: { a: ["b"] } },
    };
    const sandbox = await createPod(node, "asked", { networks: "second" });
    await addPod(node, sandbox);
    const { eth0, net1 } = await readKernel(sandbox);
    equal(eth0?.mac, "02:00:00:00:00:31");
    ok(net1?.mac !== eth0?.mac);
    const cached = (network: string, ifname: string): Promise<
      { capabilityArgs?: unknown }
    > => readCache(node, sandbox, { network, ifname });
    deepEqual((await cached("able", "eth0")).capabilityArgs, {
      mac: "02:00:00:00:00:31",
      aliases: { a: ["b"] },
    });
    deepEqual((await cached("second", "net1")).capabilityArgs ?? {}, {});
    await deletePod(node, sandbox, networks);
  },
);

nodeTest(
  "auxiliaryCNIChainName runs one more chain when its directory holds a plugin",
  async (t) => {
    await using node = await TestNode.create({ plugins: ["meta", "meta2"] });
    await using networks = await layNetworks(node);
    await installHandOnPlugin(node, "meta");
    await installHandOnPlugin(node, "meta2");
    putDefinition(node, "own", networks.bridge(1));
    await node.startDaemon();
    node.runtimeConf = { ...node.runtimeConf, auxiliaryCNIChainName: "aux" };
    await step(t, "no directory", async () => {
      const sandbox = await createPod(node, "bare", { networks: "own" });
      await addPod(node, sandbox);
      await deletePod(node, sandbox, networks);
      deepEqual(await readCalls(node.binDir), []);
    });
    await step(t, "two plugins", async () => {
      const dir = join(node.profile.cniConfDir, "aux");
      await Deno.mkdir(dir);
      await Deno.writeTextFile(join(dir, "20-b.conf"), '{"type":"meta2"}');
      await Deno.writeTextFile(
        join(dir, "10-a.conf"),
        '{"type":"meta","x":1.0}',
      );
      const sandbox = await createPod(node, "chained", { networks: "own" });
      await addPod(node, sandbox);
      assertDone(node, await node.cni("CHECK", sandbox));
      await deletePod(node, sandbox, networks);
      const calls = await readCalls(node.binDir);
      deepEqual(
        calls.map(({ command, type, env }) =>
          `${command} ${type} ${env.CNI_IFNAME}`
        ),
        [
          "ADD meta net2",
          "ADD meta2 net2",
          "CHECK meta net2",
          "CHECK meta2 net2",
          "DEL meta2 net2",
          "DEL meta net2",
        ],
      );
      match(calls[0]?.stdin ?? "", /"x":1\.0/);
      const { name, cniVersion, prevResult } = JSON.parse(
        calls[0]?.stdin ?? "{}",
      );
      deepEqual([name, cniVersion], ["aux", "1.0.0"]);
      // What passthru says when nothing came before it.
      deepEqual(prevResult, { cniVersion: "1.0.0" });
    });
  },
);

nodeTest(
  "readinessindicatorfile is waited for, and named when it does not come",
  async (t) => {
    await using node = await TestNode.create({
      profile: { readinessIndicatorFile: "$NODE/default-network-is-up" },
      daemonConf: {
        readinessindicatorfile: "$NODE/default-network-is-up",
        requestTimeoutSeconds: 3,
      },
    });
    await using networks = await layNetworks(node);
    await startUnready(node);
    const indicator = join(node.dir, "default-network-is-up");
    await step(t, "it does not come", async () => {
      const sandbox = await createPod(node, "early");
      const { json } = await node.cni("ADD", sandbox);
      deepEqual([json.code, json.msg], [
        11,
        `The default network is not ready: its readiness indicator is not there: ${indicator}: does its agent run on this node?`,
      ]);
      await assertNothingLeft(node, networks, [sandbox]);
    });
    await step(t, "it comes", async () => {
      const sandbox = await createPod(node, "patient");
      const adding = addPod(node, sandbox);
      // Another call goes through meanwhile: nobody else waits with it.
      const other = await createPod(node, "other");
      assertDone(node, await node.cni("DEL", other));
      deepEqual(await readKernel(sandbox), {});
      await Deno.writeTextFile(indicator, "");
      await adding;
      deepEqual(await subnetsOf(sandbox), { eth0: 0 });
      await deletePod(node, sandbox, networks);
    });
  },
);

nodeTest(
  "retryDeleteOnError gives a delegate's failure to the runtime; without it, the daemon tries again",
  async (t) => {
    await using node = await TestNode.create({ plugins: ["stubborn"] });
    await using networks = await layNetworks(node);
    await installNoopPlugin(node.binDir, "stubborn", {
      ADD: "default",
      DEL: 'if once "$CNI_CONTAINERID"; then fail 100 "Not now"; fi',
    });
    putDefinition(node, "stubborn", {
      cniVersion: "1.0.0",
      name: "stubborn",
      type: "stubborn",
    });
    await node.startDaemon();
    const conf = node.runtimeConf;
    await step(t, "true", async () => {
      node.runtimeConf = { ...conf, retryDeleteOnError: true };
      const sandbox = await createPod(node, "retried", {
        networks: "stubborn",
      });
      await addPod(node, sandbox);
      const { code, json } = await node.cni("DEL", sandbox);
      equal(code, 1);
      deepEqual([json.code, json.msg], [
        100,
        'Cannot detach "default/stubborn" from net1: plugin stubborn: Not now',
      ]);
      // What could be undone is: only the stubborn one is left for the next time.
      deepEqual(await subnetsOf(sandbox), {});
      await deletePod(node, sandbox, networks);
    });
    await step(t, "false", async () => {
      node.runtimeConf = conf;
      const sandbox = await createPod(node, "kept", { networks: "stubborn" });
      await addPod(node, sandbox);
      assertDone(node, await node.cni("DEL", sandbox));
      await waitUntil(
        () =>
          assertNothingLeft(node, networks, [sandbox])
            .then(() => true, () => false),
        { what: "the left-over DEL", timeoutMs: 30_000 },
      );
    });
  },
);

/** A pod that asks for one network through the API server is attached, told, and deleted. */
async function assertWorks(
  node: TestNode,
  networks: Networks,
  name: string,
): Promise<void> {
  const sandbox = await createPod(node, name, { networks: "own" });
  await addPod(node, sandbox);
  deepEqual(await subnetsOf(sandbox), { eth0: 0, net1: 1 });
  await waitForStatus(node, sandbox, ["eth0", "net1"]);
  await deletePod(node, sandbox, networks);
}

nodeTest("credentials come from the shim's kubeconfig", async () => {
  await using node = await TestNode.create({
    daemonConf: { kubeconfig: undefined },
  });
  await using networks = await layNetworks(node);
  putDefinition(node, "own", networks.bridge(1));
  await node.startDaemon();
  node.runtimeConf = {
    ...node.runtimeConf,
    kubeconfig: join(node.dir, "kubeconfig"),
  };
  await assertWorks(node, networks, "by-shim");
});

nodeTest("credentials come from the pod that the daemon runs in", async () => {
  await using node = await TestNode.create({
    daemonConf: { kubeconfig: "", serviceAccountDir: "$NODE/serviceaccount" },
  });
  await using networks = await layNetworks(node);
  putDefinition(node, "own", networks.bridge(1));
  const dir = node.profile.serviceAccountDir;
  await Deno.mkdir(dir);
  await Deno.writeTextFile(join(dir, "token"), node.api.token);
  await Deno.writeTextFile(join(dir, "ca.crt"), node.api.caPem);
  await node.startDaemon({
    env: {
      KUBERNETES_SERVICE_HOST: "127.0.0.1",
      KUBERNETES_SERVICE_PORT: String(node.api.port),
    },
  });
  await assertWorks(node, networks, "in-cluster");
});

nodeTest("without any credentials delegates and files work", async () => {
  await using node = await TestNode.create({ daemonConf: { kubeconfig: "" } });
  await using networks = await layNetworks(node);
  await node.startDaemon();
  node.api.log.clear();
  const sandbox = await createPod(node, "alone", { networks: "unknown" });
  await addPod(node, sandbox);
  deepEqual(await subnetsOf(sandbox), { eth0: 0 });
  await deletePod(node, sandbox, networks);
  deepEqual(node.api.log.records, []);
});

nodeTest(
  "perNodeCertificate gets a certificate for the node and works with it alone",
  async (t) => {
    await using node = await TestNode.create({
      api: { signsRequests: true, takesTokenless: true },
      profile: { certDir: "$NODE/certs" },
      daemonConf: {
        perNodeCertificate: {
          enabled: true,
          bootstrapKubeconfig: "$NODE/kubeconfig",
          certDir: "$NODE/certs",
          certDuration: "1h",
        },
      },
    });
    await using networks = await layNetworks(node);
    putDefinition(node, "own", networks.bridge(1));
    await Deno.mkdir(join(node.dir, "certs"));
    /** Requests that showed the bootstrap token, as "verb resource". */
    const withToken = (): string[] =>
      node.api.log.records.filter(({ token }) => token !== "").map((
        { verb, resource },
      ) => `${verb} ${resource}`);
    await step(t, "the first", async () => {
      await node.startDaemon();
      await assertWorks(node, networks, "certified");
      deepEqual(withToken(), [
        "create certificatesigningrequests",
        "get certificatesigningrequests",
      ]);
      match(
        await Deno.readTextFile(join(node.dir, "certs", PAIR_FILE)),
        /^-----BEGIN CERTIFICATE-----/,
      );
      equal(await node.stopDaemon(), 0);
    });
    await step(t, "after a restart", async () => {
      node.api.log.clear();
      await node.startDaemon();
      await assertWorks(node, networks, "certified-again");
      deepEqual(withToken(), []);
      equal(await node.stopDaemon(), 0);
    });
    await step(t, "after a half-written one", async () => {
      node.api.log.clear();
      await Deno.writeTextFile(
        join(node.dir, "certs", PAIR_FILE),
        "-----BEGIN",
      );
      await node.startDaemon();
      await assertWorks(node, networks, "certified-anew");
      deepEqual(withToken(), [
        "create certificatesigningrequests",
        "get certificatesigningrequests",
      ]);
      match(node.daemonLog, /The node's certificate cannot be used/);
    });
  },
);

nodeTest(
  "perNodeCertificate that is not approved leaves the daemon serving, and not ready",
  async () => {
    await using node = await TestNode.create({
      profile: { certDir: "$NODE/certs" },
      daemonConf: {
        perNodeCertificate: {
          enabled: true,
          bootstrapKubeconfig: "$NODE/kubeconfig",
          certDir: "$NODE/certs",
        },
      },
    });
    await using networks = await layNetworks(node);
    await Deno.mkdir(join(node.dir, "certs"));
    await startUnready(node);
    const sandbox = await createPod(node, "waiting");
    assertDone(node, await node.cni("DEL", sandbox));
    node.runtimeConf = { ...node.runtimeConf, cniVersion: "1.1.0" };
    const status = await node.cni("STATUS", sandbox);
    deepEqual([status.json.code, status.json.msg], [
      50,
      "Not ready: The node has no certificate yet: its request is not approved",
    ]);
    await assertNothingLeft(node, networks, [sandbox]);
  },
);

nodeTest(
  "flags override the daemon's file, with one dash or two",
  async (t) => {
    const cases: readonly {
      readonly name: string;
      readonly args: readonly string[];
      readonly networks: string;
      readonly msg?: RegExp;
      readonly log?: RegExp;
    }[] = [
      {
        name: "one dash, value alone",
        args: ["-namespace-isolation", "-global-namespaces", "lab"],
        networks: "lab/own",
      },
      {
        name: "two dashes, value behind =",
        args: ["--namespace-isolation=true", "--global-namespaces=shared"],
        networks: "lab/own",
        msg:
          /^networks\[0\]: a pod of namespace "default" may not use .* globalNamespaces are "shared"$/,
      },
      {
        name: "log level",
        args: ["-multus-log-level=debug", "-multus-log-to-stderr=true"],
        networks: "lab/own",
        log: /\[debug\] Plugin bridge did ADD/,
      },
      {
        name: "readiness indicator",
        args: ["-readiness-indicator-file=$NODE/never"],
        networks: "lab/own",
        msg: /^The default network is not ready: .*\/never: does its agent run/,
      },
      {
        name: "socket directory",
        args: ["-socket-dir", "$NODE/run"],
        networks: "lab/own",
      },
    ];
    for (const { name, args, networks: asked, msg, log } of cases) {
      await step(t, name, async () => {
        await using node = await TestNode.create({
          profile: { readinessIndicatorFile: "$NODE/never" },
          daemonConf: {
            requestTimeoutSeconds: 5,
            globalNamespaces: "nowhere",
            ...(name === "socket directory" ? { socketDir: "/nowhere" } : {}),
          },
        });
        await using networks = await layNetworks(node);
        putDefinition(node, "own", networks.bridge(1), "lab");
        const given = args.map((arg) => arg.replace("$NODE", node.dir));
        if (name === "readiness indicator") await startUnready(node, given);
        else await node.startDaemon({ args: given });
        const sandbox = await createPod(node, "flagged", { networks: asked });
        const { code, json } = await node.cni("ADD", sandbox);
        if (msg === undefined) equal(code, 0, node.daemonLog);
        else match(json.msg, msg);
        if (log !== undefined) match(node.daemonLog, log);
        await deletePod(node, sandbox, networks);
      });
    }
  },
);

nodeTest(
  "--help and --version print and end well; what is not understood ends with 2",
  async (t) => {
    await using node = await TestNode.create();
    const run = (...args: string[]): Promise<
      { code: number; stdout: string; stderr: string }
    > => runProgram([node.program("multus-daemon"), ...args]);
    for (const flag of ["--help", "-help", "-h"]) {
      await step(t, flag, async () => {
        const { code, stdout, stderr } = await run(flag);
        deepEqual([code, stderr], [0, ""]);
        match(stdout, /^Usage: multus-daemon \[flags\]/);
        for (
          const name of ["--config", "--multus-conf-file", "--metricsPort"]
        ) {
          ok(stdout.includes(name), name);
        }
        ok(stdout.split("\n").every((line) => line.length <= 100));
      });
    }
    for (const flag of ["--version", "-version"]) {
      await step(t, flag, async () => {
        const { code, stdout } = await run(flag);
        equal(code, 0);
        match(stdout, /^multus-daemon \d+\.\d+\.\d+\n$/);
      });
    }
    const wrong: readonly [string[], RegExp][] = [
      [
        ["--bogus"],
        /^multus-daemon: Unknown option '--bogus'\nTry multus-daemon --help\n$/,
      ],
      [
        ["-metricsPort=x"],
        /metricsPort.*Expected a whole number from 0 to 65535/,
      ],
      [["-config"], /argument missing/],
      [["-force-cni-version", "yes"], /Unexpected argument .*: yes/],
    ];
    for (const [args, message] of wrong) {
      await step(t, args.join(" "), async () => {
        const { code, stdout, stderr } = await run(...args);
        deepEqual([code, stdout], [2, ""]);
        match(stderr, message);
      });
    }
  },
);

const TEXT = "a string";
const FLAG = "true or false";
const NAMES = "a list of strings";

/** A wrong value of each key of the daemon's file; what was expected, and the place if it is not the key. */
const BAD_KEYS: readonly [
  key: string,
  value: unknown,
  expected: string,
  found: string,
  place?: string,
][] = [
  ["name", 7, TEXT, "7"],
  ["type", "bridge", '"multus-shim" or "multus"', '"bridge"'],
  ["cniVersion", 1, TEXT, "1"],
  ["confDir", ["/etc"], TEXT, "a list"],
  ["cniDir", {}, TEXT, "an object"],
  ["binDir", true, TEXT, "true"],
  ["kubeconfig", 1, TEXT, "1"],
  ["clusterNetwork", ["a"], TEXT, "a list"],
  ["defaultNetworks", "a", NAMES, '"a"'],
  ["defaultNetworks", ["a", 2], TEXT, "2", "defaultNetworks[1]"],
  ["delegates", {}, "a list of CNI configurations", "an object"],
  ["delegates", ["a"], "an object", '"a"', "delegates[0]"],
  ["systemNamespaces", "kube-system", NAMES, '"kube-system"'],
  ["multusNamespace", 1, TEXT, "1"],
  ["namespaceIsolation", "yes", FLAG, '"yes"'],
  ["globalNamespaces", ["a"], TEXT, "a list"],
  ["readinessindicatorfile", 1, TEXT, "1"],
  ["capabilities", [], "an object", "a list"],
  ["capabilities", { ips: 1 }, FLAG, "1", "capabilities.ips"],
  ["runtimeConfig", "x", "an object", '"x"'],
  ["retryDeleteOnError", "no", FLAG, '"no"'],
  ["auxiliaryCNIChainName", 1, TEXT, "1"],
  ["logFile", false, TEXT, "false"],
  ["logLevel", 3, TEXT, "3"],
  ["logToStderr", "true", FLAG, '"true"'],
  ["logOptions", "x", "an object", '"x"'],
  [
    "logOptions",
    { maxSize: "100" },
    "a whole number from 0 to 1000000",
    '"100"',
    "logOptions.maxSize",
  ],
  ["daemonSocketDir", 1, TEXT, "1"],
  ["chrootDir", 1, TEXT, "1"],
  ["socketDir", {}, TEXT, "an object"],
  ["metricsPort", "9091", "a whole number from 0 to 65535", '"9091"'],
  ["metricsPort", 65_536, "a whole number from 0 to 65535", "65536"],
  [
    "connectionLimit",
    -1,
    `a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`,
    "-1",
  ],
  ["multusConfigFile", true, TEXT, "true"],
  ["multusAutoconfigDir", 1, TEXT, "1"],
  ["cniConfigDir", 1, TEXT, "1"],
  ["multusMasterCNI", ["a"], TEXT, "a list"],
  ["forceCNIVersion", "1.0.0", FLAG, '"1.0.0"'],
  ["overrideNetworkName", 1, FLAG, "1"],
  ["perNodeCertificate", true, "an object", "true"],
  [
    "perNodeCertificate",
    { certDuration: "a day" },
    'a duration such as "24h"',
    '"a day"',
    "perNodeCertificate.certDuration",
  ],
  ["enablePprof", "x", FLAG, '"x"'],
];

nodeTest(
  "a wrong value of any key is one line that names file, place, what was expected and what stands there",
  async (t) => {
    await using node = await TestNode.create();
    const { daemonConfig } = node.profile;
    for (const [key, value, expected, found, place = key] of BAD_KEYS) {
      await step(t, `${key}: ${JSON.stringify(value)}`, async () => {
        await node.writeDaemonConf({ [key]: value });
        const { code, stdout, stderr } = await runProgram([
          node.program("multus-daemon"),
          "--config",
          daemonConfig,
        ]);
        deepEqual([code, stdout, stderr], [
          1,
          "",
          `multus-daemon: ${daemonConfig}: ${place}: expected ${expected}, found ${found}\n`,
        ]);
      });
    }
  },
);

const LABEL = 'expected the name of a network (a-z, 0-9, "-", ".")';
const NAMESPACE =
  'expected a namespace (a-z, 0-9, "-"; up to 63 characters), found';
const INTERFACE =
  'expected an interface name (1 to 15 bytes; no "/", ":" or white space), found';
const PORTS = "a whole number from 1 to 65535";
const AMOUNT = `a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`;

/** A wrong value of each field of the annotation, with the message. */
const BAD_FIELDS: readonly [fields: Record<string, unknown>, msg: string][] = [
  [{ name: "" }, "networks[0].name: is required"],
  [{ name: 7 }, "networks[0].name: expected a string, found 7"],
  [{ name: "A" }, `networks[0].name: ${LABEL}, found "A"`],
  [
    { namespace: "-a" },
    `networks[0].namespace: ${NAMESPACE} "-a"`,
  ],
  [{ namespace: [] }, "networks[0].namespace: expected a string, found a list"],
  [{ ips: "10.0.0.1" }, 'networks[0].ips: expected a list, found "10.0.0.1"'],
  [
    { ips: ["10.0.0.1", "10.0.0.256"] },
    'networks[0].ips[1]: expected an address or CIDR, found "10.0.0.256"',
  ],
  [
    { ips: ["10.0.0.1/33"] },
    'networks[0].ips[0]: expected an address or CIDR, found "10.0.0.1/33"',
  ],
  [
    { ips: [1] },
    "networks[0].ips[0]: expected an address or CIDR, found 1",
  ],
  [
    { mac: "02:00:00" },
    'networks[0].mac: expected a hardware address, found "02:00:00"',
  ],
  [{ mac: 2 }, "networks[0].mac: expected a string, found 2"],
  [
    { "infiniband-guid": "c2:11" },
    'networks[0].infiniband-guid: expected a GUID of 8 bytes, found "c2:11"',
  ],
  [{ interface: "a/b" }, `networks[0].interface: ${INTERFACE} "a/b"`],
  [
    { interfaceRequest: "x".repeat(16) },
    `networks[0].interfaceRequest: ${INTERFACE} "${"x".repeat(16)}"`,
  ],
  [
    { portMappings: {} },
    "networks[0].portMappings: expected a list, found an object",
  ],
  [
    { portMappings: [{ containerPort: 80 }] },
    "networks[0].portMappings[0].hostPort: is required",
  ],
  [
    { portMappings: [{ hostPort: 80, containerPort: 0 }] },
    `networks[0].portMappings[0].containerPort: expected ${PORTS}, found 0`,
  ],
  [
    { portMappings: [{ hostPort: 1, containerPort: 1, protocol: "icmp" }] },
    'networks[0].portMappings[0].protocol: expected tcp, udp or sctp, found "icmp"',
  ],
  [
    { portMappings: [{ hostPort: 1, containerPort: 1, hostIP: "host" }] },
    'networks[0].portMappings[0].hostIP: expected an address, found "host"',
  ],
  [
    { bandwidth: 1 },
    "networks[0].bandwidth: expected an object, found 1",
  ],
  [
    { bandwidth: { ingressRate: "1M" } },
    `networks[0].bandwidth.ingressRate: expected ${AMOUNT}, found "1M"`,
  ],
  [
    { bandwidth: { egressBurst: -1 } },
    `networks[0].bandwidth.egressBurst: expected ${AMOUNT}, found -1`,
  ],
  [
    { "cni-args": [] },
    "networks[0].cni-args: expected an object, found a list",
  ],
  [
    { "default-route": "10.0.0.1" },
    'networks[0].default-route: expected a list, found "10.0.0.1"',
  ],
  [
    { "default-route": ["10.0.0.0/24"] },
    'networks[0].default-route[0]: expected the address of a gateway, found "10.0.0.0/24"',
  ],
  [{ deviceID: 3 }, "networks[0].deviceID: expected a string, found 3"],
  [
    { "ipam-claim-reference": {} },
    "networks[0].ipam-claim-reference: expected a string, found an object",
  ],
];

nodeTest(
  "a wrong value of any field of the annotation is refused before anything runs, with its place",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinition(node, "own", networks.bridge(1));
    await node.startDaemon();
    for (const [index, [fields, msg]] of BAD_FIELDS.entries()) {
      await step(t, JSON.stringify(fields), async () => {
        const sandbox = await createPod(node, `wrong${index}`, {
          networks: [{ name: "own", ...fields }],
        });
        const { code, json } = await node.cni("ADD", sandbox);
        deepEqual([code, json.code, json.msg], [1, 7, msg]);
        equal(await ipIn(sandbox, "-o", "link", "show", "up"), "");
      });
    }
    await assertNothingLeft(node, networks, []);
  },
);

nodeTest(
  "ADD tells the pod by an event when a network is not found",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    await node.startDaemon();
    const sandbox = await createPod(node, "seeker", { networks: "nowhere" });
    const { json } = await node.cni("ADD", sandbox);
    const msg =
      'Cannot find NetworkAttachmentDefinition "default/nowhere" asked for by networks[0] as net1';
    deepEqual([json.code, json.msg], [7, msg]);
    const told = (): string[] =>
      node.api.list("Event", "default").map(({ type, reason, note, message }) =>
        `${type} ${reason} ${note ?? message}`
      );
    await waitUntil(() => told().length > 0, { what: "an event" });
    deepEqual(told(), [`Warning NoNetworkFound ${msg}`]);
    await assertNothingLeft(node, networks, [sandbox]);
  },
);

nodeTest(
  "a file that is a directory, or is not there, is named in one line",
  async (t) => {
    await using node = await TestNode.create({
      profile: { multusConfDir: "$NODE/no-such-directory/net.d" },
    });
    await using networks = await layNetworks(node);
    const { daemonConfig, multusConfDir } = node.profile;
    const run = async (): Promise<[number, string]> => {
      const { code, stderr } = await runProgram([
        node.program("multus-daemon"),
        "--config",
        daemonConfig,
      ]);
      return [code, stderr];
    };
    const conf = await Deno.readTextFile(daemonConfig);
    await step(t, "the daemon's configuration is not there", async () => {
      await Deno.remove(daemonConfig);
      deepEqual(await run(), [
        1,
        `multus-daemon: Cannot read the daemon's configuration: no such file: ${daemonConfig}\n`,
      ]);
    });
    await step(t, "the daemon's configuration is a directory", async () => {
      await Deno.mkdir(daemonConfig);
      const [code, said] = await run();
      equal(code, 1);
      match(
        said,
        /^multus-daemon: Cannot read the daemon's configuration: Is a directory.*daemon-config\.json.*\n$/,
      );
      await Deno.remove(daemonConfig);
      await Deno.writeTextFile(daemonConfig, conf);
    });
    await step(t, "the kubeconfig is a directory", async () => {
      const kubeconfig = join(node.dir, "kubeconfig");
      const text = await Deno.readTextFile(kubeconfig);
      await Deno.remove(kubeconfig);
      await Deno.mkdir(kubeconfig);
      const [code, said] = await run();
      equal(code, 1);
      match(
        said.split("\n").at(-2) ?? "",
        /^multus-daemon: Cannot read .*\/kubeconfig: Is a directory/,
      );
      await Deno.remove(kubeconfig);
      await Deno.writeTextFile(kubeconfig, text);
    });
    await step(t, "confDir is not there", async () => {
      await Deno.remove(join(node.dir, "no-such-directory"), {
        recursive: true,
      });
      putDefinition(node, "elsewhere", "");
      await node.startDaemon();
      const sandbox = await createPod(node, "lost", { networks: "elsewhere" });
      const { json } = await node.cni("ADD", sandbox);
      equal(json.code, 7);
      match(
        json.msg,
        new RegExp(
          `^NetworkAttachmentDefinition "default/elsewhere" asked for by networks\\[0\\] as net1: ` +
            `No valid configuration in ${multusConfDir} has the name`,
        ),
      );
      await assertNothingLeft(node, networks, [sandbox]);
    });
  },
);
