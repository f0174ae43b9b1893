/**
 * What `deployments/TROUBLESHOOTING.md` tells an operator to type: each
 * command is run on a node with the fault that its block names, and must say
 * what stands below it. `kubectl` is a script here that reaches the same node.
 */
import { deepEqual, ok } from "node:assert/strict";
import { join } from "node:path";
import { stringify } from "yaml";
import { ask } from "../lib/wire/ask.ts";
import { socketPathIn } from "../lib/wire/places.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { ip, runProgram, TestNode } from "./node.ts";
import { installNoopPlugin } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertDone,
  createPod,
  putDefinition,
  putPod,
} from "./pods.ts";

const DOCUMENT = new URL("../deployments/TROUBLESHOOTING.md", import.meta.url);

/** Commands to type, and what is seen then. */
interface Block {
  /** The line of the document. */
  readonly line: number;
  /** Names the fault. */
  readonly fault: string;
  readonly script: string;
  /** Lines of which each must be there; `…` is anything. */
  readonly expected: readonly string[];
}

function readBlocks(text: string): Block[] {
  const pattern =
    /^```sh(?: (\S+))?\n([^]*?)^```\n\n(?:```text\n([^]*?)^```)?/gm;
  return [...text.matchAll(pattern)].map((found) => {
    const [, fault = "", script = "", expected = ""] = found;
    const line = text.slice(0, found.index).split("\n").length;
    const lines = expected.split("\n").filter((one) => one !== "");
    return { line, fault, script, expected: lines };
  });
}

/** Whether a line of the output is this one. */
function isShown(expected: string, output: string): boolean {
  const words = expected.split("…").map((part) =>
    part.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+")
  );
  return new RegExp(`^\\s*${words.join(".*")}.*$`, "m").test(output);
}

/** Stands for a cluster of one node: what the document asks of kubectl, and nothing else. */
const KUBECTL = `#!/bin/sh
case "$*" in
  "-n kube-system get pods "*) echo pod/kube-multus-ds-x ;;
  "-n kube-system exec -i pod/kube-multus-ds-x -- multusctl "*)
    while [ "$1" != -- ]; do shift; done
    shift
    exec "$@" ;;
  "get net-attach-def -A -o yaml") cat nads.yaml ;;
  *) echo "kubectl is not expected to be asked: $*" >&2; exit 64 ;;
esac
`;

interface Ground {
  readonly node: TestNode;
  readonly networks: Networks;
  /** What the daemon's role lacks. */
  refused: string | undefined;
}

type Undo = () => Promise<unknown> | unknown;

/** A definition that a pod of the node asks for. */
function useFaulty(
  { node }: Ground,
  config: string | Record<string, unknown>,
): Undo {
  putDefinition(node, "faulty", config);
  putPod(node, "victim", { networks: "faulty" });
  return () => {
    node.api.delete("Pod", "victim");
    node.api.delete("NetworkAttachmentDefinition", "faulty");
  };
}

async function writeFile(path: string, text: string): Promise<Undo> {
  const before = await Deno.readTextFile(path).catch(() => undefined);
  await Deno.writeTextFile(path, text);
  return () =>
    before === undefined ? Deno.remove(path) : Deno.writeTextFile(path, before);
}

function podYaml(networks: unknown): string {
  const annotations = {
    "k8s.v1.cni.cncf.io/networks": JSON.stringify(networks),
  };
  const metadata = { name: "planned", annotations };
  return stringify({ apiVersion: "v1", kind: "Pod", metadata });
}

