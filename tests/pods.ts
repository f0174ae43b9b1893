/**
 * Pods of a test node, as they are seen from the four sides that must agree:
 * the kernel, the CNI result, libcni's result cache, and the network-status
 * annotation; and what a pod leaves behind when it is gone.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { join } from "node:path";
import { attachmentManifest, podManifest } from "./api_server/fixture.ts";
import { waitUntil } from "./api_server/wait.ts";
import type { Networks } from "./networks.ts";
import {
  ip,
  runProgram,
  type Sandbox,
  type ShimOutcome,
  type TestNode,
} from "./node.ts";
import { waitForFile } from "./noop_plugin.ts";

const NETWORKS = "k8s.v1.cni.cncf.io/networks";
const STATUS = "k8s.v1.cni.cncf.io/network-status";

/** A pod to be. */
export interface PodOptions {
  readonly namespace?: string;
  /** The networks annotation: its text, or what it is as JSON. */
  readonly networks?: string | readonly unknown[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** Another node than this one: then the daemon's cache does not know the pod. */
  readonly nodeName?: string;
}

/** Tells the API server of a pod on the node, and makes its sandbox. */
export async function createPod(
  node: TestNode,
  name: string,
  options: PodOptions = {},
): Promise<Sandbox> {
  putPod(node, name, options);
  return await sandboxOf(node, name, options.namespace);
}

/** Tells the API server of a pod on the node. */
export function putPod(
  node: TestNode,
  name: string,
  options: PodOptions = {},
): void {
  const { namespace = "default", networks, annotations = {} } = options;
  const asked = typeof networks === "string" || networks === undefined
    ? networks
    : JSON.stringify(networks);
  node.api.put(podManifest(name, {
    namespace,
    uid: crypto.randomUUID(),
    nodeName: options.nodeName ?? node.nodeName,
    annotations: {
      ...annotations,
      ...(asked === undefined ? {} : { [NETWORKS]: asked }),
    },
  }));
}

/** A sandbox for a pod that the API server knows. */
export async function sandboxOf(
  node: TestNode,
  name: string,
  namespace = "default",
): Promise<Sandbox> {
  const uid = String(node.api.get("Pod", name, namespace).metadata.uid);
  return await node.createSandbox({ namespace, name, uid });
}

/** Tells the API server of a NetworkAttachmentDefinition; an object becomes JSON. */
export function putDefinition(
  node: TestNode,
  name: string,
  config: string | Record<string, unknown>,
  namespace = "default",
): void {
  const text = typeof config === "string" ? config : JSON.stringify(config);
  node.api.put(attachmentManifest(name, { namespace, config: text }));
}

/** Asserts that a call went well; shows what was said when it did not. */
export function assertDone(node: TestNode, outcome: ShimOutcome): void {
  equal(
    outcome.code,
    0,
    `${outcome.stdout}${outcome.stderr}\n${node.daemonLog}`,
  );
}

/** ADD that must go well; its result. */
export async function addPod(
  node: TestNode,
  sandbox: Sandbox,
  // deno-lint-ignore no-explicit-any -- a result of any version, looked at by assertions
): Promise<any> {
  const outcome = await node.cni("ADD", sandbox);
  assertDone(node, outcome);
  return outcome.json;
}

/** DEL that must go well, and leave nothing. */
export async function deletePod(
  node: TestNode,
  sandbox: Sandbox,
  networks: Networks,
): Promise<void> {
  assertDone(node, await node.cni("DEL", sandbox));
  await assertNothingLeft(node, networks, [sandbox]);
}

/** Runs `ip` in a pod's network namespace. */
export async function ipIn(
  sandbox: Sandbox,
  ...args: string[]
): Promise<string> {
  return await ip("-n", netnsName(sandbox), ...args);
}

function netnsName({ netns }: Sandbox): string {
  return netns.slice(netns.lastIndexOf("/") + 1);
}

/** One interface of a pod as the kernel has it. */
export interface KernelInterface {
  readonly mac: string;
  /** With prefix length; those that the kernel gives itself apart. */
  readonly addresses: readonly string[];
}

interface IpLink {
  readonly ifname: string;
  readonly address?: string;
  readonly "addr_info": readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
  }[];
}

/** The interfaces of a pod in the kernel, without the loopback. */
export async function readKernel(
  sandbox: Sandbox,
): Promise<Record<string, KernelInterface>> {
  const links: IpLink[] = JSON.parse(await ipIn(sandbox, "-j", "addr", "show"));
  return Object.fromEntries(
    links.filter(({ ifname }) => ifname !== "lo").map((link) => [link.ifname, {
      mac: link.address ?? "",
      addresses: link.addr_info.filter(({ scope }) => scope === "global")
        .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    }]),
  );
}

/** The default routes of a pod in the kernel, of one family: "10.1.2.1 net1". */
export async function readDefaultRoutes(
  sandbox: Sandbox,
  family: 4 | 6 = 4,
): Promise<string[]> {
  const routes: { gateway?: string; dev: string }[] = JSON.parse(
    await ipIn(sandbox, "-j", `-${family}`, "route", "show", "default"),
  );
  return routes.map(({ gateway, dev }) => `${gateway} ${dev}`).sort();
}

