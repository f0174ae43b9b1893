/**
 * What a pod asks of the traffic of an interface: ports of the host that lead
 * to it, and limits of its bandwidth. Checked, and passed on as the text that
 * their author wrote.
 *
 * CNI conventions, capabilities `portMappings` and `bandwidth`.
 *
 * @module
 */

import { isIp } from "../cni/ip.ts";
import type { JsonText } from "../cni/json_text.ts";
import { getMember, readElements } from "../cni/json_text.ts";
import { AnnotationError } from "./annotation_error.ts";
import type { Fields, Form } from "./annotation_fields.ts";
import {
  openFields,
  readCount,
  readMember,
  readObject,
  readString,
  unexpected,
} from "./annotation_fields.ts";

const PORTS = { min: 1, max: 65535 };
const AMOUNTS = { min: 0, max: Number.MAX_SAFE_INTEGER };
const AMOUNT_KEYS = [
  "ingressRate",
  "ingressBurst",
  "egressRate",
  "egressBurst",
];

const PROTOCOL: Form = {
  expected: "tcp, udp or sctp",
  accepts: (text) => ["tcp", "udp", "sctp"].includes(text.toLowerCase()),
};
const ADDRESS: Form = { expected: "an address", accepts: isIp };

/**
 * The limits of bandwidth, as they were written.
 *
 * @throws {AnnotationError} If they are not an object of whole numbers.
 */
export function readBandwidth(fields: Fields): JsonText | undefined {
  const limits = readObject(fields, "bandwidth");
  if (limits === undefined) return undefined;
  for (const key of AMOUNT_KEYS) readCount(limits, key, AMOUNTS);
  return limits.text;
}

/**
 * The port mappings, as they were written; an empty list counts as none.
 *
 * @throws {AnnotationError} If one is not whole.
 */
export function readPortMappings(fields: Fields): JsonText | undefined {
  const found = readMember(fields, "portMappings");
  const place = `${fields.place}.portMappings`;
  if (found === undefined) return undefined;
  if (!Array.isArray(found)) {
    throw unexpected(place, { expected: "a list", found });
  }
  const text = getMember(fields.text, "portMappings") ?? "[]";
  for (const [index, element] of readElements(text).entries()) {
    checkPortMapping(openFields(element, `${place}[${index}]`));
  }
  return found.length === 0 ? undefined : text;
}

function checkPortMapping(mapping: Fields): void {
  for (const key of ["hostPort", "containerPort"]) {
    if (readCount(mapping, key, PORTS) !== undefined) continue;
    throw new AnnotationError(`${mapping.place}.${key}`, "is required");
  }
  readString(mapping, "protocol", PROTOCOL);
  readString(mapping, "hostIP", ADDRESS);
}
