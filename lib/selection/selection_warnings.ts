/**
 * What the owner of a pod should know although the pod gets its networks: a
 * request that no plugin will hear, a device that is missing. Each becomes an
 * event; none of them stops an ADD.
 *
 * @module
 */

import { quote } from "../cni/error.ts";
import { parseCidr } from "../cni/ip.ts";
import { listUnheardRequests } from "./capability_args.ts";
import type { Delegate } from "./delegate.ts";
import type { DeviceAllocation } from "./device_allocation.ts";
import type { NetworkSelection } from "./network_selection.ts";

/** Something that the owner of a pod should know. */
export interface Warning {
  /** What kind it is, for the event. */
  readonly reason:
    | "RequestUnheard"
    | "PrefixMissing"
    | "DeviceMissing"
    | "InterfaceNameUnused";
  /** The display name of the network. */
  readonly network: string;
  /** The interface. */
  readonly ifname: string;
  /** One sentence, with the place in the annotation where there is one. */
  readonly message: string;
}

/** Capabilities whose requests also travel in CNI_ARGS. */
const IN_CNI_ARGS: readonly string[] = ["ips", "mac"];

/** Warnings of one ADD: what many networks have in common is one mistake, and each of them is an event on the API server. */
const WARNINGS_MAX = 10;

/** The first few warnings; the last of them says how many it stands for. */
export function limitWarnings(warnings: readonly Warning[]): Warning[] {
  const more = warnings.length - WARNINGS_MAX;
  return warnings.slice(0, WARNINGS_MAX).map((warning, index) =>
    more > 0 && index === WARNINGS_MAX - 1
      ? {
        ...warning,
        message: `${warning.message} (and ${more} more warnings)`,
      }
      : warning
  );
}

/** The warnings of one delegate. */
export function listWarnings(
  delegate: Delegate,
  device?: Pick<DeviceAllocation, "isShort">,
): Warning[] {
  const { selection, displayName: network, ifname } = delegate;
  const warnings = selection === undefined ? [] : [
    ...warnUnheard(delegate, selection),
    ...warnPrefixes(delegate, selection),
    ...warnInterface(delegate, selection),
  ];
  if (device?.isShort === true) {
    warnings.push(["DeviceMissing", describeShortage(delegate)]);
  }
  return warnings.map(([reason, message]) => ({
    reason,
    network,
    ifname,
    message,
  }));
}

type Finding = [reason: Warning["reason"], message: string];

function warnUnheard(
  delegate: Delegate,
  selection: NetworkSelection,
): Finding[] {
  return listUnheardRequests(delegate).map(
    ({ key, capability }) => {
      const rest = IN_CNI_ARGS.includes(capability)
        ? "only a plugin that reads CNI_ARGS will follow it"
        : "it has no effect";
      const problem = `no plugin of ${
        title(delegate)
      } declares the capability ${quote(capability)}, ${rest}`;
      return ["RequestUnheard", `${selection.place}.${key}: ${problem}`];
    },
  );
}

/** The static IPAM plugin takes addresses with a prefix only; nothing else is known to mind. */
function warnPrefixes(
  delegate: Delegate,
  { place, ips = [] }: NetworkSelection,
): Finding[] {
  if (!delegate.list.plugins.some(({ text }) => usesStaticIpam(text))) {
    return [];
  }
  const bare = [...ips.entries()].filter(([, ip]) =>
    parseCidr(ip) === undefined
  );
  const [first] = bare;
  if (first === undefined) return [];
  const [index, ip] = first;
  const problem = `the IPAM plugin static of ${
    title(delegate)
  } needs a prefix length, found ${quote(ip)}`;
  const rest = bare.length === 1 ? "" : ` and ${bare.length - 1} more`;
  return [["PrefixMissing", `${place}.ips[${index}]: ${problem}${rest}`]];
}

function warnInterface(
  delegate: Delegate,
  { place, interface: asked }: NetworkSelection,
): Finding[] {
  if (asked === undefined || asked === delegate.ifname) return [];
  const problem = `the default network has the name that the runtime gave, ${
    quote(delegate.ifname)
  }`;
  return [["InterfaceNameUnused", `${place}.interface: ${problem}`]];
}

function describeShortage(delegate: Delegate): string {
  const resource = quote(delegate.resourceName ?? "");
  return `The kubelet gave the pod too few devices of ${resource}: none is left for ${
    title(delegate)
  }`;
}

function title({ displayName, ifname }: Delegate): string {
  return `"${displayName}" (${ifname})`;
}

function usesStaticIpam(pluginText: string): boolean {
  const plugin: { ipam?: { type?: unknown } | null } = JSON.parse(pluginText);
  return plugin.ipam?.type === "static";
}
