import assert from "node:assert/strict";
import fc from "fast-check";
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
    selection: { deviceId },
  });
  const cases: [
    name: string,
    requests: DeviceRequest[],
    expected: unknown[],
  ][] = [
    ["no request", [], []],
    ["no resource", [{}, { selection: {} }], [none, none]],
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
    ["one named without resource", [{ selection: { deviceId: "q" } }], [
      has("q"),
    ]],
  ];
  for (const [name, requests, expected] of cases) {
    await t.step(name, async () => {
      assert.deepEqual(await allocateDevices(requests, ask), expected);
    });
  }
});

Deno.test("allocateDevices() gives none when nobody can be asked", async () => {
  const requests = [{ resourceName: "x/nic" }];
  assert.deepEqual(await allocateDevices(requests, undefined), [
    { isShort: false },
  ]);
});

Deno.test("allocateDevices() asks once for each resource, and only when it needs to", async () => {
  const asked: string[] = [];
  const requests = ["x/nic", "y/nic", "x/nic"].map((resourceName) => ({
    resourceName,
  }));
  await allocateDevices(
    [{}, { selection: { deviceId: "q" } }, ...requests],
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

Deno.test("allocateDevices() never gives one device twice", async () => {
  const request = fc.record({
    resourceName: fc.constantFrom("x/nic", "y/nic", "z/nic"),
    selection: fc.record({ deviceId: fc.constantFrom("a", "d") }),
  }, { requiredKeys: ["resourceName"] });
  const requests = fc.uniqueArray(request, {
    selector: ({ selection }) => selection?.deviceId ?? {},
    maxLength: 8,
  });
  await fc.assert(fc.asyncProperty(requests, async (list) => {
    const given = (await allocateDevices(list, ask))
      .flatMap(({ deviceId }) => deviceId ?? []);
    assert.equal(new Set(given).size, given.length);
  }));
});
