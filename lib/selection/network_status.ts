/**
 * The annotation `k8s.v1.cni.cncf.io/network-status`: what a pod got, one
 * element for each interface in the pod. Made from results only, after the default routes
 * are settled, so that it can be made again from records at any time.
 *
 * Multi-network standard, "Network attachment status annotation".
 *
 * @module
 */

import { familyOf } from "../cni/ip.ts";
import type { Dns, Interface, IPConfig, Result } from "../cni/result.ts";
import type { Family } from "./default_route.ts";
import { defaultRouteFamily } from "./default_route.ts";
import type { Delegate } from "./delegate.ts";

/** The annotation in which a pod's networks are reported. */
export const NETWORK_STATUS_ANNOTATION = "k8s.v1.cni.cncf.io/network-status";

/** One interface of a pod; the keys stand in this order on the wire. */
export interface NetworkStatus {
  /** Display name of the network. */
  readonly name: string;
  /** Name in the pod. */
  readonly interface?: string;
  /** Addresses without prefix length. */
  readonly ips?: readonly string[];
  /** Hardware address. */
  readonly mac?: string;
  /** MTU, where the plugin tells it. */
  readonly mtu?: number;
  /** True on exactly one interface of a pod, absent on the others. */
  readonly default?: true;
  /** Name resolution; empty if the plugin says nothing of it. */
  readonly dns: Dns;
  /** What the device information file says. */
  readonly "device-info"?: unknown;
  /** Gateways of default routes. */
  readonly gateway?: readonly string[];
}

/** An attachment, what it got, and what is known of its device. */
export interface StatusSource {
  /** Whose status it is. */
  readonly delegate: Pick<Delegate, "displayName" | "ifname" | "isDefault">;
  /** Its result, as it is after the default routes were changed. */
  readonly result: Result;
  /** What the device information file says. */
  readonly deviceInfo?: unknown;
}

/** An interface of the pod with the addresses on it. */
interface Listed {
  readonly source: StatusSource;
  readonly item: Interface;
  readonly ips: readonly IPConfig[];
  /** Whether it is the only one of its attachment. */
  readonly isOnly: boolean;
}

const UNSPECIFIED: readonly string[] = ["0.0.0.0", "::"];

/** The status of all attachments, in their order. */
export function buildNetworkStatus(
  attachments: readonly StatusSource[],
): NetworkStatus[] {
  const listed = attachments.map(listInterfaces);
  const ofDefault =
    listed.find(([first]) => first?.source.delegate.isDefault === true) ?? [];
  const chosen = ofDefault.find(({ ips }) => ips.some(hasGateway)) ??
    ofDefault[0];
  return listed.flat().map((entry) => describe(entry, entry === chosen));
}

/** The text of the annotation, in the layout that people and their scripts know: each element indented by four. */
export function formatNetworkStatus(
  statuses: readonly NetworkStatus[],
): string {
  return `[${
    statuses.map((status) => JSON.stringify(status, null, 4)).join(",")
  }]`;
}

function describe(
  { source, item, ips, isOnly }: Listed,
  isDefault: boolean,
): NetworkStatus {
  const { delegate, result, deviceInfo } = source;
  const gateways = listGateways(result, { ips, isOnly });
  return {
    name: delegate.displayName,
    interface: item.name === "" ? delegate.ifname : item.name,
    ...(ips.length > 0
      ? { ips: ips.map(({ address }) => withoutPrefix(address)) }
      : {}),
    ...(item.mac ? { mac: item.mac } : {}),
    ...(item.mtu ? { mtu: item.mtu } : {}),
    ...(isDefault ? { default: true } : {}),
    dns: describeDns(result.dns),
    ...(deviceInfo === undefined ? {} : { "device-info": deviceInfo }),
    ...(gateways.length > 0 ? { gateway: gateways } : {}),
  };
}

function listInterfaces(source: StatusSource): Listed[] {
  const { result, delegate } = source;
  const places = inSandbox(result);
  if (places.length === 0) {
    const item = result.interfaces.find(({ name }) =>
      name === delegate.ifname
    ) ?? { name: delegate.ifname };
    return isWorthTelling(source)
      ? [{ source, item, ips: result.ips, isOnly: true }]
      : [];
  }
  const last = places.at(-1);
  return places.flatMap((place) => {
    const item = result.interfaces[place];
    const ips = result.ips.filter((ip) =>
      (pointsAt(ip, result) ?? last) === place
    );
    return item === undefined
      ? []
      : [{ source, item, ips, isOnly: places.length === 1 }];
  });
}

/** Places of the interfaces that are in the pod; some plugins leave `sandbox` out where there is no doubt. */
function inSandbox({ interfaces }: Result): number[] {
  if (interfaces.length === 1) return [0];
  return [...interfaces.keys()].filter((place) =>
    (interfaces[place]?.sandbox ?? "") !== ""
  );
}

/** The place of the interface that an address is on; an index that leads nowhere counts as none. */
function pointsAt(
  { interface: place }: IPConfig,
  { interfaces }: Result,
): number | undefined {
  return place !== undefined && interfaces[place] !== undefined
    ? place
    : undefined;
}

/** Without an interface in the result there is still one in the pod, unless the chain made nothing at all. */
function isWorthTelling({ result, deviceInfo }: StatusSource): boolean {
  return result.interfaces.length + result.ips.length > 0 ||
    deviceInfo !== undefined;
}

/** Gateways of the default routes; of several interfaces, each has those of the families in which it has an address. */
function listGateways(
  result: Result,
  { ips, isOnly }: Pick<Listed, "ips" | "isOnly">,
): string[] {
  const gateways = result.routes.flatMap((route) => {
    const family = defaultRouteFamily(route);
    if (
      family === undefined || !(isOnly || ips.some((ip) => isOf(family, ip)))
    ) return [];
    const gateway = isGateway(route.gw)
      ? route.gw
      : ips.find((ip) => isOf(family, ip) && hasGateway(ip))?.gateway;
    return gateway === undefined ? [] : [gateway];
  });
  return [...new Set(gateways)];
}

function hasGateway({ gateway }: IPConfig): boolean {
  return isGateway(gateway);
}

function isGateway(gateway: string | undefined): gateway is string {
  return gateway !== undefined && gateway !== "" &&
    !UNSPECIFIED.includes(gateway);
}

function isOf(family: Family, { address }: IPConfig): boolean {
  return familyOf(address) === family;
}

function withoutPrefix(address: string): string {
  return address.split("/", 1)[0] ?? address;
}

/** Only what says something, in the order of the specification. */
function describeDns(
  { nameservers = [], domain = "", search = [], options = [] }: Dns = {},
): Dns {
  return {
    ...(nameservers.length > 0 ? { nameservers } : {}),
    ...(domain === "" ? {} : { domain }),
    ...(search.length > 0 ? { search } : {}),
    ...(options.length > 0 ? { options } : {}),
  };
}
