/**
 * The names that a network can be asked for by: of a namespace, of a
 * NetworkAttachmentDefinition, of an interface.
 *
 * @module
 */

import { assertInterfaceName } from "../cni/args.ts";
import { quote } from "../cni/error.ts";
import { AnnotationError } from "./annotation_error.ts";

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** Kubernetes' limit for the name of a namespace. */
const NAMESPACE_CHARS_MAX = 63;
/** Kubernetes' limit for the name of an object. */
const NAME_CHARS_MAX = 253;

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
