/**
 * The demo's show: see `main.ts`. Runs on a node of its own.
 */
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { ip, runProgram, type Sandbox, TestNode } from "../node.ts";
import { findPluginDir } from "../prerequisites.ts";

const EXAMPLES = join(
  import.meta.dirname ?? ".",
  "..",
  "..",
  "deployments",
  "examples",
);

/** In the order in which they are shown. */
const FILES = [
  "default-only.yaml",
  "macvlan.yaml",
  "other-namespace.yaml",
  "json.yaml",
  "config-file.yaml",
  "default-route.yaml",
  "ipvlan.yaml",
] as const;

const NETWORKS = "k8s.v1.cni.cncf.io/networks";
const STATUS = "k8s.v1.cni.cncf.io/network-status";

/** The status is written off the ADD's path: it comes within milliseconds, a busy machine may need more. */
const STATUS_WAIT_MS = 10_000;

const encoder = new TextEncoder();
const say = (line = ""): void =>
  void Deno.stdout.writeSync(encoder.encode(`${line}\n`));
const coloured = Deno.stdout.isTerminal() &&
  (Deno.env.get("NO_COLOR") ?? "") === "";
const paint = (code: number) => (text: string): string =>
  coloured ? `\x1b[${code}m${text}\x1b[0m` : text;
const bold = paint(1);
const dim = paint(2);
const green = paint(32);
const red = paint(31);