/** What libcni's cache holds of one attachment; the daemon writes it behind the answer. */
export async function readCache(
  node: TestNode,
  sandbox: Sandbox,
  { network, ifname }: { network: string; ifname: string },
  // deno-lint-ignore no-explicit-any -- a document of libcni's, looked at by assertions
): Promise<any> {
  const name = `${network}-${sandbox.containerId}-${ifname}`;
  const path = join(node.profile.cniStateDir, "results", name);
  await waitForFile(path);
  return JSON.parse(await Deno.readTextFile(path));
}

/** One element of the network-status annotation. */
export interface StatusElement {
  readonly name: string;
  readonly interface?: string;
  readonly ips?: readonly string[];
  readonly mac?: string;
  readonly default?: boolean;
  readonly dns: unknown;
  readonly gateway?: readonly string[];
}

/** The network-status as the API server has it now. */
export function readStatus(
  node: TestNode,
  { namespace, name }: Sandbox,
): StatusElement[] | undefined {
  const { annotations } = node.api.get("Pod", name, namespace).metadata;
  const text = annotations?.[STATUS];
  return text === undefined ? undefined : JSON.parse(text);
}

/** The network-status once it has one element for each of these interfaces, with these hardware addresses if any are given. */
export async function waitForStatus(
  node: TestNode,
  sandbox: Sandbox,
  interfaces: readonly string[],
  macs?: readonly (string | undefined)[],
): Promise<StatusElement[]> {
  const isThere = (): boolean => {
    const status = readStatus(node, sandbox) ?? [];
    const names = status.map((element) => element.interface ?? "");
    return names.join() === interfaces.join() &&
      (macs === undefined ||
        status.map(({ mac }) => mac).join() === macs.join());
  };
  const wanted = [...interfaces, ...macs ?? []];
  await waitUntil(isThere, {
    what: `network-status of ${sandbox.name} with ${wanted.join()}`,
  });
  return readStatus(node, sandbox) ?? [];
}

/** What must be the same everywhere, for one attachment. */
export interface Expected {
  /** As network-status names it. */
  readonly name: string;
  /** The `name` of the configuration. */
  readonly network: string;
  readonly ifname: string;
}

/** Asserts that kernel, cache and network-status tell the same of these attachments, and of no other. */
export async function assertAgreement(
  node: TestNode,
  sandbox: Sandbox,
  attachments: readonly Expected[],
): Promise<void> {
  const ifnames = attachments.map(({ ifname }) => ifname);
  const kernel = await readKernel(sandbox);
  deepEqual(Object.keys(kernel).sort(), [...ifnames].sort());
  const status = await waitForStatus(
    node,
    sandbox,
    ifnames,
    ifnames.map((ifname) => kernel[ifname]?.mac),
  );
  for (const [index, { name, network, ifname }] of attachments.entries()) {
    const { mac, addresses } = kernel[ifname] ?? { mac: "", addresses: [] };
    const { result } = await readCache(node, sandbox, { network, ifname });
    deepEqual(
      result.ips.map(({ address }: { address: string }) => address),
      addresses,
      `cached addresses of ${ifname}`,
    );
    const inPod = result.interfaces.find(({ sandbox }: { sandbox?: string }) =>
      (sandbox ?? "") !== ""
    );
    deepEqual([inPod.name, inPod.mac], [ifname, mac]);
    const told = status[index];
    deepEqual(
      [told?.name, told?.mac, told?.ips, told?.default ?? false],
      [name, mac, addresses.map(withoutPrefix), index === 0],
    );
  }
}

function withoutPrefix(address: string): string {
  return address.slice(0, address.indexOf("/"));
}

/** Everything that pods may have left: in the kernel, with the IPAM, on disk. */
export async function listLeft(
  node: TestNode,
  networks: Networks,
  sandboxes: readonly Sandbox[],
): Promise<string[]> {
  const left: string[] = [];
  for (const sandbox of sandboxes) {
    const names = Object.keys(await readKernel(sandbox));
    left.push(...names.map((name) => `interface ${name} of ${sandbox.name}`));
  }
  const ports = await networks.ports();
  left.push(...ports.map((port) => `port ${port}`));
  const addresses = await networks.addressesInUse();
  left.push(...addresses.map((address) => `address ${address}`));
  const { cniStateDir, deviceInfoDir } = node.profile;
  const files = await runProgram([
    "find",
    cniStateDir,
    deviceInfoDir,
    "-type",
    "f",
  ]);
  ok(files.code === 0, files.stderr);
  left.push(...files.stdout.split("\n").filter((path) => path !== ""));
  return left;
}

/** Asserts that nothing is left of pods; those with a sandbox still there are looked into. */
export async function assertNothingLeft(
  node: TestNode,
  networks: Networks,
  sandboxes: readonly Sandbox[],
): Promise<void> {
  deepEqual(await listLeft(node, networks, sandboxes), []);
}
