import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { CniError, ErrorCode } from "../cni/error.ts";
import type {
  AllocatedDevice,
  ResourceClaim,
  ResourceSlice,
  SliceDevice,
} from "../claim_objects.ts";
import {
  type ClaimingPod,
  type ClaimReader,
  DEVICE_ID_ATTRIBUTE,
  hasClaims,
  listClaimedDevices,
  RESOURCE_NAME_ATTRIBUTE,
} from "./resource_claims.ts";

const NODE = "node-1";
const DRIVER = "sriov.example.com";
const GPU_DRIVER = "gpu.example.com";

interface Row {
  readonly what: string;
  readonly pod: Partial<ClaimingPod>;
  readonly claims?: Readonly<Record<string, ResourceClaim>>;
  readonly slices?: readonly ResourceSlice[];
}

const SLICES = [
  slice(DRIVER, [
    device("vf-0", "0000:03:02.0", "example.com/a"),
    device("vf-1", "0000:03:02.1", "example.com/a"),
  ]),
  slice(DRIVER, [device("vf-2", "0000:03:02.2", "example.com/b"), {
    name: "bare",
  }]),
  slice(GPU_DRIVER, [{
    name: "gpu-0",
    attributes: { "example.com/model": { string: "x" } },
  }]),
];

Deno.test("listClaimedDevices() finds the devices for CNI", async (t) => {
  const rows: (Row & { expected: readonly string[] })[] = [
    { what: "no claim", pod: {}, expected: [] },
    {
      what: "one claim with two devices, in the order of the allocation",
      pod: {
        resourceClaimStatuses: [{
          name: "nics",
          resourceClaimName: "web-nics-x7",
        }],
      },
      claims: { "web-nics-x7": claim(result("vf-1"), result("vf-0")) },
      expected: ["example.com/a 0000:03:02.1", "example.com/a 0000:03:02.0"],
    },
    {
      what: "two claims, in the order of the pod",
      pod: {
        resourceClaimStatuses: [{ name: "b", resourceClaimName: "b" }, {
          name: "a",
          resourceClaimName: "a",
        }],
      },
      claims: { a: claim(result("vf-0")), b: claim(result("vf-2")) },
      expected: ["example.com/b 0000:03:02.2", "example.com/a 0000:03:02.0"],
    },
    {
      what: "a claim named in the specification, and not in the status",
      pod: {
        resourceClaims: [{ name: "nics", resourceClaimName: "shared" }],
        resourceClaimStatuses: [],
      },
      claims: { shared: claim(result("vf-2")) },
      expected: ["example.com/b 0000:03:02.2"],
    },
    {
      what: "claims of both kinds, in the order of the specification",
      pod: {
        resourceClaims: [{ name: "made" }, {
          name: "named",
          resourceClaimName: "shared",
        }],
        resourceClaimStatuses: [
          { name: "named", resourceClaimName: "shared" },
          { name: "made", resourceClaimName: "m" },
        ],
      },
      claims: { shared: claim(result("vf-2")), m: claim(result("vf-0")) },
      expected: ["example.com/a 0000:03:02.0", "example.com/b 0000:03:02.2"],
    },
    {
      what: "one claim under two names of the pod",
      pod: {
        resourceClaimStatuses: [{ name: "a", resourceClaimName: "x" }, {
          name: "b",
          resourceClaimName: "x",
        }],
      },
      claims: { x: claim(result("vf-0")) },
      expected: ["example.com/a 0000:03:02.0"],
    },
    {
      what: "a status that says no claim was needed",
      pod: { resourceClaimStatuses: [{ name: "nics" }] },
      expected: [],
    },
    {
      what: "an allocation without devices",
      pod: {
        resourceClaimStatuses: [{ name: "nics", resourceClaimName: "x" }],
      },
      claims: { x: { status: { allocation: {} } } },
      expected: [],
    },
    {
      what: "devices that are not for CNI beside one that is",
      pod: {
        resourceClaimStatuses: [{ name: "mixed", resourceClaimName: "x" }],
      },
      claims: {
        x: claim(
          result("gpu-0", { driver: GPU_DRIVER }),
          result("bare"),
          result("vf-0"),
        ),
      },
      expected: ["example.com/a 0000:03:02.0"],
    },
    {
      what: "a device of a pool that is not this node's",
      pod: { resourceClaimStatuses: [{ name: "far", resourceClaimName: "x" }] },
      claims: { x: claim(result("fabric-0", { pool: "rack" })) },
      expected: [],
    },
    {
      what: "one attribute of the two",
      pod: {
        resourceClaimStatuses: [{ name: "half", resourceClaimName: "x" }],
      },
      claims: {
        x: claim(result("id-only"), result("name-only"), result("empty")),
      },
      slices: [slice(DRIVER, [
        {
          name: "id-only",
          attributes: { [DEVICE_ID_ATTRIBUTE]: { string: "1" } },
        },
        {
          name: "name-only",
          attributes: {
            [RESOURCE_NAME_ATTRIBUTE]: { string: "example.com/a" },
          },
        },
        device("empty", "", "example.com/a"),
      ])],
      expected: [],
    },
    {
      what: "the newest generation of a pool, whichever comes first",
      pod: {
        resourceClaimStatuses: [{ name: "nics", resourceClaimName: "x" }],
      },
      claims: { x: claim(result("vf-0")) },
      slices: [
        slice(DRIVER, [device("vf-0", "old-1", "example.com/a")], {
          generation: 1,
        }),
        slice(DRIVER, [device("vf-0", "new", "example.com/a")], {
          generation: 3,
        }),
        slice(DRIVER, [device("vf-0", "old-2", "example.com/a")], {
          generation: 2,
        }),
      ],
      expected: ["example.com/a new"],
    },
    {
      what: "devices of one name in two pools",
      pod: {
        resourceClaimStatuses: [{ name: "nics", resourceClaimName: "x" }],
      },
      claims: { x: claim(result("vf-0", { pool: "p2" })) },
      slices: [
        slice(DRIVER, [device("vf-0", "one", "example.com/a")], { pool: "p1" }),
        slice(DRIVER, [device("vf-0", "two", "example.com/a")], { pool: "p2" }),
      ],
      expected: ["example.com/a two"],
    },
    {
      what: "extended resources, in the order of their mappings",
      pod: {
        extendedResourceClaimStatus: {
          resourceClaimName: "web-extended",
          requestMappings: [
            {
              containerName: "second",
              requestName: "container-1-request-0",
              resourceName: "example.com/b",
            },
            {
              containerName: "first",
              requestName: "container-0-request-0",
              resourceName: "example.com/a",
            },
          ],
        },
      },
      claims: {
        "web-extended": claim(
          result("vf-0", { request: "container-0-request-0" }),
          result("vf-2", { request: "container-1-request-0" }),
          result("vf-1", { request: "container-0-request-0" }),
        ),
      },
      expected: [
        "example.com/b 0000:03:02.2",
        "example.com/a 0000:03:02.0",
        "example.com/a 0000:03:02.1",
      ],
    },
    {
      what: "an extended resource that is not for CNI",
      pod: extended("gpu", "example.com/gpu"),
      claims: {
        extended: claim(
          result("gpu-0", { driver: GPU_DRIVER, request: "gpu" }),
        ),
      },
      expected: [],
    },
    {
      what: "a request that is not mapped",
      pod: extended("container-0-request-0", "example.com/a"),
      claims: { extended: claim(result("vf-0", { request: "other" })) },
      expected: [],
    },
    {
      what: "an extended resource without mappings",
      pod: { extendedResourceClaimStatus: { resourceClaimName: "extended" } },
      claims: { extended: claim(result("vf-0")) },
      expected: [],
    },
    {
      what: "claims before extended resources",
      pod: {
        ...extended("r", "example.com/a"),
        resourceClaimStatuses: [{ name: "n", resourceClaimName: "x" }],
      },
      claims: {
        extended: claim(result("vf-0", { request: "r" })),
        x: claim(result("vf-1")),
      },
      expected: ["example.com/a 0000:03:02.1", "example.com/a 0000:03:02.0"],
    },
  ];
  for (const row of rows) {
    await t.step(row.what, async () => {
      const devices = await list(row);
      deepStrictEqual(
        devices.map(({ resourceName, deviceId }) =>
          `${resourceName} ${deviceId}`
        ),
        row.expected,
      );
    });
  }
});

