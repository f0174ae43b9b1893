import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import * as path from "node:path";
import fc from "fast-check";
import {
  type FakeKubelet,
  type KubeletPod,
  startFakeKubelet,
} from "../../tests/kubelet/fake_kubelet.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import {
  createDeviceAllocator,
  type DevicePod,
  orderDevices,
} from "./allocation.ts";
import type { ContainerDevices } from "./pod_resources_messages.ts";
import {
  type ClaimReader,
  DEVICE_ID_ATTRIBUTE,
  RESOURCE_NAME_ATTRIBUTE,
} from "./resource_claims.ts";

const VF = "intel.com/sriov";
const POD: DevicePod = { namespace: "default", name: "web", uid: "uid-1" };
/** What the guide of users shows: sorted in a container, never across. */
const TWO_CONTAINERS: KubeletPod = {
  namespace: "default",
  name: "web",
  containers: {
    appcntr1: { [VF]: ["03:02.3", "03:02.0"] },
    appcntr2: { [VF]: ["03:02.5", "03:02.1"] },
  },
};
const IN_ORDER = ["03:02.0", "03:02.3", "03:02.1", "03:02.5"];

Deno.test("devicesOf() gives two containers' devices in the same order 50 times", async (t) => {
  // One after the other they would take as many calls; the kubelet shuffles each pod by itself.
  const pods = Array.from(
    { length: 50 },
    (_, i) => ({ ...TWO_CONTAINERS, name: `web-${i}` }),
  );
  for (const get of ["served", "disabled", "missing"] as const) {
    await t.step(get, async () => {
      await withScene({ get, pods }, async ({ allocator, signal }) => {
        const maps = await Promise.all(
          pods.map((pod) =>
            allocator.devicesOf({ ...POD, ...pod }, { signal })
          ),
        );
        for (const devices of maps) deepStrictEqual(devices.get(VF), IN_ORDER);
      });
    });
  }
});

Deno.test("devicesOf() gives the same order from the checkpoint", async () => {
  await withScene(
    { checkpoint: checkpointOf("uid-1", TWO_CONTAINERS) },
    async ({ allocator, signal }) => {
      deepStrictEqual(
        (await allocator.devicesOf(POD, { signal })).get(VF),
        IN_ORDER,
      );
      const reversed = { ...POD, containerNames: ["appcntr2", "appcntr1"] };
      deepStrictEqual(
        (await allocator.devicesOf(reversed, { signal })).get(VF),
        [
          ...IN_ORDER.slice(2),
          ...IN_ORDER.slice(0, 2),
        ],
      );
      strictEqual(
        (await allocator.devicesOf({ ...POD, uid: "uid-2" }, { signal })).size,
        0,
      );
    },
  );
});

Deno.test("devicesOf() prefers the socket to the checkpoint", async () => {
  const stale = {
    ...TWO_CONTAINERS,
    containers: { appcntr1: { [VF]: ["stale"] } },
  };
  await withScene({
    pods: [TWO_CONTAINERS],
    checkpoint: checkpointOf("uid-1", stale),
  }, async (scene) => {
    const { allocator, signal } = scene;
    deepStrictEqual(
      (await allocator.devicesOf(POD, { signal })).get(VF),
      IN_ORDER,
    );
  });
});

Deno.test("devicesOf() says what is missing when the kubelet left nothing", async () => {
  await withScene({}, async ({ allocator, signal, dir }) => {
    await rejects(allocator.devicesOf(POD, { signal }), (error) => {
      ok(error instanceof CniError);
      strictEqual(error.code, ErrorCode.tryAgainLater);
      strictEqual(
        error.message,
        'Kubelet does not tell the devices of pod "default/web": neither its socket nor its checkpoint is there: ' +
          `"${dir}/kubelet.sock", "${dir}/checkpoint"`,
      );
      return true;
    });
  });
});

Deno.test("devicesOf() puts devices of claims after the kubelet's", async (t) => {
  const pod = {
    ...POD,
    resourceClaimStatuses: [{ name: "nics", resourceClaimName: "x" }],
  };
  await t.step("with a socket", async () => {
    await withScene(
      { pods: [TWO_CONTAINERS], claims: claimsOf(VF, "04:00.0") },
      async ({ allocator, signal }) => {
        deepStrictEqual((await allocator.devicesOf(pod, { signal })).get(VF), [
          ...IN_ORDER,
          "04:00.0",
        ]);
        deepStrictEqual(
          (await allocator.devicesOf(POD, { signal })).get(VF),
          IN_ORDER,
          "a pod without claims",
        );
      },
    );
  });
  await t.step("with nothing of the kubelet", async () => {
    await withScene(
      { claims: claimsOf(VF, "04:00.0") },
      async ({ allocator, signal }) => {
        deepStrictEqual((await allocator.devicesOf(pod, { signal })).get(VF), [
          "04:00.0",
        ]);
        await rejects(
          allocator.devicesOf(POD, { signal }),
          CniError,
          "a pod without claims",
        );
      },
    );
  });
  await t.step("where nobody reads claims", async () => {
    await withScene(
      { pods: [TWO_CONTAINERS] },
      async ({ allocator, signal }) => {
        deepStrictEqual(
          (await allocator.devicesOf(pod, { signal })).get(VF),
          IN_ORDER,
        );
      },
    );
  });
});