interface Manifest {
  readonly kind: string;
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

interface Example {
  readonly file: string;
  readonly manifests: readonly Manifest[];
}

async function readExample(file: string): Promise<Example> {
  const text = await Deno.readTextFile(join(EXAMPLES, file));
  return {
    file,
    manifests: parseAllDocuments(text).map((document) =>
      document.toJS() as Manifest
    ),
  };
}

/** What the scheduler does to a pod before a runtime hears of it. */
function schedule(manifest: Manifest, nodeName: string): Manifest {
  if (manifest.kind !== "Pod") return manifest;
  return { ...manifest, spec: { ...manifest.spec, nodeName } };
}

/** Whether the kernel makes links of this kind: asked by making one. */
async function hasLinkKind(kind: string): Promise<boolean> {
  const made = await runProgram([
    "ip",
    "link",
    "add",
    "probe0",
    "link",
    "eth0",
    "type",
    kind,
  ]);
  if (made.code === 0) await ip("link", "delete", "probe0");
  return made.code === 0;
}

/** The node's own card, which macvlan needs as parent: one end of a veth pair. */
async function makeUplink(): Promise<void> {
  await ip("link", "add", "eth0", "type", "veth", "peer", "name", "switch0");
  await ip("link", "set", "eth0", "up");
  await ip("link", "set", "switch0", "up");
}

async function placeConfigurations(node: TestNode): Promise<void> {
  await Deno.copyFile(
    join(EXAMPLES, "10-bridge.conflist"),
    join(node.profile.cniConfDir, "10-bridge.conflist"),
  );
  await Deno.copyFile(
    join(EXAMPLES, "net.d", "storage.conflist"),
    join(node.profile.multusConfDir, "storage.conflist"),
  );
}

function describe(pod: Manifest): string {
  const asked = pod.metadata.annotations?.[NETWORKS]?.trim().replaceAll(
    /\s+/g,
    " ",
  );
  return asked === undefined ? dim("(asks for nothing)") : dim(asked);
}

async function readStatus(node: TestNode, pod: Manifest): Promise<unknown[]> {
  const deadline = Date.now() + STATUS_WAIT_MS;
  for (;;) {
    const { annotations } = node.api.get(
      "Pod",
      pod.metadata.name,
      pod.metadata.namespace ?? "default",
    ).metadata;
    const text = annotations?.[STATUS];
    if (text !== undefined) return JSON.parse(text);
    if (Date.now() > deadline) {
      throw new Deno.errors.TimedOut(
        `No network-status on ${pod.metadata.name}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function inSandbox(
  sandbox: Sandbox,
  ...args: string[]
): Promise<string[]> {
  const name = sandbox.netns.slice("/var/run/netns/".length);
  return (await ip("-n", name, ...args)).trimEnd().split("\n").filter((line) =>
    line !== ""
  );
}

interface Shown {
  readonly pod: Manifest;
  readonly sandbox: Sandbox;
}

async function showPod(node: TestNode, pod: Manifest): Promise<Shown> {
  const namespace = pod.metadata.namespace ?? "default";
  say(`${bold(`${namespace}/${pod.metadata.name}`)}  ${describe(pod)}`);
  const uid = String(
    node.api.get("Pod", pod.metadata.name, namespace).metadata.uid,
  );
  const sandbox = await node.createSandbox({
    namespace,
    name: pod.metadata.name,
    uid,
  });
  const added = await node.cni("ADD", sandbox);
  if (added.code !== 0) {
    throw new Deno.errors.InvalidData(
      `ADD failed: ${added.stdout}${added.stderr}${node.daemonLog}`,
    );
  }
  say(`  ADD      ${green("done")} in ${added.durationMs.toFixed(0)} ms`);
  for (const line of await inSandbox(sandbox, "-br", "addr")) {
    say(`  address  ${line.trimEnd()}`);
  }
  for (const line of await inSandbox(sandbox, "route", "show", "default")) {
    say(`  route    ${line.trimEnd()}`);
  }
  for (const element of await readStatus(node, pod)) {
    say(`  status   ${JSON.stringify(element)}`);
  }
  say();
  return { pod, sandbox };
}

/** What plugins and daemon keep on disk, by path; locks and the address that was given last are not state of a pod. */
async function leftFiles(node: TestNode): Promise<string[]> {
  const left: string[] = [];
  for (const dir of [node.profile.cniStateDir, join("/var/lib/cni/networks")]) {
    const found = await runProgram(["find", dir, "-type", "f"]);
    const paths = found.stdout.split("\n").filter((path) => path !== "");
    left.push(
      ...paths.filter((path) =>
        !/\/(?:lock|last_reserved_ip\.\d+)$/.test(path)
      ),
    );
  }
  return left;
}

async function leftInterfaces(sandbox: Sandbox): Promise<string[]> {
  const lines = await inSandbox(sandbox, "-br", "link");
  return lines.filter((line) => !line.startsWith("lo ")).map((line) =>
    line.split(/\s/)[0] ?? ""
  );
}

async function removePod(node: TestNode, shown: Shown): Promise<string[]> {
  const { pod, sandbox } = shown;
  const deleted = await node.cni("DEL", sandbox);
  if (deleted.code !== 0) {
    throw new Deno.errors.InvalidData(`DEL failed: ${deleted.stdout}`);
  }
  const interfaces = await leftInterfaces(sandbox);
  await node.removeSandbox(sandbox);
  say(
    `  DEL ${pod.metadata.name.padEnd(12)} ${green("done")} in ${
      deleted.durationMs.toFixed(0)
    } ms`,
  );
  return interfaces.map((name) => `interface ${name} of ${pod.metadata.name}`);
}

async function show(
  node: TestNode,
  isInterrupted: () => boolean,
): Promise<number> {
  const examples = await Promise.all(FILES.map(readExample));
  for (const example of examples) {
    for (const manifest of example.manifests) {
      node.api.put(schedule(manifest, node.nodeName));
    }
  }
  await node.startDaemon();
  say(
    dim(
      `Plugins of ${await findPluginDir()}, API server on ${node.api.url}, daemon ready with its grants.`,
    ),
  );
  say();
  const shown: Shown[] = [];
  for (const example of examples) {
    if (isInterrupted()) break;
    if (example.file === "ipvlan.yaml" && !await hasLinkKind("ipvlan")) {
      say(dim("This kernel has no ipvlan: its example is left out."));
      say();
      continue;
    }
    for (
      const pod of example.manifests.filter((manifest) =>
        manifest.kind === "Pod"
      )
    ) {
      shown.push(await showPod(node, pod));
    }
  }
  say(bold("Now all of it is undone"));
  const left: string[] = [];
  for (const one of shown) left.push(...await removePod(node, one));
  left.push(...await leftFiles(node));
  for (const one of left) say(`  ${red("left over")}: ${one}`);
  say(
    left.length === 0
      ? `  ${
        green("Nothing is left")
      }: no interface, no address in use, no record.`
      : "",
  );
  return left.length === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  let interrupted = false;
  const onInterrupt = (): void => {
    interrupted = true;
  };
  Deno.addSignalListener("SIGINT", onInterrupt);
  // Addresses that host-local hands out are kept here: this node's own, not the machine's.
  await Deno.mkdir("/var/lib/cni", { recursive: true });
  const mounted = await runProgram([
    "mount",
    "-t",
    "tmpfs",
    "-o",
    "size=4m",
    "cni",
    "/var/lib/cni",
  ]);
  if (mounted.code !== 0) {
    throw new Deno.errors.PermissionDenied(mounted.stderr);
  }
  await makeUplink();
  await using node = await TestNode.create();
  await placeConfigurations(node);
  try {
    return await show(node, () => interrupted);
  } finally {
    Deno.removeSignalListener("SIGINT", onInterrupt);
  }
}

if (import.meta.main) Deno.exitCode = await main();