Deno.test("listClaimedDevices() says what is wrong with which device", async (t) => {
  const pod = {
    resourceClaimStatuses: [{ name: "nics", resourceClaimName: "x" }],
  };
  const mismatched =
    `Device "sriov.example.com/node-1/vf-0" was allocated as "example.com/b" ` +
    `but has another k8s.cni.cncf.io/resourceName: `;
  const rows: (Row & { code?: number; message: string })[] = [
    {
      what: "a claim that is not allocated",
      pod,
      claims: { x: {} },
      code: ErrorCode.tryAgainLater,
      message: 'Resource claim is not allocated yet: "default/x"',
    },
    {
      what: "a device that is not published any more",
      pod,
      claims: { x: claim(result("vf-9")) },
      code: ErrorCode.tryAgainLater,
      message:
        'Device is in no resource slice of this node: "sriov.example.com/node-1/vf-9"',
    },
    {
      what: "a device of the generation before",
      pod,
      claims: { x: claim(result("vf-9")) },
      slices: [
        slice(DRIVER, [device("vf-9", "9", "example.com/a")], {
          generation: 1,
        }),
        slice(DRIVER, [device("vf-0", "0", "example.com/a")], {
          generation: 2,
        }),
      ],
      code: ErrorCode.tryAgainLater,
      message:
        'Device is in no resource slice of this node: "sriov.example.com/node-1/vf-9"',
    },
    {
      what: "an extended resource of another name",
      pod: extended("r", "example.com/b"),
      claims: { extended: claim(result("vf-0", { request: "r" })) },
      code: ErrorCode.invalidNetworkConfig,
      message: mismatched + '"example.com/a"',
    },
    {
      what: "an extended resource without a name",
      pod: extended("r", "example.com/b"),
      claims: { extended: claim(result("vf-0", { request: "r" })) },
      slices: [
        slice(DRIVER, [{
          name: "vf-0",
          attributes: { [DEVICE_ID_ATTRIBUTE]: { string: "0" } },
        }]),
      ],
      code: ErrorCode.invalidNetworkConfig,
      message: mismatched + "none",
    },
    {
      what: "an attribute of another type",
      pod,
      claims: { x: claim(result("vf-0")) },
      slices: [
        slice(DRIVER, [{
          name: "vf-0",
          attributes: {
            [DEVICE_ID_ATTRIBUTE]: { int: 7 } as { string?: string },
          },
        }]),
      ],
      message:
        'Attribute k8s.cni.cncf.io/deviceID of device "sriov.example.com/node-1/vf-0" is not a string: {"int":7}',
    },
  ];
  for (const row of rows) {
    await t.step(row.what, async () => {
      await rejects(list(row), (error) => {
        ok(
          row.code === undefined
            ? error instanceof TypeError
            : error instanceof CniError && error.code === row.code,
        );
        strictEqual((error as Error).message, row.message);
        return true;
      });
    });
  }
});

