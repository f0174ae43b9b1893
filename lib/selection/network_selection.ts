/**
 * One network that a pod asks for, and the reader for its JSON form. Every
 * field is checked here, before anything runs, and each message names its
 * place. Keys that nobody knows are ignored; `portMappings`, `bandwidth` and
 * `cni-args` stay the text that their author wrote, numbers included.
 *
 * Multi-network standard, "Network attachment selection annotation".
 *
 * @module
 */

import type { JsonText } from "../cni/json_text.ts";
import { getMember } from "../cni/json_text.ts";
import { assertInterfaceName } from "../cni/args.ts";
import { quote } from "../cni/error.ts";
import { familyOf, isIp } from "../cni/ip.ts";
import { AnnotationError, notJson, show } from "./annotation_error.ts";
import { isInfinibandGuid, isMac } from "./hardware_address.ts";

/** One element of the networks annotation: a NetworkAttachmentDefinition and what is asked of it. */
export interface NetworkSelection {
  /** Where it stands in its annotation, such as `networks[1]`. */
  readonly place: string;
  readonly namespace: string;
  readonly name: string;
  readonly interface?: string;
  /** Addresses with or without prefix length; never empty. */
  readonly ips?: readonly string[];
  readonly mac?: string;
  readonly infinibandGuid?: string;
  readonly portMappings?: JsonText;
  readonly bandwidth?: JsonText;
  readonly cniArgs?: JsonText;
  /** Gateways; empty means "this attachment keeps the default route that its plugin sets". */
  readonly defaultRoute?: readonly string[];
  readonly deviceId?: string;
  readonly ipamClaimReference?: string;
}

/** What a hot-plug controller asks of the interface that it adds. */
export type InterfaceAttributes = Pick<
  NetworkSelection,
  "ips" | "mac" | "cniArgs"
>;

/** A JSON object on its way to a selection: its text, what it says, and where it stands. */
export interface ObjectAt {
  readonly place: string;
  readonly text: JsonText;
}

/** An opened object: its members by name, beside the text that they came from. */
interface Opened extends ObjectAt {
  readonly value: Record<string, unknown>;
}

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** Kubernetes' limit for the name of a namespace. */
const NAMESPACE_CHARS_MAX = 63;
/** Kubernetes' limit for the name of an object. */
const NAME_CHARS_MAX = 253;
const PORT_MAX = 65535;
const PROTOCOLS = ["tcp", "udp", "sctp"];

/**
 * Reads one object of the JSON form; `namespace` is what counts when it names none.
 *
 * @throws {AnnotationError} If a field has the wrong type or a value that cannot be meant.
 */
export function readSelection(
  object: ObjectAt,
  namespace: string,
): NetworkSelection {
  const opened = openObject(object);
  return omitUndefined<NetworkSelection>({
    place: object.place,
    namespace: readNamespace(opened) ?? namespace,
    name: readName(opened),
    interface: readInterface(opened),
    ips: readIps(opened),
    mac: readMac(opened),
    infinibandGuid: readInfinibandGuid(opened),
    portMappings: readPortMappings(opened),
    bandwidth: readBandwidth(opened),
    cniArgs: readCniArgs(opened),
    defaultRoute: readDefaultRoute(opened),
    deviceId: readString(opened, "deviceID"),
    ipamClaimReference: readString(opened, "ipam-claim-reference"),
  });
}

/**
 * Reads the `interfaceAttributes` of a hot-plug request, by the rules of the annotation.
 *
 * @throws {AnnotationError} If a field has the wrong type or a value that cannot be meant.
 */
export function parseInterfaceAttributes(text: JsonText): InterfaceAttributes {
  const opened = openObject({ place: "interfaceAttributes", text });
  return omitUndefined<InterfaceAttributes>({
    ips: readIps(opened),
    mac: readMac(opened),
    cniArgs: readCniArgs(opened),
  });
}

/**
 * Refuses what cannot be a namespace.
 *
 * @throws {AnnotationError} If it is not a DNS-1123 label.
 */
