/**
 * The doctor's checks for what pods that are gone have left: addresses that
 * the IPAM plugin host-local holds, ports of bridges. A container counts as
 * known when a record or a result of libcni names it; the runtime's own results
 * count too, because not every pod of a node was attached by Multus.
 *
 * Needs: read of the IPAM's and the state directory, of the runtime's results.
 */
import { dirname, join } from "node:path";
import { createResultCache } from "../cni/result_cache.ts";
import { getMember } from "../cni/json_text.ts";
import { seenIpamDataDir } from "../grants.ts";
import {
  type DoctorContext,
  type KernelLink,
  recordedLists,
} from "./doctor_context.ts";
import type { Finding } from "./doctor_schema.ts";
import { NO_IP } from "./doctor_networks.ts";

/** An address that is given out. */
interface Reservation {
  readonly path: string;
  readonly containerId: string;
}

/** What host-local keeps beside the addresses. */
const OTHER_FILES = /^(?:lock|last_reserved_ip\..*)$/;

/** A network of 65,000 addresses that are all in use; more is not looked at. */
const RESERVATIONS_MAX = 65_536;

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return [];
    throw error;
  }
}

async function listReservations(dir: string): Promise<Reservation[]> {
  const found: Reservation[] = [];
  for (const network of (await namesIn(dir)).sort()) {
    for (const name of (await namesIn(join(dir, network))).sort()) {
      if (OTHER_FILES.test(name) || found.length >= RESERVATIONS_MAX) continue;
      const path = join(dir, network, name);
      const text = await Deno.readTextFile(path).catch(() => undefined);
      // It may have been given back just now.
      if (text === undefined) continue;
      const [containerId = ""] = text.split(/\r?\n/);
      found.push({ path, containerId: containerId.trim() });
    }
  }
  return found;
}

/** All containers that anybody knows of. */
async function knownContainers(
  { view, records }: DoctorContext,
): Promise<Set<string>> {
  const known = new Set(
    (records.value ?? []).map(({ containerId }) => containerId),
  );
  for (const dir of [view.stateDir, dirname(view.stateDir)]) {
    const { attachments } = await createResultCache(dir).list();
    for (const { containerId } of attachments) known.add(containerId);
  }
  return known;
}

/** Addresses that belong to no container. */
export async function checkAddresses(
  context: DoctorContext,
): Promise<Finding[]> {
  const dir = seenIpamDataDir(context.view.profile);
  const reservations = await listReservations(dir);
  if (reservations.length === 0) return [];
  const known = await knownContainers(context);
  return reservations.filter(({ containerId }) => !known.has(containerId)).map(
    ({ path, containerId }) => ({
      severity: "warning",
      subject: path,
      message:
        `The address is given out to a container that nothing is attached to: ${containerId}`,
      remedy:
        `When crictl pods shows no such pod, remove the file; the runtime's next GC does it by itself`,
    }),
  );
}

/** What the bridge plugin takes when its configuration names no bridge. */
const DEFAULT_BRIDGE = "cni0";

/** The bridges that networks of this node have ports on. */
function bridgesOf({ records, networks }: DoctorContext): Set<string> {
  const lists = [
    ...recordedLists(records.value ?? []),
    ...(networks.value ?? []).flatMap(({ list }) => list ?? []),
  ];
  const bridges = lists.flatMap(({ plugins }) =>
    plugins.filter(({ type }) => type === "bridge")
  ).map(({ text }): unknown => JSON.parse(getMember(text, "bridge") ?? "null"));
  return new Set(
    bridges.map((name) => typeof name === "string" ? name : DEFAULT_BRIDGE),
  );
}

/** Ports of our bridges whose pod is not known. */
export function checkInterfaces(context: DoctorContext): Promise<Finding[]> {
  const { kernelLinks, records } = context;
  // That links cannot be listed is told by the check of masters.
  if (kernelLinks.problem !== undefined) return Promise.resolve([]);
  if (kernelLinks.value === undefined) return Promise.resolve([NO_IP]);
  const attachments = (records.value ?? []).flatMap(({ attachments }) =>
    attachments
  );
  const known = new Set(
    attachments.flatMap(({ result }) =>
      result?.interfaces.map(({ name }) => name) ?? []
    ),
  );
  const bridges = bridgesOf(context);
  const isLeft = ({ ifname, master, kind }: KernelLink): boolean =>
    kind === "veth" && bridges.has(master ?? "") && !known.has(ifname);
  return Promise.resolve(
    kernelLinks.value.filter(isLeft).map(({ ifname, master }) => ({
      severity: "warning",
      subject: ifname,
      message: `A port of bridge ${master} belongs to no attachment`,
      remedy:
        `When no pod from before Multus uses it, remove it: ip link delete ${ifname}`,
    })),
  );
}
