/**
 * Namespace isolation: with it on, a pod may only use attachment definitions
 * of its own namespace and of those that the operator opened to all.
 *
 * @module
 */

import { quote } from "../cni/error.ts";
import { AnnotationError } from "./annotation_error.ts";
import type { NetworkSelection } from "./network_selection.ts";

/** What the operator configured. */
export interface IsolationPolicy {
  /** Whether isolation is on. */
  readonly namespaceIsolation: boolean;
  /** Namespaces that are open to all. */
  readonly globalNamespaces: readonly string[];
}

/** Splits the comma separated `globalNamespaces` of the configuration. */
export function parseGlobalNamespaces(text: string): string[] {
  return text.split(",").map((name) => name.trim()).filter((name) =>
    name !== ""
  );
}

/**
 * Refuses a selection from a namespace that is closed to the pod.
 *
 * @throws {AnnotationError} Naming both namespaces and the option.
 */
export function assertNamespaceAllowed(
  selection: NetworkSelection,
  podNamespace: string,
  policy: IsolationPolicy,
): void {
  if (!policy.namespaceIsolation || selection.namespace === podNamespace) {
    return;
  }
  if (policy.globalNamespaces.includes(selection.namespace)) return;
  const { place, namespace, name } = selection;
  throw new AnnotationError(
    place,
    `a pod of namespace "${podNamespace}" may not use NetworkAttachmentDefinition "${name}" ` +
      `of namespace "${namespace}": namespaceIsolation is on, and globalNamespaces are ` +
      quote(policy.globalNamespaces.join(",")),
  );
}
