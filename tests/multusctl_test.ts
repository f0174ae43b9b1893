/**
 * What an operator sees: each command of multusctl, as built, with exactly its
 * grants, beside a daemon that works, and with one fault after the other put
 * into the node; and that looking changes nothing.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { AttachmentsReportShape } from "../lib/cli/attachments_schema.ts";
import { PendingReportShape } from "../lib/cli/delete_pending_schema.ts";
import {
  DOCTOR_CHECKS,
  type DoctorFinding,
  DoctorReportShape,
} from "../lib/cli/doctor_schema.ts";
import { ExplainReportShape } from "../lib/cli/explain_schema.ts";
import type { Shape } from "../lib/cli/shape.ts";
import { StatusReportShape } from "../lib/cli/status_schema.ts";
import { ValidationReportShape } from "../lib/cli/validate_schema.ts";
import { removeMember } from "../lib/cni/json_text.ts";
import { leaveRequest } from "../lib/wire/spool_file.ts";
import { parse } from "yaml";
import { attachmentManifest } from "./api_server/fixture.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { type CtlOutcome, ip, runProgram, TestNode } from "./node.ts";
import { installNoopPlugin, readCalls } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertDone,
  createPod,
  putDefinition,
  putPod,
} from "./pods.ts";

/** A node on which every path of a profile is in use, and the daemon keeps the runtime's configuration. */
async function createNode(
  options: Parameters<typeof TestNode.create>[0] = {},
): Promise<TestNode> {
  const node = await TestNode.create({
    ...options,
    profile: {
      autoconfigDir: "$NODE/net.d",
      readinessIndicatorFile: "$NODE/indicator",
      logFile: "$NODE/log/multus.log",
      certDir: "$NODE/certs",
      ...options.profile,
    },
    daemonConf: {
      multusConfigFile: "auto",
      multusAutoconfigDir: "$NODE/net.d",
      cniConfigDir: "$NODE/net.d",
      readinessindicatorfile: "$NODE/indicator",
      logFile: "$NODE/log/multus.log",
      ...options.daemonConf,
    },
  });
  await Deno.writeTextFile(join(node.dir, "indicator"), "");
  for (const name of ["log", "manifests", "certs", "ipam"]) {
    await Deno.mkdir(join(node.dir, name), { recursive: true });
  }
  return node;
}

/** The JSON of a command, which must be of its shape and nothing else. */
function readAs<T>(shape: Shape<T>, { stdout, stderr }: CtlOutcome): T {
  ok(stdout !== "", stderr);
  return shape.parse(JSON.parse(stdout));
}

nodeTest(
  "status shows what the daemon says, or that there is none",
  async (t) => {
    await using node = await createNode();
    await using _networks = await layNetworks(node);
    await step(t, "without a daemon", async () => {
      const { code, stdout, stderr } = await node.ctl(["status"]);
      equal(code, 1);
      equal(stdout, "");
      match(
        stderr,
        /^multusctl: The daemon does not answer on \S+\/multus\.sock: is the multus DaemonSet running on this node\?\n$/,
      );
    });
    await node.startDaemon();
    await step(t, "as JSON, as YAML and for people", async () => {
      const outcome = await node.ctl(["status", "--output", "json"]);
      equal(outcome.code, 0);
      const report = readAs(StatusReportShape, outcome);
      ok(report.daemon.ready);
      equal(report.shim, undefined);
      match(report.daemon.configuration?.chosen ?? "", /10-bridge\.conflist$/);
      const yaml = await node.ctl(["status", "-o", "yaml"]);
      equal(parse(yaml.stdout).daemon.version, report.daemon.version);
      const { stdout } = await node.ctl(["status"]);
      match(stdout, /^ready +yes$/m);
      match(stdout, /^default network +\S+10-bridge\.conflist$/m);
      ok(!stdout.includes("\x1b"), "no colours where there is no terminal");
    });
    await step(t, "which shim has called", async () => {
      const before = await node.ctl(["status"]);
      match(before.stdout, /^last caller +none yet$/m);
      await addPod(node, await createPod(node, "caller"));
      const outcome = await node.ctl(["status", "-o", "json"]);
      const { daemon, multusctl } = readAs(StatusReportShape, outcome);
      equal(daemon.lastClient, `multus-shim/${multusctl}`);
    });
    await step(t, "the shim is the one of this build, or another", async () => {
      const path = join(node.binDir, "multus-shim");
      await Deno.copyFile(node.program("multus-shim"), path);
      const same = readAs(
        StatusReportShape,
        await node.ctl(["status", "-o", "json"]),
      );
      deepEqual([same.shim?.path, same.shim?.same], [path, true]);
      await Deno.writeTextFile(path, "\n", { append: true });
      const { stdout } = await node.ctl(["status"]);
      match(stdout, /is of another build/);
    });
    await step(t, "not ready is exit code 1, with the reason", async () => {
      await Deno.remove(join(node.profile.cniConfDir, "10-bridge.conflist"));
      await waitUntil(
        async () => (await node.ctl(["status"])).code === 1,
        { what: "the daemon to see that its default network is gone" },
      );
      match((await node.ctl(["status"])).stdout, /FAILS/);
    });
  },
);