/** The faults that blocks name, each with what takes it back. */
const FAULTS: Readonly<Record<string, (ground: Ground) => Promise<Undo>>> = {
  "shell": () => Promise.resolve(() => {}),
  "well": ({ node }) =>
    writeFile(join(node.dir, "pod.yaml"), podYaml([{ name: "lab" }])),
  "daemon-stopped": async ({ node }) => {
    await node.stopDaemon();
    return () => node.startDaemon();
  },
  "plugin-missing": (ground) =>
    Promise.resolve(
      useFaulty(ground, { cniVersion: "1.0.0", type: "nothere" }),
    ),
  "master-wrong": (ground) =>
    Promise.resolve(
      useFaulty(ground, ground.networks.macvlan(5, { master: "eth99" })),
    ),
  "network-unknown": ({ node }) => {
    putPod(node, "web", { networks: "nowhere" });
    return Promise.resolve(() => node.api.delete("Pod", "web"));
  },
  "annotation-wrong": ({ node }) =>
    writeFile(
      join(node.dir, "pod.yaml"),
      podYaml([{ name: "lab", ips: ["10.0.0.300"] }]),
    ),
  "definition-wrong": async (ground) => {
    const { node } = ground;
    const undo = useFaulty(ground, '{"type": "bridge",}');
    const items = node.api.list("NetworkAttachmentDefinition");
    const text = stringify({ apiVersion: "v1", kind: "List", items });
    await Deno.writeTextFile(join(node.dir, "nads.yaml"), text);
    return undo;
  },
  "api-stopped": async ({ node }) => {
    await node.api.stop();
    return () => node.api.start();
  },
  "role-short": (ground) => {
    ground.refused = "patch pods/status";
    return Promise.resolve(() => ground.refused = undefined);
  },
  "not-effective": async ({ node }) => {
    const undo = await writeFile(
      join(node.profile.cniConfDir, "00-aaa.conflist"),
      '{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge"}]}',
    );
    return async () => {
      await undo();
      await waitUntil(() => isConfigured(node), {
        what: "the daemon to go by the default network again",
      });
    };
  },
  "default-route": ({ node, networks }) => {
    const gateway = `${networks.subnet(1)}.1`;
    putPod(node, "routed", {
      networks: [{ name: "lab", "default-route": [gateway] }],
    });
    return Promise.resolve(() => node.api.delete("Pod", "routed"));
  },
  "address-left": ({ node }) =>
    writeFile(
      join(node.dir, "ipam", "cluster-net", "10.77.0.77"),
      "deadbeef\r\neth0",
    ),
  "delete-failing": async ({ node }) => {
    putDefinition(node, "sticky", { cniVersion: "1.0.0", type: "sticky" });
    await installNoopPlugin(node.binDir, "sticky", {
      DEL: 'fail 100 "The switch does not answer"',
    });
    const sandbox = await createPod(node, "stuck", { networks: "sticky" });
    await addPod(node, sandbox);
    assertDone(node, await node.cni("DEL", sandbox));
    return async () => {
      await installNoopPlugin(node.binDir, "sticky", { DEL: "exit 0" });
      await node.ctl(["delete-pending"]);
      node.api.delete("Pod", "stuck");
    };
  },
  "interface-left": async ({ networks: { defaultBridge } }) => {
    const name = `${defaultBridge.slice(0, 10)}left`;
    await ip("link", "add", name, "type", "veth", "peer", "name", `${name}p`);
    await ip("link", "set", name, "master", defaultBridge);
    return () => ip("link", "delete", name);
  },
  "configuration-wrong": ({ node }) =>
    writeFile(node.profile.daemonConfig, '{"metricsPort": "9091"}'),
};

async function runBlock(ground: Ground, block: Block): Promise<void> {
  const { node } = ground;
  const { code, stdout, stderr } = await runProgram(
    ["sh", "-c", `cd "$0" && { ${block.script}\n}`, node.dir],
    {
      env: {
        PATH: `${
          join(node.dir, "stubs")
        }:${node.profile.programDir}:/usr/sbin:/usr/bin:/sbin:/bin`,
        NODE: node.nodeName,
        MULTUS_NODE_NAME: node.nodeName,
        ...node.auditEnv("multusctl"),
      },
      clearEnv: true,
    },
  );
  const output = `${stdout}\n${stderr}`;
  ok(code === 0 || code === 1, `line ${block.line}: exit ${code}\n${output}`);
  ok(block.expected.length > 0, `line ${block.line} shows nothing`);
  for (const line of block.expected) {
    ok(isShown(line, output), `line ${block.line}: ${line}\n${output}`);
  }
}

Deno.test("TROUBLESHOOTING.md names a fault for each command, and each fault is named", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  const blocks = readBlocks(text);
  deepEqual(
    blocks.length,
    text.split("\n").filter((line) => line.startsWith("```sh")).length,
  );
  deepEqual(
    [...new Set(blocks.map(({ fault }) => fault))].sort(),
    Object.keys(FAULTS).sort(),
  );
});

/** Whether the daemon goes by the default network, and runtimes by the daemon. */
async function isConfigured(node: TestNode): Promise<boolean> {
  const socketPath = socketPathIn(node.profile.socketDir);
  const { body } = await ask({ socketPath, route: "/status", method: "GET" }, {
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  const { chosen = "", effective } = JSON.parse(body).configuration;
  return effective === true && chosen.endsWith("/10-bridge.conflist");
}

/** The daemon answers at once; a busy machine takes a second. */
const ANSWER_MS = 10_000;

nodeTest(
  "every command of TROUBLESHOOTING.md says what stands below it",
  async (t) => {
    const blocks = readBlocks(await Deno.readTextFile(DOCUMENT));
    const refusing: { refused: string | undefined } = { refused: undefined };
    await using node = await TestNode.create({
      plugins: ["sticky"],
      daemonConf: {
        multusConfigFile: "auto",
        multusAutoconfigDir: "$NODE/net.d",
        cniConfigDir: "$NODE/net.d",
      },
      api: {
        allows: ({ verb, resource, subresource }) =>
          `${verb} ${resource}${subresource ? `/${subresource}` : ""}` !==
            refusing.refused,
      },
    });
    await using networks = await layNetworks(node);
    await Deno.mkdir(join(node.dir, "stubs"));
    await Deno.writeTextFile(join(node.dir, "stubs", "kubectl"), KUBECTL, {
      mode: 0o755,
    });
    putDefinition(node, "lab", networks.bridge(1, { isGateway: true }));
    await node.startDaemon();
    await addPod(node, await createPod(node, "well", { networks: "lab" }));
    const ground: Ground = Object.assign(refusing, { node, networks });
    for (const block of blocks) {
      await step(t, `line ${block.line}, ${block.fault}`, async () => {
        const undo = await FAULTS[block.fault]?.(ground);
        try {
          await runBlock(ground, block);
        } finally {
          await undo?.();
        }
      });
    }
  },
);
