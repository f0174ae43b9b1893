/**
 * Results of plugins in every version of the specification (CNI specification,
 * "Result types"). In memory a result has the newest shape; it is converted when
 * it is read and when it is written, so that the rest of the program knows one
 * shape. Keys that the specification does not know are not carried, and empty
 * ones are left out.
 *
 * @module
 */

import { decodeJson } from "./decode.ts";
import { CniError, ErrorCode, quote } from "./error.ts";
import { familyOf, isIp, parseCidr } from "./ip.ts";
import { isJsonObject, type JsonObject } from "./json_text.ts";
import { assertVersion, compareVersions } from "./version.ts";

/** A network interface that a plugin made or changed. */
export interface Interface {
  /** Its name. */
  name: string;
  /** Its hardware address. */
  mac?: string;
  /** Its MTU. */
  mtu?: number;
  /** The network namespace it is in; absent for one on the host. */
  sandbox?: string;
  /** Path of the socket behind it. */
  socketPath?: string;
  /** The PCI device behind it. */
  pciID?: string;
}

/** An address that a plugin assigned. */
export interface IPConfig {
  /** Address and prefix length. */
  address: string;
  /** The gateway of its subnet. */
  gateway?: string;
  /** Index of its interface in the result. */
  interface?: number;
}

/** A route that a plugin set. */
export interface Route {
  /** Destination: address and prefix length. */
  dst: string;
  /** Next hop. */
  gw?: string;
  /** MTU along the route. */
  mtu?: number;
  /** Maximal segment size to advertise. */
  advmss?: number;
  /** Priority; lower is preferred. */
  priority?: number;
  /** Routing table. */
  table?: number;
  /** Scope of the destination. */
  scope?: number;
}

/** What a plugin says of name resolution. */
export interface Dns {
  /** Addresses of name servers. */
  nameservers?: string[];
  /** The local domain. */
  domain?: string;
  /** Search domains. */
  search?: string[];
  /** Options of the resolver. */
  options?: string[];
}

/** A result, in the newest shape. */
export interface Result {
  /** Interfaces, in the order in which addresses index them. */
  interfaces: Interface[];
  /** Addresses. */
  ips: IPConfig[];
  /** Routes. */
  routes: Route[];
  /** Name resolution, if the plugin said something of it. */
  dns?: Dns;
}

type Kind = "text" | "integer" | "ip" | "cidr" | "texts";
type Fields<T> = Readonly<Record<keyof T & string, Kind>>;

/** An address as it stood under `ip4` and `ip6`. */
interface Family {
  ip: string;
  gateway?: string;
}

const INTERFACE: Fields<Interface> = {
  name: "text",
  mac: "text",
  mtu: "integer",
  sandbox: "text",
  socketPath: "text",
  pciID: "text",
};
const IP_CONFIG: Fields<IPConfig> = {
  address: "cidr",
  gateway: "ip",
  interface: "integer",
};
const FAMILY: Fields<Family> = { ip: "cidr", gateway: "ip" };
const ROUTE: Fields<Route> = {
  dst: "cidr",
  gw: "ip",
  mtu: "integer",
  advmss: "integer",
  priority: "integer",
  table: "integer",
  scope: "integer",
};
const DNS: Fields<Dns> = {
  nameservers: "texts",
  domain: "text",
  search: "texts",
  options: "texts",
};

/** What came with 1.1.0 is not written for an older reader. */
const OLD_INTERFACE_KEYS: readonly string[] = ["name", "mac", "sandbox"];
const OLD_ROUTE_KEYS: readonly string[] = ["dst", "gw"];

/** Before this one a result was one address of each family. */
export const FIRST_WITH_LISTS = "0.3.0";
/** The first one in which an address does not say its family. */
const FIRST_WITHOUT_FAMILY = "1.0.0";
/** The first one with the keys of {@linkcode INTERFACE} and {@linkcode ROUTE} that the old ones lack. */
const FIRST_WITH_DETAILS = "1.1.0";

/**
 * Reads the result that a plugin printed. One without `cniVersion` is read as of
 * `fallbackVersion`, the version of the plugin's configuration.
 *
 * @throws {CniError} with code 6 if it is not a result, 1 if its version is not supported
 */
export function parseResult(text: string, fallbackVersion: string): Result {
  return readResult(decodeJson(text, "Result"), fallbackVersion);
}

/**
 * Reads a result that is parsed already.
 *
 * @throws {CniError} with code 6 if it is not a result, 1 if its version is not supported
 */
export function readResult(value: unknown, fallbackVersion: string): Result {
  const source = asObject(value, "The result");
  const own = readField(source, "cniVersion", "text", "cniVersion");
  const version = String(own ?? fallbackVersion);
  assertVersion(version);
  const dns = readFields<Dns>(source.dns ?? {}, "dns", DNS);
  return {
    ...(isBefore(version, FIRST_WITH_LISTS)
      ? readFamilies(source)
      : readLists(source)),
    ...(Object.keys(dns).length > 0 ? { dns } : {}),
  };
}

/**
 * Writes a result in a version's shape, `cniVersion` included. Before 0.3.0 the
 * first address of each family and the routes of that family stay.
 *
 * @throws {CniError} with code 1 if the version is not supported, or cannot hold a result without address
 */
export function formatResult(
  result: Result,
  version: string,
): Record<string, unknown> {
  assertVersion(version);
  const dns = compact({ ...result.dns });
  return compact({
    cniVersion: version,
    ...(isBefore(version, FIRST_WITH_LISTS)
      ? formatFamilies(result, version)
      : formatLists(result, version)),
    dns: Object.keys(dns).length > 0 ? dns : undefined,
  });
}