export function assertNamespace(value: string, place: string): void {
  if (LABEL.test(value) && value.length <= NAMESPACE_CHARS_MAX) return;
  throw new AnnotationError(
    place,
    `expected a namespace (a-z, 0-9, "-"; up to ${NAMESPACE_CHARS_MAX} characters), found ${
      quote(value)
    }`,
  );
}

/** Whether a NetworkAttachmentDefinition can have this name. */
export function isDefinitionName(name: string): boolean {
  return SUBDOMAIN.test(name) && name.length <= NAME_CHARS_MAX;
}

/**
 * Refuses what cannot be the name of a network in the text form.
 *
 * @throws {AnnotationError} If it is not a DNS-1123 label.
 */
export function assertNetworkLabel(value: string, place: string): void {
  if (LABEL.test(value) && value.length <= NAME_CHARS_MAX) return;
  throw new AnnotationError(
    place,
    `expected the name of a network (a-z, 0-9, "-"), found ${quote(value)}`,
  );
}

/**
 * Refuses what the kernel would not take as the name of an interface.
 *
 * @throws {AnnotationError} If it is empty, longer than 15 bytes, or holds a character that is not allowed.
 */
export function assertInterface(value: string, place: string): void {
  try {
    assertInterfaceName(value);
  } catch (cause) {
    throw new AnnotationError(
      place,
      `expected an interface name (1 to 15 bytes; no "/", ":" or white space), found ${
        quote(value)
      }`,
      { cause },
    );
  }
}

function openObject({ place, text }: ObjectAt): Opened {
  const value = parseValue(text, place);
  if (!isObject(value)) {
    throw new AnnotationError(
      place,
      `expected an object, found ${show(value)}`,
    );
  }
  return { place, text, value };
}

function parseValue(text: JsonText, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notJson(place, cause);
  }
}

function readName(object: Opened): string {
  const place = `${object.place}.name`;
  const name = readString(object, "name");
  if (name === undefined) throw new AnnotationError(place, "is required");
  if (isDefinitionName(name)) return name;
  throw new AnnotationError(
    place,
    `expected the name of a network (a-z, 0-9, "-", "."), found ${quote(name)}`,
  );
}

function readNamespace(object: Opened): string | undefined {
  const namespace = readString(object, "namespace");
  if (namespace !== undefined) {
    assertNamespace(namespace, `${object.place}.namespace`);
  }
  return namespace;
}

function readInterface(object: Opened): string | undefined {
  for (const key of ["interface", "interfaceRequest"]) {
    const name = readString(object, key);
    if (name === undefined) continue;
    assertInterface(name, `${object.place}.${key}`);
    return name;
  }
  return undefined;
}

function readIps(object: Opened): readonly string[] | undefined {
  const ips = readStrings(object, "ips", {
    expected: "an address or CIDR",
    accepts: (ip) => familyOf(ip) !== undefined,
  });
  return ips?.length === 0 ? undefined : ips;
}

function readDefaultRoute(object: Opened): readonly string[] | undefined {
  return readStrings(object, "default-route", {
    expected: "the address of a gateway",
    accepts: isIp,
  });
}

function readMac(object: Opened): string | undefined {
  return readForm(object, "mac", {
    expected: "a hardware address",
    accepts: isMac,
  });
}

function readInfinibandGuid(object: Opened): string | undefined {
  return readForm(object, "infiniband-guid", {
    expected: "a GUID of 8 bytes",
    accepts: isInfinibandGuid,
  });
}

function readCniArgs(object: Opened): JsonText | undefined {
  const value = member(object, "cni-args");
  if (value === undefined) return undefined;
  if (isObject(value)) return getMember(object.text, "cni-args");
  throw new AnnotationError(
    `${object.place}.cni-args`,
    `expected an object, found ${show(value)}`,
  );
}

