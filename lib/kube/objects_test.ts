/**
 * Objects of the API trimmed to what is kept.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { isPodOfUid, type Pod, trimAttachment, trimPod } from "./objects.ts";
import { trimClaim, trimSlice } from "./resource_objects.ts";

Deno.test("trimPod() keeps what is used and nothing else", () => {
  const pod = trimPod({
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: "a",
      namespace: "b",
      uid: "c",
      labels: { big: "x" },
      managedFields: [{}],
      deletionTimestamp: "2026-01-01T00:00:00Z",
      annotations: { "k8s.v1.cni.cncf.io/networks": "n", other: "x" },
    },
    spec: {
      nodeName: "node",
      hostNetwork: true,
      initContainers: [{ name: "first", image: "i" }],
      containers: [{ name: "main", env: [] }],
      resourceClaims: [{ name: "gpu", resourceClaimTemplateName: "t" }],
    },
    status: {
      phase: "Running",
      conditions: [{}],
      resourceClaimStatuses: [{ name: "gpu", resourceClaimName: "a-gpu" }],
      extendedResourceClaimStatus: {
        resourceClaimName: "x",
        requestMappings: [{
          containerName: "main",
          requestName: "r",
          resourceName: "e/x",
        }],
      },
    },
  });
  assert.deepEqual(pod, {
    namespace: "b",
    name: "a",
    uid: "c",
    deleting: true,
    annotations: { "k8s.v1.cni.cncf.io/networks": "n" },
    nodeName: "node",
    hostNetwork: true,
    phase: "Running",
    containerNames: ["first", "main"],
    resourceClaims: [{ name: "gpu" }],
    resourceClaimStatuses: [{ name: "gpu", resourceClaimName: "a-gpu" }],
    extendedResourceClaimStatus: {
      resourceClaimName: "x",
      requestMappings: [{
        containerName: "main",
        requestName: "r",
        resourceName: "e/x",
      }],
    },
  });
});

Deno.test("trimAttachment() keeps the configuration as it was written", () => {
  const config = '{ "type":"macvlan", "n": 9007199254740993, "f": 1.0 }';
  const annotations = { "k8s.v1.cni.cncf.io/resourceName": "e/x" };
  const attachment = trimAttachment({
    metadata: { namespace: "a", name: "b", annotations },
    spec: { config },
  });
  assert.deepEqual(attachment, {
    namespace: "a",
    name: "b",
    config,
    resourceName: "e/x",
  });
  assert.deepEqual(
    trimAttachment({
      metadata: { namespace: "a", name: "b" },
      spec: { config: "" },
    }),
    {
      namespace: "a",
      name: "b",
    },
  );
});

Deno.test("trimming throws for no value whatever", () => {
  const anything = fc.anything({ withNullPrototype: true });
  const known = fc.record({
    metadata: anything,
    spec: fc.oneof(
      anything,
      fc.record({ containers: anything, pool: anything, devices: anything }),
    ),
    status: fc.oneof(
      anything,
      fc.record({ allocation: anything, resourceClaimStatuses: anything }),
    ),
  });
  fc.assert(fc.property(fc.oneof(anything, known), (value) => {
    for (const trim of [trimPod, trimAttachment, trimClaim, trimSlice]) {
      trim(value);
    }
  }));
});

Deno.test("isPodOfUid() knows a static pod by its hash", () => {
  const source = "kubernetes.io/config.source";
  const hash = "kubernetes.io/config.hash";
  const mirror = "kubernetes.io/config.mirror";
  const table: [
    annotations: Record<string, string>,
    uid: string,
    same: boolean,
  ][] = [
    [{}, "api-uid", true],
    [{}, "hash", false],
    [{ [source]: "api" }, "hash", false],
    [{ [source]: "api", [hash]: "hash" }, "hash", false],
    [{ [source]: "file" }, "anything", true],
    [{ [source]: "file", [hash]: "hash" }, "hash", true],
    [{ [source]: "file", [hash]: "hash" }, "api-uid", true],
    [{ [source]: "http", [hash]: "hash" }, "other", false],
    [{ [mirror]: "hash" }, "hash", true],
    [{ [mirror]: "hash" }, "other", false],
    [{ [mirror]: "", [source]: "file" }, "anything", true],
  ];
  for (const [annotations, uid, same] of table) {
    const pod: Pod = { namespace: "a", name: "b", uid: "api-uid", annotations };
    assert.equal(
      isPodOfUid(pod, uid),
      same,
      JSON.stringify({ annotations, uid }),
    );
  }
});

Deno.test("trimClaim() and trimSlice() keep what says which device it is", () => {
  const result = { request: "r", driver: "d", pool: "p", device: "v" };
  const claim = {
    status: {
      allocation: { devices: { results: [{ ...result, adminAccess: false }] } },
    },
  };
  assert.deepEqual(trimClaim({ metadata: {}, ...claim }), {
    status: { allocation: { devices: { results: [result] } } },
  });
  assert.deepEqual(trimClaim({ status: {} }), {});
  const attributes = {
    "k8s.cni.cncf.io/deviceID": { string: "0000:01" },
    other: { int: 1 },
  };
  const pool = { name: "p", generation: 2, resourceSliceCount: 1 };
  const devices = [{ name: "v", attributes, capacity: {} }, {
    name: "w",
    attributes: { other: { int: 1 } },
  }];
  assert.deepEqual(
    trimSlice({ spec: { driver: "d", nodeName: "n", pool, devices } }),
    {
      spec: {
        driver: "d",
        pool: { name: "p", generation: 2 },
        devices: [{
          name: "v",
          attributes: { "k8s.cni.cncf.io/deviceID": { string: "0000:01" } },
        }, { name: "w" }],
      },
    },
  );
});
