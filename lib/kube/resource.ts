/**
 * The resources of the API that are asked for, and the URL paths of their objects.
 *
 * @module
 */

/** A kind of object, as URLs name it. */
export interface ResourceType {
  /** "" for the core group. */
  readonly group: string;
  /** The version of the group. */
  readonly version: string;
  /** The plural. */
  readonly resource: string;
}

/** What a request is about: a kind, perhaps in a namespace, perhaps one object, perhaps a part of it. */
export interface ResourceRef {
  /** Its kind. */
  readonly type: ResourceType;
  /** Its namespace; without one, all of them. */
  readonly namespace?: string;
  /** The object; without one, all of them. */
  readonly name?: string;
  /** A part of the object, such as "status". */
  readonly subresource?: string;
}

/** Pods. */
export const PODS: ResourceType = {
  group: "",
  version: "v1",
  resource: "pods",
};
/** Events, of the core group. */
export const EVENTS: ResourceType = {
  group: "",
  version: "v1",
  resource: "events",
};
/** NetworkAttachmentDefinitions. */
export const NETWORK_ATTACHMENTS: ResourceType = {
  group: "k8s.cni.cncf.io",
  version: "v1",
  resource: "network-attachment-definitions",
};
/** Claims of dynamic resource allocation. */
export const RESOURCE_CLAIMS: ResourceType = {
  group: "resource.k8s.io",
  version: "v1",
  resource: "resourceclaims",
};
/** What drivers of dynamic resource allocation offer on a node. */
export const RESOURCE_SLICES: ResourceType = {
  group: "resource.k8s.io",
  version: "v1",
  resource: "resourceslices",
};
/** Certificate signing requests. */
export const CERTIFICATE_SIGNING_REQUESTS: ResourceType = {
  group: "certificates.k8s.io",
  version: "v1",
  resource: "certificatesigningrequests",
};
/** What the asker may do. */
export const SELF_SUBJECT_ACCESS_REVIEWS: ResourceType = {
  group: "authorization.k8s.io",
  version: "v1",
  resource: "selfsubjectaccessreviews",
};

/** The URL path of what is referred to; every part of it is escaped. */
export function formatPath(ref: ResourceRef): string {
  const { group, version, resource } = ref.type;
  const parts = [
    ...(group === "" ? ["api"] : ["apis", group]),
    version,
    ...(ref.namespace === undefined ? [] : ["namespaces", ref.namespace]),
    resource,
    ...(ref.name === undefined ? [] : [ref.name]),
    ...(ref.subresource === undefined ? [] : [ref.subresource]),
  ];
  return parts.map((part) => `/${escapePart(part)}`).join("");
}

/** "." and ".." would be walked by the URL parser even when they come from a name. */
function escapePart(part: string): string {
  return part === "." || part === ".."
    ? part.replaceAll(".", "%252E")
    : encodeURIComponent(part);
}
