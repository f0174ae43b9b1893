/**
 * Which resources the stand-in API server knows, and how a URL path names them.
 * It knows paths only; what is done with them is the server's.
 *
 * @module
 */

/** One kind of object, as the API names it. */
export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

/** What a URL path points at. */
export interface Target {
  readonly type: ResourceType;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
}

/** All kinds served. */
export const RESOURCE_TYPES: readonly ResourceType[] = [
  { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true },
  {
    group: "",
    version: "v1",
    plural: "nodes",
    kind: "Node",
    namespaced: false,
  },
  {
    group: "",
    version: "v1",
    plural: "namespaces",
    kind: "Namespace",
    namespaced: false,
  },
  {
    group: "",
    version: "v1",
    plural: "events",
    kind: "Event",
    namespaced: true,
  },
  {
    group: "events.k8s.io",
    version: "v1",
    plural: "events",
    kind: "Event",
    namespaced: true,
  },
  {
    group: "k8s.cni.cncf.io",
    version: "v1",
    plural: "network-attachment-definitions",
    kind: "NetworkAttachmentDefinition",
    namespaced: true,
  },
  {
    group: "resource.k8s.io",
    version: "v1",
    plural: "resourceclaims",
    kind: "ResourceClaim",
    namespaced: true,
  },
  {
    group: "resource.k8s.io",
    version: "v1",
    plural: "resourceslices",
    kind: "ResourceSlice",
    namespaced: false,
  },
  {
    group: "certificates.k8s.io",
    version: "v1",
    plural: "certificatesigningrequests",
    kind: "CertificateSigningRequest",
    namespaced: false,
  },
  {
    group: "authorization.k8s.io",
    version: "v1",
    plural: "selfsubjectaccessreviews",
    kind: "SelfSubjectAccessReview",
    namespaced: false,
  },
];

/** The `apiVersion` of objects of a kind. */
export function apiVersionOf(type: ResourceType): string {
  return type.group === "" ? type.version : `${type.group}/${type.version}`;
}

/** Finds the kind of a manifest, undefined when the server does not serve it. */
export function findTypeOfManifest(
  apiVersion: string,
  kind: string,
): ResourceType | undefined {
  return RESOURCE_TYPES.find((type) =>
    apiVersionOf(type) === apiVersion && type.kind === kind
  );
}

/** Reads a URL path, undefined when it names nothing that is served. */
export function parsePath(path: string): Target | undefined {
  const parts = path.split("/").filter((part) => part !== "").map(
    decodeURIComponent,
  );
  const [root, ...rest] = parts;
  const group = root === "apis"
    ? rest.shift()
    : root === "api"
    ? ""
    : undefined;
  const version = rest.shift();
  if (group === undefined || version === undefined) return undefined;
  const namespace = rest[0] === "namespaces" && rest.length > 2
    ? rest.splice(0, 2)[1]
    : undefined;
  const [plural, name, subresource, ...surplus] = rest;
  const type = RESOURCE_TYPES.find((type) =>
    type.group === group && type.version === version && type.plural === plural
  );
  if (type === undefined || surplus.length > 0) return undefined;
  return {
    type,
    ...(namespace === undefined ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
    ...(subresource === undefined ? {} : { subresource }),
  };
}
