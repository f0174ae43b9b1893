import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  podKey,
  readGetResponse,
  readListResponse,
  writeGetRequest,
  writeListRequest,
} from "./pod_resources_messages.ts";
import { writeFields } from "./protobuf.ts";

Deno.test("writeGetRequest() puts the pod's name before its namespace", () => {
  const bytes = writeGetRequest({ namespace: "ns", name: "pod" });
  deepStrictEqual([...bytes], [0x0a, 3, 0x70, 0x6f, 0x64, 0x12, 2, 0x6e, 0x73]);
});

Deno.test("writeListRequest() is empty", () =>
  strictEqual(writeListRequest().length, 0));

Deno.test("readGetResponse() reads an answer as a kubelet writes it", () => {
  // pod_resources { name: "p", namespace: "n", containers { name: "c", devices { resource_name: "r/x",
  // device_ids: ["0", "1"], topology { nodes { ID: 1 } } }, cpu_ids: [1, 2], memory { size: 7 } } }
  const bytes = Uint8Array.from([
    ...[
      0x0a,
      0x27,
      0x0a,
      0x01,
      0x70,
      0x12,
      0x01,
      0x6e,
      0x1a,
      0x1f,
      0x0a,
      0x01,
      0x63,
      0x12,
      0x11,
    ],
    ...[
      0x0a,
      0x03,
      0x72,
      0x2f,
      0x78,
      0x12,
      0x01,
      0x30,
      0x12,
      0x01,
      0x31,
      0x1a,
      0x04,
      0x0a,
      0x02,
      0x08,
      0x01,
    ],
    ...[0x1a, 0x02, 0x01, 0x02, 0x22, 0x03, 0x10, 0x80, 0x07],
  ]);
  deepStrictEqual(readGetResponse(bytes), [{
    containerName: "c",
    resourceName: "r/x",
    deviceIds: ["0", "1"],
  }]);
});

Deno.test("readGetResponse() reads an answer without a pod as no devices", () => {
  deepStrictEqual(readGetResponse(new Uint8Array()), []);
});

Deno.test("readListResponse() reads wanted pods only", () => {
  const pod = (name: string): Uint8Array =>
    writeFields([[1, name], [2, "ns"], [
      3,
      writeFields([[1, "c"], [2, writeFields([[1, "r"], [2, name]])]]),
    ]]);
  const bytes = writeFields([[1, pod("a")], [1, pod("b")], [1, pod("c")]]);
  const read = readListResponse(bytes, new Set(["ns/b", "ns/missing"]));
  deepStrictEqual([...read], [["ns/b", [{
    containerName: "c",
    resourceName: "r",
    deviceIds: ["b"],
  }]]]);
});

Deno.test("readListResponse() does not read the containers of unwanted pods", () => {
  const broken = writeFields([[1, "a"], [2, "ns"], [3, Uint8Array.of(0xff)]]);
  deepStrictEqual(
    readListResponse(writeFields([[1, broken]]), new Set()),
    new Map(),
  );
  throws(
    () => readListResponse(writeFields([[1, broken]]), new Set(["ns/a"])),
    SyntaxError,
  );
});

Deno.test("readGetResponse() and readListResponse() throw nothing but SyntaxError", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 48 }), (bytes) => {
    for (
      const read of [
        () => readGetResponse(bytes),
        () => readListResponse(bytes, new Set(["/"])),
      ]
    ) {
      try {
        read();
      } catch (error) {
        strictEqual((error as Error).constructor, SyntaxError);
      }
    }
  }));
});

Deno.test("podKey() tells apart pods of one name", () => {
  strictEqual(podKey({ namespace: "a", name: "b" }), "a/b");
});