Deno.test("devicesOf() ends with the signal when the kubelet hangs", async () => {
  await withScene(
    { pods: [TWO_CONTAINERS] },
    async ({ allocator, kubelet }) => {
      kubelet?.hold();
      const controller = new AbortController();
      const answer = allocator.devicesOf(POD, { signal: controller.signal });
      await kubelet?.nextCall();
      controller.abort();
      await rejects(
        answer,
        (error) =>
          error instanceof CniError && error.code === ErrorCode.tryAgainLater,
      );
    },
  );
});

Deno.test("orderDevices() puts containers in the order of the pod", async (t) => {
  const given = [devices("b", "2"), devices("a", "9"), devices("c", "1")];
  const rows = [
    {
      what: "the kubelet's order",
      containerNames: [],
      expected: ["2", "9", "1"],
    },
    {
      what: "the pod's order",
      containerNames: ["a", "b", "c"],
      expected: ["9", "2", "1"],
    },
    {
      what: "unknown ones last",
      containerNames: ["c"],
      expected: ["1", "2", "9"],
    },
    {
      what: "containers without devices",
      containerNames: ["x", "a", "y"],
      expected: ["9", "2", "1"],
    },
  ];
  for (const { what, containerNames, expected } of rows) {
    await t.step(
      what,
      () =>
        deepStrictEqual(
          orderDevices(given, { containerNames }).get(VF),
          expected,
        ),
    );
  }
});

Deno.test("orderDevices() has each device once", () => {
  const given = [
    devices("app", "2", "1"),
    devices("app", "1"),
    devices("init", "2", "3"),
  ];
  deepStrictEqual(orderDevices(given, { containerNames: ["app"] }).get(VF), [
    "1",
    "2",
    "3",
  ]);
  const claimed = [{ resourceName: VF, deviceId: "3" }, {
    resourceName: "other/x",
    deviceId: "3",
  }];
  deepStrictEqual([...orderDevices(given, { claimed })], [
    [VF, ["1", "2", "3"]],
    ["other/x", ["3"]],
  ]);
});

Deno.test("orderDevices() gives one order however the kubelet shuffles a container's devices", () => {
  const containers = fc.uniqueArray(
    fc.uniqueArray(fc.string({ maxLength: 3 }), { minLength: 1 }),
    {
      maxLength: 4,
      selector: (ids) => ids[0],
    },
  );
  fc.assert(
    fc.property(containers, fc.infiniteStream(fc.nat()), (idLists, random) => {
      const plain = idLists.map((ids, i) => devices(`c${i}`, ...ids));
      const shuffled = plain.flatMap(({ containerName, deviceIds }) =>
        deviceIds.map((id) => ({ id, key: random.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ id }) => devices(containerName, id))
      );
      deepStrictEqual(orderDevices(shuffled), orderDevices(plain));
    }),
  );
});

interface Scene {
  readonly allocator: ReturnType<typeof createDeviceAllocator>;
  readonly kubelet: FakeKubelet | undefined;
  readonly signal: AbortSignal;
  readonly dir: string;
}

/** A node with what is given: a kubelet that has those pods, a checkpoint with that text, a reader of claims. */
async function withScene(
  { pods, checkpoint, claims, get = "served" }: {
    pods?: readonly KubeletPod[];
    checkpoint?: string;
    claims?: ClaimReader;
    get?: "served" | "disabled" | "missing";
  },
  play: (scene: Scene) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await using kubelet = pods === undefined
      ? undefined
      : await startFakeKubelet(dir, { pods, get });
    const checkpointFile = path.join(dir, "checkpoint");
    if (checkpoint !== undefined) {
      await Deno.writeTextFile(checkpointFile, checkpoint);
    }
    const sources = {
      podResourcesSocket: path.join(dir, "kubelet.sock"),
      checkpointFile,
    };
    const allocator = createDeviceAllocator(
      claims === undefined ? sources : { ...sources, claims },
    );
    await play({
      allocator,
      kubelet,
      signal: new AbortController().signal,
      dir,
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function devices(
  containerName: string,
  ...deviceIds: readonly string[]
): ContainerDevices {
  return { containerName, resourceName: VF, deviceIds };
}

function checkpointOf(uid: string, pod: KubeletPod): string {
  const entries = Object.entries(pod.containers).reverse().flatMap((
    [container, resources],
  ) =>
    Object.entries(resources).map(([resource, ids]) => ({
      PodUID: uid,
      ContainerName: container,
      ResourceName: resource,
      DeviceIDs: { "1": ids.slice(1), "0": ids.slice(0, 1) },
    }))
  );
  return JSON.stringify({ Data: { PodDeviceEntries: entries } });
}

/** Every claim holds one device. */
function claimsOf(resourceName: string, deviceId: string): ClaimReader {
  const attributes = {
    [DEVICE_ID_ATTRIBUTE]: { string: deviceId },
    [RESOURCE_NAME_ATTRIBUTE]: { string: resourceName },
  };
  const result = { request: "nic", driver: "d", pool: "p", device: "vf" };
  return {
    nodeName: "node-1",
    getResourceClaim: () =>
      Promise.resolve({
        status: { allocation: { devices: { results: [result] } } },
      }),
    listResourceSlices: () =>
      Promise.resolve([{
        spec: {
          driver: "d",
          pool: { name: "p", generation: 1 },
          devices: [{ name: "vf", attributes }],
        },
      }]),
  };
}
