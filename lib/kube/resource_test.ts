/**
 * URL paths of objects.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  formatPath,
  NETWORK_ATTACHMENTS,
  PODS,
  RESOURCE_SLICES,
  type ResourceRef,
} from "./resource.ts";

Deno.test("formatPath() names objects as the API does", () => {
  const group = "/apis/k8s.cni.cncf.io/v1";
  const table: [ref: ResourceRef, path: string][] = [
    [{ type: PODS }, "/api/v1/pods"],
    [
      { type: PODS, namespace: "a", name: "b", subresource: "status" },
      "/api/v1/namespaces/a/pods/b/status",
    ],
    [
      { type: NETWORK_ATTACHMENTS, namespace: "a" },
      `${group}/namespaces/a/network-attachment-definitions`,
    ],
    [
      { type: RESOURCE_SLICES, name: "x" },
      "/apis/resource.k8s.io/v1/resourceslices/x",
    ],
  ];
  for (const [ref, path] of table) assert.equal(formatPath(ref), path);
});

Deno.test("formatPath() lets no name reach another path", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme", minLength: 1 }),
      fc.constantFrom(".", "..", "../x", "%2e%2e"),
      (name, dots) => {
        for (const text of [name, dots]) {
          const { pathname, search, hash } = new URL(
            `https://server${
              formatPath({ type: PODS, namespace: "a", name: text })
            }`,
          );
          assert.match(pathname, /^\/api\/v1\/namespaces\/a\/pods\/[^/]+$/);
          assert.equal(search + hash, "");
        }
      },
    ),
  );
});
