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

import { familyOf, isIp } from "../cni/ip.ts";
import type { JsonText } from "../cni/json_text.ts";
import { AnnotationError } from "./annotation_error.ts";
import type { Fields, Form } from "./annotation_fields.ts";
import {
  openFields,
  readObject,
  readString,
  readStrings,
} from "./annotation_fields.ts";
import { isInfinibandGuid, isMac } from "./hardware_address.ts";
import {
  assertInterface,
  assertNamespace,
  isDefinitionName,
} from "./network_names.ts";
import { readBandwidth, readPortMappings } from "./traffic_requests.ts";

/** One element of the networks annotation: a NetworkAttachmentDefinition and what is asked of it. */
export interface NetworkSelection {
  /** Where it stands in its annotation, such as `networks[1]`. */
  readonly place: string;
  /** Namespace of the definition. */
  readonly namespace: string;
  /** Name of the definition. */
  readonly name: string;
  /** The interface name asked for. */
  readonly interface?: string;
  /** Addresses with or without prefix length; never empty. */
  readonly ips?: readonly string[];
  /** The hardware address asked for. */
  readonly mac?: string;
  /** The GUID asked for. */
  readonly infinibandGuid?: string;
  /** A list, as it was written. */
  readonly portMappings?: JsonText;
  /** An object, as it was written. */
  readonly bandwidth?: JsonText;
  /** An object to be merged into `args.cni`, as it was written. */
  readonly cniArgs?: JsonText;
  /** Gateways; empty means "this attachment keeps the default route that its plugin sets". */
  readonly defaultRoute?: readonly string[];
  /** The device asked for, one of the pod's own where the network has a resource. */
  readonly deviceId?: string;
  /** The claim of an IPAM that keeps addresses; read by that IPAM itself. */
  readonly ipamClaimReference?: string;
}

/** What a hot-plug controller asks of the interface that it adds. */
export type InterfaceAttributes = Pick<
  NetworkSelection,
  "ips" | "mac" | "cniArgs"
>;

const NAME: Form = {
  expected: 'the name of a network (a-z, 0-9, "-", ".")',
  accepts: isDefinitionName,
};
const IP: Form = {
  expected: "an address or CIDR",
  accepts: (text) => familyOf(text) !== undefined,
};
const GATEWAY: Form = { expected: "the address of a gateway", accepts: isIp };
/** A PCI address, a name of a device, or what a driver of resource claims calls it; these are short, and become parts of paths. */
const DEVICE: Form = {
  expected:
    'the ID of a device (at most 128 of A-Z, a-z, 0-9, ":", ".", "_", "-")',
  accepts: (text) =>
    /^[0-9A-Za-z:._-]{1,128}$/.test(text) && !text.includes(".."),
};
const MAC: Form = { expected: "a hardware address", accepts: isMac };
const GUID: Form = {
  expected: "a GUID of 8 bytes",
  accepts: isInfinibandGuid,
};

/**
 * Reads one object of the JSON form, which stands at `place`; `namespace` is
 * what counts when it names none.
 *
 * @throws {AnnotationError} If a field has the wrong type or a value that cannot be meant.
 */
export function readSelection(
  text: JsonText,
  { place, namespace }: { place: string; namespace: string },
): NetworkSelection {
  const fields = openFields(text, place);
  return omitUndefined<NetworkSelection>({
    place,
    namespace: readNamespace(fields) ?? namespace,
    name: readName(fields),
    interface: readInterface(fields),
    ...readAttributes(fields),
    infinibandGuid: readString(fields, "infiniband-guid", GUID),
    portMappings: readPortMappings(fields),
    bandwidth: readBandwidth(fields),
    defaultRoute: readStrings(fields, "default-route", GATEWAY),
    deviceId: readString(fields, "deviceID", DEVICE),
    ipamClaimReference: readString(fields, "ipam-claim-reference"),
  });
}

/**
 * Reads the `interfaceAttributes` of a hot-plug request, by the rules of the annotation.
 *
 * @throws {AnnotationError} If a field has the wrong type or a value that cannot be meant.
 */
export function parseInterfaceAttributes(text: JsonText): InterfaceAttributes {
  return omitUndefined<InterfaceAttributes>(
    readAttributes(openFields(text, "interfaceAttributes")),
  );
}

function readAttributes(
  fields: Fields,
): { [K in keyof InterfaceAttributes]: InterfaceAttributes[K] | undefined } {
  const ips = readStrings(fields, "ips", IP);
  return {
    ips: ips?.length === 0 ? undefined : ips,
    mac: readString(fields, "mac", MAC),
    cniArgs: readObject(fields, "cni-args")?.text,
  };
}

function readName(fields: Fields): string {
  const name = readString(fields, "name", NAME);
  if (name !== undefined) return name;
  throw new AnnotationError(`${fields.place}.name`, "is required");
}

function readNamespace(fields: Fields): string | undefined {
  const namespace = readString(fields, "namespace");
  if (namespace !== undefined) {
    assertNamespace(namespace, `${fields.place}.namespace`);
  }
  return namespace;
}

/** `interfaceRequest` is the older name. */
function readInterface(fields: Fields): string | undefined {
  for (const key of ["interface", "interfaceRequest"]) {
    const name = readString(fields, key);
    if (name === undefined) continue;
    assertInterface(name, `${fields.place}.${key}`);
    return name;
  }
  return undefined;
}

function omitUndefined<T extends object>(
  value: { [K in keyof T]: T[K] | undefined },
): T {
  return Object.fromEntries(
    Object.entries(value).filter(([, item]) => item !== undefined),
  ) as T;
}