function readLists(source: JsonObject): Omit<Result, "dns"> {
  return {
    interfaces: readList(source.interfaces, "interfaces").map((
      item,
      index,
    ) => ({
      name: "", // a plugin that does not say it is no reason to fail
      ...readFields<Interface>(item, `interfaces[${index}]`, INTERFACE),
    })),
    ips: readList(source.ips, "ips").map((item, index) =>
      required<IPConfig>(
        readFields<IPConfig>(item, `ips[${index}]`, IP_CONFIG),
        "address",
        `ips[${index}]`,
      )
    ),
    routes: readRoutes(source.routes, "routes"),
  };
}

function readFamilies(source: JsonObject): Omit<Result, "dns"> {
  const ips: IPConfig[] = [];
  const routes: Route[] = [];
  for (const key of ["ip4", "ip6"]) {
    const family = source[key] ?? undefined;
    if (family === undefined) continue;
    const fields = readFields<Family>(family, key, FAMILY);
    const { ip, gateway } = required<Family>(fields, "ip", key);
    ips.push({ address: ip, ...(gateway === undefined ? {} : { gateway }) });
    routes.push(
      ...readRoutes(asObject(family, key).routes, `${key}.routes`),
    );
  }
  return { interfaces: [], ips, routes };
}

function readRoutes(value: unknown, path: string): Route[] {
  return readList(value, path).map((item, index) => {
    const route = readFields<Route>(item, `${path}[${index}]`, ROUTE);
    return required<Route>(route, "dst", `${path}[${index}]`);
  });
}

function formatLists(
  { interfaces, ips, routes }: Result,
  version: string,
): Record<string, unknown> {
  const isOld = isBefore(version, FIRST_WITH_DETAILS);
  const hasFamily = isBefore(version, FIRST_WITHOUT_FAMILY);
  return {
    interfaces: interfaces.map((item) =>
      pick(item, isOld ? OLD_INTERFACE_KEYS : Object.keys(INTERFACE))
    ),
    ips: ips.map((ip) => ({
      ...(hasFamily ? { version: String(familyOf(ip.address)) } : {}),
      ...pick(ip, Object.keys(IP_CONFIG)),
    })),
    routes: routes.map((route) =>
      pick(route, isOld ? OLD_ROUTE_KEYS : Object.keys(ROUTE))
    ),
  };
}

function formatFamilies(
  { ips, routes }: Result,
  version: string,
): Record<string, unknown> {
  if (ips.length === 0) {
    throw new CniError(
      ErrorCode.incompatibleVersion,
      `A result without any IP address cannot be written in CNI version ${version}`,
    );
  }
  const byFamily = (family: 4 | 6): Record<string, unknown> | undefined => {
    const ip = ips.find(({ address }) => familyOf(address) === family);
    if (ip === undefined) return undefined;
    const own = routes.filter(({ dst }) => familyOf(dst) === family);
    return compact({
      ip: ip.address,
      gateway: ip.gateway,
      routes: own.map((route) => pick(route, OLD_ROUTE_KEYS)),
    });
  };
  return { ip4: byFamily(4), ip6: byFamily(6) };
}

/** Reads the known fields of an object; those that are absent or empty are left out. */
function readFields<T extends object>(
  value: unknown,
  path: string,
  fields: Fields<T>,
): Partial<T> {
  const source = asObject(value, path);
  const read = Object.entries<Kind>(fields).map(([key, kind]) => [
    key,
    readField(source, key, kind, `${path}.${key}`),
  ]);
  return compact(Object.fromEntries(read)) as Partial<T>;
}

function readField(
  source: JsonObject,
  key: string,
  kind: Kind,
  path: string,
): string | number | string[] | undefined {
  const value = Object.hasOwn(source, key) ? source[key] : undefined;
  if (value === undefined || value === null || value === "") return undefined;
  if (isOfKind(value, kind)) return value as string | number | string[];
  throw malformed(`${path} must be ${EXPECTED[kind]}: ${quote(value)}`);
}

const EXPECTED: Readonly<Record<Kind, string>> = {
  text: "a string",
  integer: "an integer",
  ip: "an IP address",
  cidr: "an IP address with prefix length",
  texts: "a list of strings",
};

function isOfKind(value: unknown, kind: Kind): boolean {
  if (kind === "integer") return Number.isSafeInteger(value);
  if (kind === "texts") {
    return Array.isArray(value) &&
      value.every((item) => typeof item === "string");
  }
  if (typeof value !== "string") return false;
  if (kind === "ip") return isIp(value);
  return kind === "text" || parseCidr(value) !== undefined;
}

function readList(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  throw malformed(`${path} must be a list: ${quote(value)}`);
}

function asObject(value: unknown, path: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw malformed(`${path} must be an object: ${quote(value)}`);
}

function required<T extends object>(
  value: Partial<T>,
  key: keyof T & string,
  path: string,
): T {
  if (value[key] !== undefined) return value as T;
  throw malformed(`${path}.${key} is missing`);
}

function pick(
  source: object,
  keys: readonly string[],
): Record<string, unknown> {
  const entries = Object.entries(source).filter(([key]) => keys.includes(key));
  return compact(Object.fromEntries(entries));
}

/** Leaves out what is absent and lists that are empty. */
function compact(source: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(source).filter(([, value]) =>
    value !== undefined && !(Array.isArray(value) && value.length === 0)
  );
  return Object.fromEntries(entries);
}

function isBefore(version: string, other: string): boolean {
  return compareVersions(version, other) < 0;
}

function malformed(message: string): CniError {
  return new CniError(ErrorCode.decodingFailure, message);
}
