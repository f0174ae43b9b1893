/**
 * Reads what a pod asks for: the annotations `k8s.v1.cni.cncf.io/networks`
 * (short text or JSON) and `v1.multus-cni.io/default-network`. It leaves alone
 * whether the networks exist and whether the pod may use them.
 *
 * Multi-network standard, "Network attachment selection annotation".
 *
 * @module
 */

import { quote } from "../cni/error.ts";
import type { JsonText } from "../cni/json_text.ts";
import { readElements } from "../cni/json_text.ts";
import { AnnotationError, notJson, show } from "./annotation_error.ts";
import {
  assertInterface,
  assertNamespace,
  assertNetworkLabel,
} from "./network_names.ts";
import type { NetworkSelection } from "./network_selection.ts";
import { readSelection } from "./network_selection.ts";

export { AnnotationError } from "./annotation_error.ts";
export { parseInterfaceAttributes } from "./network_selection.ts";
export type {
  InterfaceAttributes,
  NetworkSelection,
} from "./network_selection.ts";

/** The annotation that lists the networks of a pod. */
export const NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks";

/** The annotation that replaces the default network of a pod. */
export const DEFAULT_NETWORK_ANNOTATION = "v1.multus-cni.io/default-network";

/** Networks of one pod: more could not be attached, one plugin after the other, in the time a runtime gives an ADD. */
const NETWORKS_MAX = 256;

/** What makes an annotation JSON: none of these can stand in the text form. */
const JSON_SIGNS = /[[{"]/;

/** `[<namespace>/]<name>[@<interface>]`, still unchecked. */
const TEXT_ITEM =
  /^(?:(?<namespace>[^/@]*)\/)?(?<name>[^/@]*)(?:@(?<interface>.*))?$/s;

/**
 * Reads the networks annotation, in either form; blank means none.
 *
 * @throws {AnnotationError} If anything in it cannot be accepted; the message begins with its place.
 */
export function parseNetworks(
  annotation: string,
  podNamespace: string,
): NetworkSelection[] {
  if (annotation.trim() === "") return [];
  return parseSelections(annotation, {
    root: "networks",
    namespace: podNamespace,
  });
}

/**
 * Reads the default-network annotation, which names exactly one network.
 *
 * @throws {AnnotationError} If anything in it cannot be accepted, or it does not name one network.
 */
export function parseDefaultNetwork(
  annotation: string,
  multusNamespace: string,
): NetworkSelection {
  const selections = parseSelections(annotation, {
    root: "default-network",
    namespace: multusNamespace,
  });
  const [selection] = selections;
  if (selection !== undefined && selections.length === 1) return selection;
  throw new AnnotationError(
    "default-network",
    `expected one network, found ${selections.length}`,
  );
}

interface Context {
  /** The first part of every place. */
  readonly root: string;
  /** The namespace of selections that name none. */
  readonly namespace: string;
}

function parseSelections(
  annotation: string,
  context: Context,
): NetworkSelection[] {
  const selections = JSON_SIGNS.test(annotation)
    ? parseJson(annotation, context)
    : parseText(annotation, context);
  if (selections.length <= NETWORKS_MAX) return selections;
  throw new AnnotationError(
    context.root,
    `expected at most ${NETWORKS_MAX} networks, found ${selections.length}`,
  );
}

function parseJson(
  annotation: string,
  { root, namespace }: Context,
): NetworkSelection[] {
  return readList(annotation, root).map((text, index) =>
    readSelection(text, { place: `${root}[${index}]`, namespace })
  );
}

function readList(annotation: string, root: string): JsonText[] {
  let value: unknown;
  try {
    value = JSON.parse(annotation);
    if (Array.isArray(value)) return readElements(annotation);
  } catch (cause) {
    throw notJson(root, cause);
  }
  throw new AnnotationError(
    root,
    `expected a list of objects, found ${show(value)}`,
  );
}

function parseText(
  annotation: string,
  { root, namespace }: Context,
): NetworkSelection[] {
  return annotation.split(",").map((item, index) =>
    parseItem(item.trim(), { root: `${root}[${index}]`, namespace })
  );
}

function parseItem(
  item: string,
  { root: place, namespace }: Context,
): NetworkSelection {
  const parts = TEXT_ITEM.exec(item)?.groups;
  if (item === "" || parts === undefined) {
    throw new AnnotationError(
      place,
      `expected [<namespace>/]<name>[@<interface>], found ${quote(item)}`,
    );
  }
  const { namespace: own, name = "", interface: ifname } = parts;
  if (own !== undefined) assertNamespace(own, place);
  assertNetworkLabel(name, place);
  if (ifname !== undefined) assertInterface(ifname, place);
  return {
    place,
    namespace: own ?? namespace,
    name,
    ...(ifname === undefined ? {} : { interface: ifname }),
  };
}
