import assert from "node:assert/strict";
import fc from "fast-check";
import { AnnotationError } from "./annotation_error.ts";
import { allocateDevices } from "./device_allocation.ts";
import type { DeviceRequest } from "./device_allocation.ts";

const POOLS: Record<string, readonly string[]> = {
  "x/nic": ["a", "b", "c"],
  "y/nic": ["d"],
};

function ask(resourceName: string): Promise<readonly string[]> {
  return Promise.resolve(POOLS[resourceName] ?? []);
}

Deno.test("allocateDevices() gives the devices of a resource in order", async (t) => {
  const nic = { resourceName: "x/nic" };
  const none = { isShort: false };
  const has = (deviceId: string): { deviceId: string; isShort: boolean } => ({
    deviceId,
    isShort: false,
  });
  const named = (deviceId: string): DeviceRequest => ({
    ...nic,
    selection: { deviceId, place: "networks[1]" },
  });
  const cases: [
    name: string,
    requests: DeviceRequest[],
    expected: unknown[],
  ][] = [
    ["no request", [], []],
    ["no resource", [{}, { selection: { place: "networks[0]" } }], [
      none,
      none,
    ]],
    ["one each", [nic, {}, nic], [has("a"), none, has("b")]],
    ["two resources", [nic, { resourceName: "y/nic" }, nic], [
      has("a"),
      has("d"),
      has("b"),
    ]],
    ["a resource without devices", [{ resourceName: "z" }], [none]],
    ["one too many", [nic, nic, nic, nic], [
      has("a"),
      has("b"),
      has("c"),
      { isShort: true },
    ]],
    ["one named before", [named("a"), nic], [has("a"), has("b")]],
    ["one named behind", [nic, named("a"), nic], [
      has("b"),
      has("a"),
      has("c"),
    ]],
    [
      "one named without resource",
      [{ selection: { deviceId: "a", place: "networks[0]" } }, nic],
      [none, has("b")],
    ],
  ];
  for (const [name, requests, expected] of cases) {
    await t.step(name, async () => {
      assert.deepEqual(await allocateDevices(requests, ask), expected);
    });
  }
});

Deno.test("allocateDevices() refuses a device that the pod was not given", async (t) => {
  const cases: [resourceName: string, deviceId: string][] = [
    ["x/nic", "d"],
    ["x/nic", "0000:00:03.0"],
    ["z/nic", "a"],
  ];
  for (const [resourceName, deviceId] of cases) {
    await t.step(`${resourceName} ${deviceId}`, async () => {
      const selection = { deviceId, place: "networks[1]" };
      await assert.rejects(
        allocateDevices([{ resourceName, selection }], ask),
        (error) => {
          assert.ok(error instanceof AnnotationError, String(error));
          assert.equal(
            error.message,
            `networks[1].deviceID: the pod was given no such device of "${resourceName}": "${deviceId}"`,
          );
          return true;
        },
      );
    });
  }
});

Deno.test("allocateDevices() gives none when nobody can be asked", async () => {
  const selection = { deviceId: "a", place: "networks[0]" };
  const requests = [{ resourceName: "x/nic" }, {
    resourceName: "x/nic",
    selection,
  }];
  assert.deepEqual(await allocateDevices(requests, undefined), [
    { isShort: false },
    { isShort: false },
  ]);
});

Deno.test("allocateDevices() asks once for each resource, and only when it needs to", async () => {
  const asked: string[] = [];
  const requests = ["x/nic", "y/nic", "x/nic"].map((resourceName) => ({
    resourceName,
  }));
  await allocateDevices(
    [{}, { selection: { deviceId: "q", place: "networks[0]" } }, ...requests],
    (resourceName) => {
      asked.push(resourceName);
      return ask(resourceName);
    },
  );
  assert.deepEqual(asked, ["x/nic", "y/nic"]);
});

Deno.test("allocateDevices() passes on why the kubelet could not be asked", async () => {
  const failure = new DOMException("too late", "TimeoutError");
  await assert.rejects(
    allocateDevices(
      [{ resourceName: "x/nic" }],
      () => Promise.reject(failure),
    ),
    failure,
  );
});

Deno.test("allocateDevices() gives each device of the pod to one attachment, and no other device", async () => {
  const chosen = fc.constantFrom("a", "c", "d").map((deviceId) => ({
    resourceName: deviceId === "d" ? "y/nic" : "x/nic",
    selection: { deviceId, place: "networks[0]" },
  }));
  const next = fc.record({
    resourceName: fc.constantFrom("x/nic", "y/nic", "z/nic"),
  });
  const requests = fc.uniqueArray<DeviceRequest, unknown>(
    fc.oneof(chosen, next),
    { selector: ({ selection }) => selection?.deviceId ?? {}, maxLength: 8 },
  );
  await fc.assert(fc.asyncProperty(requests, async (list) => {
    const devices = await allocateDevices(list, ask);
    const given = devices.flatMap(({ deviceId }) => deviceId ?? []);
    assert.equal(new Set(given).size, given.length);
    for (const [index, { deviceId }] of devices.entries()) {
      const own = POOLS[list[index]?.resourceName ?? ""] ?? [];
      assert.ok(deviceId === undefined || own.includes(deviceId));
    }
  }));
});