function readBandwidth(object: Opened): JsonText | undefined {
  const value = member(object, "bandwidth");
  const place = `${object.place}.bandwidth`;
  if (value === undefined) return undefined;
  if (!isObject(value)) {
    throw new AnnotationError(
      place,
      `expected an object, found ${show(value)}`,
    );
  }
  for (
    const key of ["ingressRate", "ingressBurst", "egressRate", "egressBurst"]
  ) {
    const amount = ownMember(value, key);
    if (amount === undefined || isCount(amount)) continue;
    throw new AnnotationError(
      `${place}.${key}`,
      `expected a whole number of bits from 0 on, found ${show(amount)}`,
    );
  }
  return getMember(object.text, "bandwidth");
}

function readPortMappings(object: Opened): JsonText | undefined {
  const value = member(object, "portMappings");
  const place = `${object.place}.portMappings`;
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) {
    throw new AnnotationError(place, `expected a list, found ${show(value)}`);
  }
  value.forEach((mapping: unknown, index) =>
    assertPortMapping(mapping, `${place}[${index}]`)
  );
  return value.length === 0
    ? undefined
    : getMember(object.text, "portMappings");
}

function assertPortMapping(mapping: unknown, place: string): void {
  if (!isObject(mapping)) {
    throw new AnnotationError(
      place,
      `expected an object, found ${show(mapping)}`,
    );
  }
  for (const key of ["hostPort", "containerPort"]) {
    const port = ownMember(mapping, key);
    if (port === undefined) {
      throw new AnnotationError(`${place}.${key}`, "is required");
    }
    if (isCount(port) && port >= 1 && port <= PORT_MAX) continue;
    throw new AnnotationError(
      `${place}.${key}`,
      `expected a port from 1 to ${PORT_MAX}, found ${show(port)}`,
    );
  }
  const protocol = ownMember(mapping, "protocol") ?? "";
  if (
    typeof protocol !== "string" ||
    !["", ...PROTOCOLS].includes(protocol.toLowerCase())
  ) {
    throw new AnnotationError(
      `${place}.protocol`,
      `expected ${PROTOCOLS.join(", ")}, found ${show(protocol)}`,
    );
  }
  const hostIp = ownMember(mapping, "hostIP") ?? "";
  if (typeof hostIp !== "string" || (hostIp !== "" && !isIp(hostIp))) {
    throw new AnnotationError(
      `${place}.hostIP`,
      `expected an address, found ${show(hostIp)}`,
    );
  }
}

interface Form {
  readonly expected: string;
  readonly accepts: (value: string) => boolean;
}

function readForm(object: Opened, key: string, form: Form): string | undefined {
  const value = readString(object, key);
  if (value === undefined || form.accepts(value)) return value;
  throw new AnnotationError(
    `${object.place}.${key}`,
    `expected ${form.expected}, found ${quote(value)}`,
  );
}

function readStrings(
  object: Opened,
  key: string,
  form: Form,
): readonly string[] | undefined {
  const place = `${object.place}.${key}`;
  const value = member(object, key);
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) {
    throw new AnnotationError(place, `expected a list, found ${show(value)}`);
  }
  return value.map((item: unknown, index) => {
    if (typeof item === "string" && form.accepts(item)) return item;
    throw new AnnotationError(
      `${place}[${index}]`,
      `expected ${form.expected}, found ${show(item)}`,
    );
  });
}

/** A string member; an empty one counts as absent, as it does for those who generate annotations from Go. */
function readString(object: Opened, key: string): string | undefined {
  const value = member(object, key);
  if (value === undefined || value === "") return undefined;
  if (typeof value === "string") return value;
  throw new AnnotationError(
    `${object.place}.${key}`,
    `expected a string, found ${show(value)}`,
  );
}

function member(object: Opened, key: string): unknown {
  return ownMember(object.value, key);
}

/** A member that is there and not null; never one of the prototype. */
function ownMember(value: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] ?? undefined : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}

function omitUndefined<T extends object>(
  value: { [K in keyof T]: T[K] | undefined },
): T {
  return Object.fromEntries(
    Object.entries(value).filter(([, item]) => item !== undefined),
  ) as T;
}