Deno.test("listClaimedDevices() asks for each claim and each driver's slices once", async () => {
  const asked: string[] = [];
  await list({
    what: "",
    pod: {
      resourceClaims: [{ name: "a", resourceClaimName: "x" }],
      resourceClaimStatuses: [{ name: "a", resourceClaimName: "x" }, {
        name: "b",
        resourceClaimName: "y",
      }],
    },
    claims: {
      x: claim(result("vf-0"), result("vf-1")),
      y: claim(result("vf-2")),
    },
  }, asked);
  deepStrictEqual(asked, ["default/x", "default/y", `${DRIVER} ${NODE}`]);
});

Deno.test("listClaimedDevices() leaves errors of the API as they are", async () => {
  const failure = new RangeError("API server cannot be reached");
  const pod = {
    namespace: "default",
    name: "web",
    resourceClaimStatuses: [{ name: "a", resourceClaimName: "x" }],
  };
  const reader: ClaimReader = {
    nodeName: NODE,
    getResourceClaim: () => Promise.reject(failure),
    listResourceSlices: () => Promise.resolve([]),
  };
  await rejects(
    listClaimedDevices(pod, reader, { signal: new AbortController().signal }),
    failure,
  );
});

Deno.test("hasClaims() tells whether the API has to be asked", () => {
  const named = [{ name: "a", resourceClaimName: "x" }];
  const rows: readonly (readonly [Partial<ClaimingPod>, boolean])[] = [
    [{}, false],
    [{ resourceClaims: [], resourceClaimStatuses: [] }, false],
    [{ resourceClaimStatuses: [{ name: "a" }] }, false],
    [{ resourceClaimStatuses: named }, true],
    [{ resourceClaims: named }, true],
    [extended("r", "x/y"), true],
  ];
  for (const [pod, expected] of rows) {
    const actual = hasClaims({ namespace: "default", name: "web", ...pod });
    strictEqual(actual, expected, JSON.stringify(pod));
  }
});

function list(
  row: Row,
  asked: string[] = [],
): ReturnType<typeof listClaimedDevices> {
  const { signal } = new AbortController();
  const reader: ClaimReader = {
    nodeName: NODE,
    getResourceClaim: (namespace, name, options) => {
      asked.push(`${namespace}/${name}`);
      strictEqual(options.signal, signal);
      return Promise.resolve(row.claims?.[name] ?? {});
    },
    listResourceSlices: (filter, options) => {
      asked.push(`${filter.driver} ${filter.nodeName}`);
      strictEqual(options.signal, signal);
      return Promise.resolve(
        (row.slices ?? SLICES).filter((slice) =>
          slice.spec.driver === filter.driver
        ),
      );
    },
  };
  return listClaimedDevices(
    { namespace: "default", name: "web", ...row.pod },
    reader,
    { signal },
  );
}

function claim(...results: readonly AllocatedDevice[]): ResourceClaim {
  return { status: { allocation: { devices: { results } } } };
}

function result(
  device: string,
  rest: Partial<AllocatedDevice> = {},
): AllocatedDevice {
  return { request: "nic", driver: DRIVER, pool: NODE, device, ...rest };
}

function slice(
  driver: string,
  devices: readonly SliceDevice[],
  { pool = NODE, generation = 1 }: { pool?: string; generation?: number } = {},
): ResourceSlice {
  return { spec: { driver, pool: { name: pool, generation }, devices } };
}

function device(
  name: string,
  deviceId: string,
  resourceName: string,
): SliceDevice {
  return {
    name,
    attributes: {
      [DEVICE_ID_ATTRIBUTE]: { string: deviceId },
      [RESOURCE_NAME_ATTRIBUTE]: { string: resourceName },
    },
  };
}

function extended(
  requestName: string,
  resourceName: string,
): Pick<ClaimingPod, "extendedResourceClaimStatus"> {
  return {
    extendedResourceClaimStatus: {
      resourceClaimName: "extended",
      requestMappings: [{ requestName, resourceName }],
    },
  };
}
