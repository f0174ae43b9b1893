/**
 * Names of the interfaces of one pod: the default network has the runtime's,
 * the others the one asked for or `net<i>` after their place in the whole
 * list. No two attachments of a pod may share one.
 *
 * @module
 */

import { quote } from "../cni/error.ts";
import { AnnotationError } from "./annotation_error.ts";
import type { NetworkSelection } from "./network_selection.ts";

/** An attachment that needs a name; the first of a list is the default network. */
export interface NameRequest {
  /** The network, for messages. */
  readonly displayName: string;
  /** What the pod asked for. */
  readonly selection?: NetworkSelection;
}

/** The kernel makes this one in every network namespace. */
const LOOPBACK = "lo";

/**
 * The names of all attachments, in their order; `ifname` is what the runtime gave.
 *
 * @throws {AnnotationError} If two would have the same name, naming both.
 */
export function assignInterfaceNames(
  requests: readonly NameRequest[],
  ifname: string,
): string[] {
  const names = requests.map(({ selection }, index) =>
    index === 0 ? ifname : selection?.interface ?? `net${index}`
  );
  const owners = new Map([[LOOPBACK, "the loopback interface"]]);
  // Names asked for come last, so that the message stands at the request, which its author can change.
  for (const index of orderByFreedom(requests)) {
    const name = names[index] ?? "";
    const owner = owners.get(name);
    if (owner !== undefined) throw collision(requests[index], { name, owner });
    owners.set(name, describeOwner(requests[index], index));
  }
  return names;
}

function orderByFreedom(requests: readonly NameRequest[]): number[] {
  const isFree = (index: number): boolean =>
    index > 0 && requests[index]?.selection?.interface !== undefined;
  const indexes = [...requests.keys()];
  return [
    ...indexes.filter((index) => !isFree(index)),
    ...indexes.filter(isFree),
  ];
}

function collision(
  request: NameRequest | undefined,
  { name, owner }: { name: string; owner: string },
): AnnotationError {
  const place = request?.selection === undefined
    ? "networks"
    : `${request.selection.place}.interface`;
  return new AnnotationError(
    place,
    `the interface name ${quote(name)} is already that of ${owner}`,
  );
}

function describeOwner(
  request: NameRequest | undefined,
  index: number,
): string {
  const { selection, displayName } = request ?? {};
  if (index === 0) return "the default network";
  const place = selection === undefined ? "" : `${selection.place}, `;
  return `${place}network "${displayName ?? ""}"`;
}