nodeTest(
  "attachments lists what records hold, with and without a daemon",
  async (t) => {
    await using node = await createNode();
    await using networks = await layNetworks(node);
    putDefinition(node, "lab", networks.bridge(1));
    await node.startDaemon();
    const first = await createPod(node, "first", { networks: "lab" });
    await addPod(node, first);
    const list = async (...args: string[]): Promise<string[]> => {
      const outcome = await node.ctl(["attachments", "-o", "json", ...args]);
      const { attachments } = readAs(AttachmentsReportShape, outcome);
      return attachments.map((one) =>
        `${one.pod} ${one.network} ${one.interface} ${one.state} ${one.addresses.length}`
      );
    };
    const ofFirst = [
      "default/first cluster-net eth0 done 1",
      "default/first default/lab net1 done 1",
    ];
    await step(t, "all, and those of one pod", async () => {
      deepEqual(await list(), ofFirst);
      deepEqual(await list("--pod", "default/first"), ofFirst);
      deepEqual(await list("--pod", "default/other"), []);
      const { stdout } = await node.ctl(["attachments"]);
      match(
        stdout,
        /^default\/first +default\/lab +net1 +10\.\S+\/24 +done +\d+s$/m,
      );
      equal((await node.ctl(["attachments", "--pod", "first"])).code, 2);
    });
    await step(t, "--watch tells of a pod that comes", async () => {
      const watching = new Deno.Command(node.program("multusctl"), {
        args: ["attachments", "--watch", "--output", "json"],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      let seen = "";
      const reading = (async () => {
        for await (
          const text of watching.stdout.pipeThrough(new TextDecoderStream())
        ) {
          seen += text;
        }
      })();
      await waitUntil(() => seen.includes("default/first"), {
        what: "the first",
      });
      const second = await createPod(node, "second");
      await addPod(node, second);
      await waitUntil(() => seen.includes("default/second"), {
        what: "the second",
      });
      watching.kill("SIGINT");
      await watching.status;
      await reading;
      for (const line of seen.trim().split("\n")) {
        AttachmentsReportShape.parse(JSON.parse(line));
      }
    });
    await node.stopDaemon();
    await step(t, "without a daemon, and with a damaged record", async () => {
      equal((await list()).length, 3);
      const path = join(node.profile.cniStateDir, "f".repeat(32));
      await Deno.writeTextFile(path, "[{");
      const { code, stdout } = await node.ctl(["attachments"]);
      equal(code, 1);
      match(stdout, /The record of container f+ cannot be read/);
      await Deno.remove(path);
    });
    await step(t, "without a state directory", async () => {
      await Deno.rename(node.profile.cniStateDir, join(node.dir, "elsewhere"));
      const { code, stderr } = await node.ctl(["attachments"]);
      equal(code, 1);
      match(
        stderr,
        /There is no state directory: has a Multus daemon ever run on this node/,
      );
      await Deno.rename(join(node.dir, "elsewhere"), node.profile.cniStateDir);
    });
  },
);

/** What a node holds that a command might have changed. */
async function snapshot(node: TestNode, networks: Networks): Promise<string> {
  const { stdout } = await runProgram([
    "find",
    node.profile.cniStateDir,
    node.profile.cniConfDir,
    join(node.dir, "ipam"),
    "-printf",
    "%p %s %T@\n",
  ]);
  const writes = node.api.log.records.filter(({ verb }) =>
    ["create", "patch", "update", "delete"].includes(verb)
  );
  // Other tests make links beside it: those that count are its bridges and what hangs on them.
  const own = networks.defaultBridge.replace(/b0$/, "");
  const links = (await ip("-o", "link", "show")).split("\n")
    .filter((line) => line.includes(own));
  return `${stdout}${links.join("\n")}${writes.length}`;
}

nodeTest(
  "explain shows what ADD will do, to the byte, and does nothing",
  async (t) => {
    await using node = await createNode({ plugins: ["probe"] });
    await using networks = await layNetworks(node);
    await Deno.mkdir(join(node.binDir, "calls"));
    await installNoopPlugin(node.binDir, "probe", {});
    putDefinition(
      node,
      "probe",
      '{"cniVersion":"1.0.0","type":"probe","big":9007199254740993,"capabilities":{"ips":true,"mac":true},"x":1.0}',
    );
    putDefinition(node, "lab", networks.bridge(1, { isGateway: true }));
    await node.startDaemon();
    const asked = [
      { name: "probe", ips: ["10.9.9.9/24"], "cni-args": { vlan: 7 } },
      {
        name: "lab",
        interface: "lab0",
        "default-route": [`${networks.subnet(1)}.1`],
        bandwidth: { ingressRate: 1000, ingressBurst: 1000 },
      },
    ];
    putPod(node, "web", { networks: asked });
    await step(
      t,
      "the delegates in order, and where each came from",
      async () => {
        const before = await snapshot(node, networks);
        const outcome = await node.ctl([
          "explain",
          "default/web",
          "-o",
          "json",
        ]);
        equal(await snapshot(node, networks), before);
        equal(outcome.code, 0, outcome.stderr);
        const report = readAs(ExplainReportShape, outcome);
        deepEqual(
          report.delegates.map((one) => [one.interface, one.network, one.from]),
          [
            [
              "eth0",
              "cluster-net",
              `clusterNetwork ${node.profile.cniConfDir}/10-bridge.conflist: CNI configuration "cluster-net"`,
            ],
            [
              "net1",
              "default/probe",
              "annotation networks[0]: NetworkAttachmentDefinition default/probe",
            ],
            [
              "lab0",
              "default/lab",
              "annotation networks[1]: NetworkAttachmentDefinition default/lab",
            ],
          ],
        );
        deepEqual(
          report.delegates.map(({ defaultRoute }) => defaultRoute.ipv4),
          ["taken away", "taken away", `through ${networks.subnet(1)}.1`],
        );
        deepEqual(
          report.warnings.map((
            { reason, interface: ifname },
          ) => [reason, ifname]),
          [["RequestUnheard", "lab0"]],
        );
      },
    );
    await step(t, "a plugin gets exactly what was shown", async () => {
      const sandbox = await createPod(node, "plain", { networks: [asked[0]] });
      const { delegates } = readAs(
        ExplainReportShape,
        await node.ctl(["explain", "default/plain", "-o", "json"]),
      );
      await addPod(node, sandbox);
      const [call] = await readCalls(node.binDir);
      equal(call?.command, "ADD");
      equal(delegates[1]?.plugins[0]?.input, call?.stdin);
      match(call?.stdin ?? "", /9007199254740993/);
      const args = call?.env["CNI_ARGS"] ?? "";
      equal(
        delegates[1]?.cniArgs.replace("CONTAINER_ID=explain", ""),
        args.replace(`CONTAINER_ID=${sandbox.containerId}`, ""),
      );
      assertDone(node, await node.cni("DEL", sandbox));
    });
    await step(t, "a pod and its network that are only in a file", async () => {
      const config = '{"cniVersion":"1.0.0","type":"probe"}';
      const manifest = JSON.stringify({
        kind: "List",
        items: [
          attachmentManifest("planned", { config }),
          {
            kind: "Deployment",
            metadata: { name: "web" },
            spec: {
              template: {
                metadata: {
                  annotations: { "k8s.v1.cni.cncf.io/networks": "planned@p0" },
                },
              },
            },
          },
        ],
      });
      const given = await node.ctl(["explain", "-f", "-", "-o", "json"], {
        stdin: manifest,
      });
      const { delegates } = readAs(ExplainReportShape, given);
      equal(delegates[1]?.interface, "p0");
      equal(
        removeMember(delegates[1]?.plugins[0]?.input ?? "", "name"),
        config,
      );
      const path = join(node.dir, "manifests", "web.json");
      await Deno.writeTextFile(path, manifest);
      equal((await node.ctl(["explain", "--file", path])).code, 0);
      const elsewhere = join(node.dir, "web.json");
      await Deno.writeTextFile(elsewhere, manifest);
      const refused = await node.ctl(["explain", "--file", elsewhere], {
        isAudited: false,
      });
      equal(refused.code, 2);
      match(refused.stderr, /may not read \S+: give it on standard input/);
    });
    await step(t, "what ADD would refuse", async () => {
      putPod(node, "lost", { networks: "nowhere" });
      const outcome = await node.ctl(["explain", "default/lost", "-o", "json"]);
      equal(outcome.code, 1);
      match(
        readAs(ExplainReportShape, outcome).error ?? "",
        /Cannot find NetworkAttachmentDefinition "default\/nowhere" asked for by networks\[0\]/,
      );
      await Deno.remove(join(node.binDir, "probe"));
      const missing = await node.ctl(["explain", "default/web"]);
      equal(missing.code, 1);
      match(missing.stdout, /plugin probe is not installed/);
    });
    await step(
      t,
      "a pod that is not, and an API server that is not",
      async () => {
        const unknown = await node.ctl(["explain", "default/nobody"]);
        equal(unknown.code, 1);
        match(unknown.stderr, /Pod does not exist: default\/nobody/);
        await node.api.stop();
        const { code, stderr } = await node.ctl(["explain", "default/web"]);
        equal(code, 1);
        match(stderr, /^multusctl: Kubernetes API is not available: /);
        await node.api.start();
      },
    );
  },
);

nodeTest(
  "validate names line and column, of files and of standard input",
  async () => {
    await using node = await createNode();
    const manifest = `apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    k8s.v1.cni.cncf.io/networks: |
      [{"name": "a"},
       {"name": "b", "ips": ["10.0.0.300"]}]
`;
    const given = await node.ctl(["validate", "-", "-o", "json"], {
      stdin: manifest,
    });
    equal(given.code, 1);
    const { findings } = readAs(ValidationReportShape, given);
    deepEqual(
      findings.map(({ file, line, column }) => [file, line, column]),
      [["-", 8, 30]],
    );
    const good = join(node.dir, "manifests", "good.yaml");
    await Deno.writeTextFile(good, manifest.replace("300", "30"));
    const { code, stdout } = await node.ctl([
      "validate",
      good,
      node.profile.daemonConfig,
    ]);
    deepEqual(
      [code, stdout],
      [
        0,
        `${good}: ok: Pod default/web\n${node.profile.daemonConfig}: ok: daemon configuration\n`,
      ],
    );
    const secret = await node.ctl(["validate", join(node.dir, "audit")], {
      isAudited: false,
    });
    equal(secret.code, 2);
    match(secret.stderr, /may not read/);
  },
);

/** A fault, and what the doctor must find. */
interface Fault {
  readonly name: string;
  readonly check: typeof DOCTOR_CHECKS[number];
  readonly severity: DoctorFinding["severity"];
  readonly message: RegExp;
  readonly env?: Record<string, string>;
  /** Puts it in; what it gives takes it back. */
  readonly put: () => Promise<() => Promise<void> | void>;
}

/** Moves a file away and back. */
function without(path: string): Fault["put"] {
  return async () => {
    await Deno.rename(path, `${path}.away`);
    return () => Deno.rename(`${path}.away`, path);
  };
}

/** Writes a file, and removes it or puts back what was there. */
function writing(path: string, text: string): Fault["put"] {
  return async () => {
    const before = await Deno.readTextFile(path).catch(() => undefined);
    await Deno.writeTextFile(path, text);
    return () =>
      before === undefined
        ? Deno.remove(path)
        : Deno.writeTextFile(path, before);
  };
}

/** A definition that a pod of the node asks for. */
function defining(
  node: TestNode,
  config: string | Record<string, unknown>,
): Fault["put"] {
  return () => {
    putDefinition(node, "faulty", config);
    putPod(node, "victim", { networks: "faulty" });
    return Promise.resolve(() => {
      node.api.delete("Pod", "victim");
      node.api.delete("NetworkAttachmentDefinition", "faulty");
    });
  };
}

function listFaults(
  node: TestNode,
  { networks, refuse }: {
    networks: Networks;
    refuse: (access: string | undefined) => void;
  },
): Fault[] {
  const { cniConfDir, libexecDir } = node.profile;
  const ipam = join(node.dir, "ipam", "cluster-net");
  return [
    {
      name: "a plugin that is not installed",
      check: "plugins",
      severity: "error",
      message:
        /plugin nothere is not installed: .*\(needed by default\/faulty\)/,
      put: defining(node, { cniVersion: "1.0.0", type: "nothere" }),
    },
    {
      name: "an IPAM plugin that is not installed",
      check: "plugins",
      severity: "error",
      message: /plugin whereami is not installed/,
      put: defining(node, {
        cniVersion: "1.0.0",
        type: "bridge",
        ipam: { type: "whereami" },
      }),
    },
    {
      name: "a network that no pod uses",
      check: "plugins",
      severity: "warning",
      message: /plugin nothere is not installed/,
      put: () => {
        putDefinition(node, "unused", { cniVersion: "1.0.0", type: "nothere" });
        return Promise.resolve(() =>
          node.api.delete("NetworkAttachmentDefinition", "unused")
        );
      },
    },
    {
      name: "a master that is not there",
      check: "masters",
      severity: "error",
      message:
        /plugin macvlan is to be put on a link that this node does not have: eth99/,
      put: defining(node, networks.macvlan(5, { master: "eth99" })),
    },
    {
      name: "a definition that is no JSON",
      check: "networks",
      severity: "error",
      message: /NetworkAttachmentDefinition default\/faulty: /,
      put: defining(node, '{"type": "bridge",}'),
    },
    {
      name: "a pod whose annotation cannot be read",
      check: "pods",
      severity: "error",
      message: /networks\[0\]: expected an interface name/,
      put: () => {
        putPod(node, "victim", { networks: "lab@a/b" });
        return Promise.resolve(() => node.api.delete("Pod", "victim"));
      },
    },
    {
      name: "an address of a container that is gone",
      check: "addresses",
      severity: "warning",
      message: /given out to a container that nothing is attached to: deadbeef/,
      put: writing(join(ipam, "10.77.0.77"), "deadbeef\r\neth0"),
    },
    {
      name: "a port of a bridge that belongs to nobody",
      check: "interfaces",
      severity: "warning",
      message: /A port of bridge \S+ belongs to no attachment/,
      put: async () => {
        const name = `${networks.defaultBridge.slice(0, 10)}left`;
        await ip(
          "link",
          "add",
          name,
          "type",
          "veth",
          "peer",
          "name",
          `${name}p`,
        );
        await ip("link", "set", name, "master", networks.defaultBridge);
        return async () => void await ip("link", "delete", name);
      },
    },
    {
      name: "an API server that is stopped",
      check: "api",
      severity: "error",
      message: /The API server cannot be asked: /,
      put: async () => {
        await node.api.stop();
        return () => node.api.start();
      },
    },
    {
      name: "an API server that does not answer",
      check: "api",
      severity: "error",
      message: /The API server cannot be asked: /,
      put: () => Promise.resolve(node.api.faults.add({ hang: true })),
    },
    {
      name: "a token that is not accepted",
      check: "api",
      severity: "error",
      message: /The API server cannot be asked: .*401|Unauthorized/,
      put: () => {
        const right = node.api.token;
        node.api.rotateToken("another");
        return Promise.resolve(() => void node.api.rotateToken(right));
      },
    },
    {
      name: "a role that lacks a verb",
      check: "rbac",
      severity: "error",
      message:
        /The daemon may not patch pods\/status: network-status is never written/,
      put: () => {
        refuse("patch pods/status");
        return Promise.resolve(() => refuse(undefined));
      },
    },
    {
      name: "a proxy",
      check: "proxy",
      severity: "warning",
      message: /A proxy is set/,
      env: { HTTPS_PROXY: "http://192.0.2.1:3128", NO_PROXY: "localhost" },
      put: () => Promise.resolve(() => {}),
    },
    {
      name: "a configuration that comes before ours",
      check: "configuration",
      severity: "error",
      message: /The runtime uses 00-aaa\.conflist, which comes before it/,
      put: writing(
        join(cniConfDir, "00-aaa.conflist"),
        '{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge"}]}',
      ),
    },
    {
      name: "a daemon configuration that is wrong",
      check: "configuration",
      severity: "error",
      message: /metricsPort: expected a whole number from 0 to 65535/,
      put: writing(node.profile.daemonConfig, '{"metricsPort": "9091"}'),
    },
    {
      name: "a script that cannot be executed",
      check: "directories",
      severity: "error",
      message: /The script cannot be executed/,
      put: async () => {
        const path = join(libexecDir, "default-route");
        await Deno.chmod(path, 0o644);
        return () => Deno.chmod(path, 0o755);
      },
    },
    {
      name: "no sign of life of the default network",
      check: "directories",
      severity: "error",
      message: /the default network's sign of life/,
      put: without(join(node.dir, "indicator")),
    },
    {
      name: "an authority that is no certificate",
      check: "api",
      severity: "error",
      message:
        /No certificate or key in PEM form|not an HTTP URL|Certificates cannot be used|authority/i,
      put: writing(
        join(node.dir, "kubeconfig"),
        node.api.kubeconfig({ tokenFile: join(node.dir, "token") })
          .replace(
            /certificate-authority-data: \S+/,
            "certificate-authority-data: bm90aGluZw==",
          ),
      ),
    },
    {
      name: "a pod's token that has expired",
      check: "credentials",
      severity: "error",
      message: /The token has expired at 2020-09-13T12:26Z/,
      env: {
        KUBERNETES_SERVICE_HOST: "127.0.0.1",
        KUBERNETES_SERVICE_PORT: String(node.api.port),
      },
      put: async () => {
        const right = node.api.token;
        const dir = node.profile.serviceAccountDir;
        const payload = btoa('{"exp":1600000000}').replaceAll("=", "");
        await Deno.mkdir(dir, { recursive: true });
        await Deno.writeTextFile(join(dir, "token"), `e30.${payload}.e30`);
        await Deno.writeTextFile(join(dir, "ca.crt"), node.api.caPem);
        node.api.rotateToken(`e30.${payload}.e30`);
        const takeBack = await writing(node.profile.daemonConfig, "{}")();
        return async () => {
          node.api.rotateToken(right);
          await takeBack();
        };
      },
    },
    {
      name: "a daemon that is stopped",
      check: "daemon",
      severity: "error",
      message:
        /The daemon does not answer on .*: is the multus DaemonSet running on this node\?/,
      put: async () => {
        await node.stopDaemon();
        return () => node.startDaemon();
      },
    },
  ];
}

nodeTest(
  "doctor finds each fault, with a remedy, and nothing on a node that is well",
  async (t) => {
    let refused: string | undefined;
    await using node = await createNode({
      api: {
        allows: ({ verb, resource, subresource }) =>
          `${verb} ${resource}${subresource ? `/${subresource}` : ""}` !==
            refused,
      },
    });
    await using networks = await layNetworks(node);
    putDefinition(node, "lab", networks.bridge(1));
    await node.startDaemon();
    const sandbox = await createPod(node, "well", { networks: "lab" });
    await addPod(node, sandbox);
    const examine = async (
      env: Record<string, string> = {},
    ): Promise<readonly DoctorFinding[]> => {
      const outcome = await node.ctl(["doctor", "--output", "json"], { env });
      const { findings, errors } = readAs(DoctorReportShape, outcome);
      equal(outcome.code, errors > 0 ? 1 : 0);
      return findings;
    };
    await step(t, "a node that is well", async () => {
      await waitUntil(
        async () => /\/lab-/.test(await snapshot(node, networks)),
        {
          what: "the cached results, which follow the answer",
        },
      );
      const before = await snapshot(node, networks);
      const findings = await examine();
      deepEqual(
        findings.map(({ check, severity }) => [check, severity]),
        // The stand-in's authority lives for a day, which is told in time.
        DOCTOR_CHECKS.map((check) => [
          check,
          check === "credentials" ? "warning" : "ok",
        ]),
        JSON.stringify(findings.filter(({ severity }) => severity !== "ok")),
      );
      // Reviews of access are the only thing that is created, and they leave nothing.
      const after = await snapshot(node, networks);
      equal(after.replace(/\d+$/, ""), before.replace(/\d+$/, ""));
    });
    const faults = listFaults(node, {
      networks,
      refuse: (access) => refused = access,
    });
    for (const { name, check, severity, message, env, put } of faults) {
      await step(t, name, async () => {
        const takeBack = await put();
        try {
          const findings = await examine(env);
          const found = findings.find((one) =>
            one.check === check && message.test(one.message)
          );
          ok(found !== undefined, JSON.stringify(findings, null, 2));
          equal(found.severity, severity);
          ok((found.remedy ?? "").length > 10, "a remedy");
        } finally {
          await takeBack();
        }
      });
    }
    await step(t, "for people, with the counts", async () => {
      putDefinition(node, "unused", { cniVersion: "1.0.0", type: "nothere" });
      const { code, stdout } = await node.ctl(["doctor"]);
      equal(code, 0);
      match(stdout, /^ok +directories$/m);
      match(stdout, /^warning +plugins: nothere: .*\n +Install nothere into/m);
      match(stdout, /\n0 errors, 2 warnings\n$/);
    });
  },
);

nodeTest(
  "delete-pending has the daemon do what waits, and says what fails",
  async (t) => {
    await using node = await createNode({ plugins: ["sticky"] });
    await using _networks = await layNetworks(node);
    const fail = 'fail 100 "The switch does not answer"';
    await installNoopPlugin(node.binDir, "sticky", { DEL: fail });
    putDefinition(node, "sticky", { cniVersion: "1.0.0", type: "sticky" });
    await node.startDaemon();
    const pending = async (...args: string[]) => {
      const outcome = await node.ctl(["delete-pending", "-o", "json", ...args]);
      return { outcome, ...readAs(PendingReportShape, outcome) };
    };
    await step(t, "nothing waits", async () => {
      deepEqual((await pending()).pending, []);
      equal((await node.ctl(["delete-pending"])).stdout, "No DEL waits\n");
    });
    const sandbox = await createPod(node, "web", { networks: "sticky" });
    await addPod(node, sandbox);
    assertDone(node, await node.cni("DEL", sandbox));
    const { containerId } = sandbox;
    await step(t, "--dry-run lists it", async () => {
      const { pending: [one], outcome } = await pending("--dry-run");
      equal(outcome.code, 0);
      deepEqual(
        [one?.containerId, one?.pod, one?.outcome],
        [containerId, "default/web", "waiting"],
      );
    });
    await step(t, "a plugin that still fails is named", async () => {
      const { pending: [one], outcome } = await pending();
      equal(outcome.code, 1);
      equal(one?.outcome, "failed");
      match(one?.reason ?? "", /"default\/sticky".*The switch does not answer/);
    });
    await step(t, "without a daemon", async () => {
      await node.stopDaemon();
      const { code, stderr } = await node.ctl(["delete-pending"]);
      equal(code, 1);
      match(stderr, /The daemon does not answer/);
      await node.startDaemon();
    });
    await step(t, "--forget gives a container up", async () => {
      const unknown = await node.ctl(["delete-pending", "--forget", "abc"]);
      equal(unknown.code, 2);
      await node.stopDaemon();
      const { pending: [one] } = await pending("--forget", containerId);
      equal(one?.outcome, "forgotten");
      deepEqual((await pending("--dry-run")).pending, []);
      const { stdout } = await node.ctl(["attachments"]);
      equal(stdout, "Nothing is attached\n");
      await node.startDaemon();
    });
    await step(t, "it is done when the plugin works again", async () => {
      const other = await createPod(node, "other", { networks: "sticky" });
      await addPod(node, other);
      assertDone(node, await node.cni("DEL", other));
      await installNoopPlugin(node.binDir, "sticky", { DEL: "exit 0" });
      const { pending: all, outcome } = await pending();
      // The daemon itself may have been faster.
      equal(outcome.code, 0);
      ok(all.every((one) => one.outcome === "done"));
      deepEqual((await pending("--dry-run")).pending, []);
      equal((await node.ctl(["attachments"])).stdout, "Nothing is attached\n");
    });
  },
);

/** The files of an archive, by name. */
async function unpack(
  dir: string,
  archive: Uint8Array,
): Promise<Record<string, string>> {
  const path = join(dir, "bundle.tar.gz");
  await Deno.writeFile(path, archive);
  const listed = await runProgram(["tar", "-tzf", path]);
  equal(listed.code, 0, listed.stderr);
  const files: Record<string, string> = {};
  for (const name of listed.stdout.trim().split("\n")) {
    const { stdout } = await runProgram(["tar", "-xzOf", path, name]);
    files[name] = stdout;
  }
  return files;
}

nodeTest(
  "bundle holds everything but secrets, also of a node that is broken",
  async (t) => {
    await using node = await createNode();
    await using networks = await layNetworks(node);
    putDefinition(node, "lab", networks.bridge(1, { password: "hunter2-nad" }));
    await Deno.writeTextFile(
      join(node.profile.multusConfDir, "wifi.conf"),
      '{"cniVersion":"1.0.0","name":"wifi","type":"bridge","psk":"hunter2-file"}',
    );
    await node.startDaemon();
    await addPod(node, await createPod(node, "web", { networks: "lab" }));
    await Deno.writeTextFile(
      node.profile.logFile ?? "",
      "asked with Authorization: Bearer hunter2-token-of-a-log\n",
      { append: true },
    );
    const bundle = async (): Promise<Record<string, string>> => {
      const { code, stdout, stderr } = await new Deno.Command(
        node.program("multusctl"),
        {
          args: ["bundle"],
          env: {
            MULTUS_NODE_NAME: node.nodeName,
            ...node.auditEnv("multusctl"),
          },
        },
      ).output();
      equal(code, 0, new TextDecoder().decode(stderr));
      return await unpack(node.dir, stdout);
    };
    const names = [
      "README.txt",
      "about.json",
      "attachments.json",
      "daemon-config.json",
      "doctor.json",
      "links.json",
      "multus.log",
      "multus.net.d/wifi.conf",
      "net.d/00-multus.conf",
      "net.d/10-bridge.conflist",
      "networks.json",
      "pending.json",
      "pods.json",
      "profile.json",
      "records.json",
      "status.json",
    ];
    await step(t, "of a node that is well", async () => {
      const files = await bundle();
      deepEqual(Object.keys(files).sort(), names);
      const all = Object.values(files).join("\n");
      ok(!all.includes("hunter2"), "no password");
      ok(!all.includes(node.api.token), "no token");
      StatusReportShape.parse(JSON.parse(files["status.json"] ?? ""));
      DoctorReportShape.parse(JSON.parse(files["doctor.json"] ?? ""));
      AttachmentsReportShape.parse(JSON.parse(files["attachments.json"] ?? ""));
      match(files["records.json"] ?? "", /"password\\": ?\\"\(removed\)/);
      match(files["networks.json"] ?? "", /default\/lab/);
      match(files["multus.log"] ?? "", /Serving/);
    });
    await step(t, "of a node without daemon and API server", async () => {
      await node.stopDaemon();
      await node.api.stop();
      await leaveRequest(join(node.profile.cniStateDir, "spool"), {
        env: { CNI_COMMAND: "DEL", CNI_CONTAINERID: "waiting" },
        config: btoa('{"password":"hunter2-del"}'),
      });
      const files = await bundle();
      deepEqual(Object.keys(files).sort(), names);
      match(files["pending.json"] ?? "", /"waiting"/);
      const secret = /hunter2|aHVudGVyMi/;
      ok(!secret.test(Object.values(files).join("\n")), "no password");
      match(
        files["status.json"] ?? "",
        /^Not there: The daemon does not answer/,
      );
      match(files["doctor.json"] ?? "", /The API server cannot be asked/);
      match(files["attachments.json"] ?? "", /default\/web/);
      await node.api.start();
    });
  },
);
