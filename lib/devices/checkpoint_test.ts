import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { CniError, ErrorCode } from "../cni/error.ts";
import { readCheckpoint } from "./checkpoint.ts";

const UID = "11f2c1a4-7a53-4d3e-9c3b-5f6f4c5a0001";

Deno.test("readCheckpoint() reads what kubelets of several ages write", async (t) => {
  const rows = [
    {
      what: "by NUMA node",
      entries: [{
        ...entry("app", "intel.com/sriov", { "0": ["a", "b"], "1": ["c"] }),
        AllocResp: "CgA=",
      }],
      expected: [{
        containerName: "app",
        resourceName: "intel.com/sriov",
        deviceIds: ["a", "b", "c"],
      }],
    },
    {
      what: "without topology",
      entries: [entry("app", "x/y", { "-1": ["a"] })],
      expected: [{
        containerName: "app",
        resourceName: "x/y",
        deviceIds: ["a"],
      }],
    },
    {
      what: "one list",
      entries: [entry("app", "x/y", ["b", "a"])],
      expected: [{
        containerName: "app",
        resourceName: "x/y",
        deviceIds: ["b", "a"],
      }],
    },
    {
      what: "null for nothing",
      entries: [entry("a", "x/y", null), entry("b", "x/y", { "0": null })],
      expected: [
        { containerName: "a", resourceName: "x/y", deviceIds: [] },
        { containerName: "b", resourceName: "x/y", deviceIds: [] },
      ],
    },
    {
      what: "containers in another order each time",
      entries: [
        entry("b", "x/y", { "0": ["1"] }),
        entry("a", "x/y", { "0": ["2"] }),
      ],
      expected: [
        { containerName: "a", resourceName: "x/y", deviceIds: ["2"] },
        { containerName: "b", resourceName: "x/y", deviceIds: ["1"] },
      ],
    },
    {
      what: "another pod",
      entries: [{ ...entry("app", "x/y", { "0": ["a"] }), PodUID: "other" }],
      expected: [],
    },
    { what: "no pod", entries: null, expected: [] },
  ];
  for (const { what, entries, expected } of rows) {
    await t.step(what, async () => {
      const text = JSON.stringify({
        Data: { PodDeviceEntries: entries, RegisteredDevices: {} },
        Checksum: 1,
      });
      await withFile(
        text,
        async (file) =>
          deepStrictEqual(await readCheckpoint(file, UID), expected),
      );
    });
  }
});

Deno.test("readCheckpoint() says what it cannot read, where, and in which file", async (t) => {
  const rows = [
    { what: "half a file", text: '{"Data":{"PodDev', place: /JSON/ },
    { what: "empty file", text: "", place: /JSON/ },
    { what: "no data", text: "{}", place: /at Data / },
    { what: "list", text: "[]", place: /at top level/ },
    {
      what: "wrong ID",
      text: JSON.stringify({
        Data: { PodDeviceEntries: [entry("a", "x/y", { "0": [1] })] },
      }),
      place: /PodDeviceEntries\[0\]\.DeviceIDs/,
    },
    {
      what: "no resource",
      text:
        '{"Data":{"PodDeviceEntries":[{"PodUID":"a","ContainerName":"b"}]}}',
      place: /ResourceName/,
    },
  ];
  for (const { what, text, place } of rows) {
    await t.step(what, async () => {
      await withFile(text, async (file) => {
        await rejects(readCheckpoint(file, UID), (error) => {
          ok(error instanceof CniError);
          strictEqual(error.code, ErrorCode.decodingFailure);
          ok(place.test(error.message), error.message);
          ok(error.message.endsWith(`"${file}"`), error.message);
          return true;
        });
      });
    });
  }
});

Deno.test("readCheckpoint() leaves it to the caller that there is no file", async () => {
  await rejects(
    readCheckpoint("/nonexistent/checkpoint", UID),
    Deno.errors.NotFound,
  );
});

function entry(
  containerName: string,
  resourceName: string,
  ids: unknown,
): Record<string, unknown> {
  return {
    PodUID: UID,
    ContainerName: containerName,
    ResourceName: resourceName,
    DeviceIDs: ids,
  };
}

async function withFile(
  text: string,
  use: (file: string) => Promise<void>,
): Promise<void> {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, text);
    await use(file);
  } finally {
    await Deno.remove(file);
  }
}
