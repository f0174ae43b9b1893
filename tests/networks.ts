/**
 * Networks to test with, as they stand in NetworkAttachmentDefinitions and CNI
 * files: real bridges and a real card to put macvlans on, under names and
 * subnets that no other test of this run has, with all addresses handed out
 * from one directory of the node.
 */
import { join } from "node:path";
import { ip, type TestNode } from "./node.ts";

/** A plugin's configuration. */
export type Conf = Record<string, unknown>;

/** The networks of one node; its links go when it is disposed of. */
export interface Networks extends AsyncDisposable {
  /** Where host-local writes down which address is whose. */
  readonly ipamDir: string;
  /** The card of the node that macvlans are put on. */
  readonly uplink: string;
  /** The bridge of the default network. */
  readonly defaultBridge: string;
  /** A name for a bridge, of its own for each `key`. */
  bridgeName(key: string): string;
  /** A subnet's first three bytes, of its own for each `number`: "10.3.7". */
  subnet(number: number): string;
  /** host-local with addresses of subnet `number`. */
  hostLocal(number: number, more?: Conf): Conf;
  /** A bridge with addresses of subnet `number`. */
  bridge(number: number, more?: Conf): Conf;
  /** A macvlan with addresses of subnet `number`. */
  macvlan(number: number, more?: Conf): Conf;
  /** What the plugins have in use: the files of host-local that stand for an address. */
  addressesInUse(): Promise<string[]>;
  /** The links of the node that belong to these networks, bridges and the card apart. */
  ports(): Promise<string[]>;
}

const VERSION = "1.0.0";

/** Lays the networks and makes the default one `cluster-net`: a bridge with a gateway and a default route. */
export async function layNetworks(node: TestNode): Promise<Networks> {
  const networks = await createNetworks(node);
  const plugin = networks.bridge(0, {
    isGateway: true,
    ipam: networks.hostLocal(0, { routes: [{ dst: "0.0.0.0/0" }] }),
  });
  const { cniVersion, ...rest } = plugin;
  await Deno.writeTextFile(
    join(node.profile.cniConfDir, "10-bridge.conflist"),
    JSON.stringify({ cniVersion, name: "cluster-net", plugins: [rest] }),
  );
  return networks;
}

async function createNetworks(node: TestNode): Promise<Networks> {
  const id = crypto.randomUUID().slice(0, 6);
  const [second = 0] = crypto.getRandomValues(new Uint8Array(1));
  const ipamDir = join(node.dir, "ipam");
  const bridges = new Set<string>();
  const uplink = `m${id}up`;
  await ip("link", "add", uplink, "type", "veth", "peer", "name", `m${id}sw`);
  await ip("link", "set", uplink, "up");
  await ip("link", "set", `m${id}sw`, "up");
  const bridgeName = (key: string): string => {
    const name = `m${id}${key}`;
    bridges.add(name);
    return name;
  };
  const subnet = (number: number): string => `10.${second}.${number}`;
  const hostLocal = (number: number, more: Conf = {}): Conf => ({
    type: "host-local",
    dataDir: ipamDir,
    ranges: [[{ subnet: `${subnet(number)}.0/24` }]],
    ...more,
  });
  return {
    ipamDir,
    uplink,
    defaultBridge: bridgeName("b0"),
    bridgeName,
    subnet,
    hostLocal,
    bridge: (number, more) => ({
      cniVersion: VERSION,
      type: "bridge",
      bridge: bridgeName(`b${number}`),
      ipam: hostLocal(number),
      ...more,
    }),
    macvlan: (number, more) => ({
      cniVersion: VERSION,
      type: "macvlan",
      master: uplink,
      mode: "bridge",
      ipam: hostLocal(number),
      ...more,
    }),
    addressesInUse: () => listAddresses(ipamDir),
    ports: () => listPorts(bridges, uplink),
    [Symbol.asyncDispose]: () => removeLinks([uplink, ...bridges]),
  };
}

async function listAddresses(dir: string): Promise<string[]> {
  const found: string[] = [];
  for (const network of await namesIn(dir)) {
    for (const name of await namesIn(join(dir, network))) {
      if (name !== "lock" && !name.startsWith("last_reserved_ip")) {
        found.push(`${network}/${name}`);
      }
    }
  }
  return found.sort();
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

interface Link {
  readonly ifname: string;
  readonly master?: string;
  readonly link?: string;
}

async function listLinks(): Promise<Link[]> {
  return JSON.parse(await ip("-j", "link", "show"));
}

async function listPorts(
  bridges: ReadonlySet<string>,
  uplink: string,
): Promise<string[]> {
  const links = await listLinks();
  return links.filter(({ ifname, master, link }) =>
    bridges.has(master ?? "") || (link === uplink && !ifname.startsWith("m"))
  ).map(({ ifname }) => ifname);
}

async function removeLinks(names: readonly string[]): Promise<void> {
  const present = new Set((await listLinks()).map(({ ifname }) => ifname));
  for (const name of names) {
    if (present.has(name)) await ip("link", "delete", name);
  }
}
