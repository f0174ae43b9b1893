import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type AttachmentRecord,
  encodeResult,
  formatRecord,
  formatState,
  parseRecord,
  type RecordedAttachment,
} from "./record_format.ts";

const OPTIONS = { containerId: "c1", defaultIfname: "eth0" };

const single = '{"cniVersion":"1.0.0","name":"cluster","type":"bridge",' +
  '"big":9007199254740993,"one":1.0}';
const list =
  '{\n "cniVersion": "0.4.0", "name": "net-a", "plugins": [{"type":"macvlan"},{"type":"tuning"}]\n}';

const record: AttachmentRecord = {
  containerId: "c1",
  origin: "own",
  netns: "/var/run/netns/x",
  pod: { namespace: "default", name: "pod", uid: "u-1" },
  bootId: "boot",
  attachments: [
    {
      config: single,
      name: "cluster",
      ifname: "eth0",
      isDefault: true,
      state: "done",
      source: "default",
      isFilterV4Gateway: true,
      isFilterV6Gateway: false,
      cniArgs: [["IgnoreUnknown", "true"], ["K8S_POD_NAME", "pod"]],
      capabilityArgs: { portMappings: "[ 1.0 ]" },
      recordedAt: "2026-01-01T00:00:00.000Z",
      result: {
        interfaces: [{ name: "eth0", sandbox: "/var/run/netns/x" }],
        ips: [{ address: "10.1.0.2/16", gateway: "10.1.0.1", interface: 0 }],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    },
    {
      config: list,
      name: "default/net-a",
      ifname: "net1",
      isDefault: false,
      state: "begun",
      source: "annotation",
      definition: { namespace: "default", name: "net-a" },
      macRequest: "02:00:00:00:00:01",
      ipRequest: ["10.2.0.5/24"],
      gatewayRequest: ["10.2.0.1"],
      isFilterV4Gateway: false,
      isFilterV6Gateway: false,
      deviceId: "0000:00:01.0",
      resourceName: "example.com/nic",
      deviceInfoFile: "/var/run/x",
      cniArgs: [],
      capabilityArgs: {},
    },
  ],
};

const text = fc.string({ unit: "grapheme", maxLength: 12 });
const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined });

const plain = <T>(
  members: { [K in keyof T]: fc.Arbitrary<T[K]> },
): fc.Arbitrary<T> => fc.record<T>(members, { noNullPrototype: true });

/** Drops what is undefined: an absent member is not written, and not read back. */
function compact<T>(value: T): T {
  return Object.fromEntries(
    Object.entries(value as object).filter(([, member]) =>
      member !== undefined
    ),
  ) as T;
}

const config = fc.record({
  name: text,
  type: text,
  extra: fc.jsonValue(),
}).map((value) => JSON.stringify(value, undefined, 1));

const attachment = fc.record({
  config,
  name: text,
  ifname: text,
  isDefault: fc.boolean(),
  state: fc.constantFrom("todo", "begun", "done", "undone"),
  source: optional(fc.constantFrom("default", "annotation", "hotplug")),
  definition: optional(plain({ namespace: text, name: text })),
  macRequest: optional(text),
  ipRequest: optional(fc.array(text, { maxLength: 2 })),
  gatewayRequest: optional(fc.array(text, { maxLength: 2 })),
  isFilterV4Gateway: fc.boolean(),
  isFilterV6Gateway: fc.boolean(),
  deviceId: optional(text),
  resourceName: optional(text),
  deviceInfoFile: optional(text),
  cniArgs: optional(fc.array(fc.tuple(text, text), { maxLength: 2 })),
  capabilityArgs: optional(
    fc.dictionary(text.filter((key) => key !== "__proto__"), text, {
      maxKeys: 2,
      noNullPrototype: true,
    }),
  ),
  recordedAt: optional(text),
  result: optional(
    fc.array(text, { maxLength: 60 }).map((names) => ({
      interfaces: names.map((name) => ({ name })),
      ips: [],
      routes: [],
    })),
  ),
}).map((value) => compact(value) as RecordedAttachment);

const anyRecord = fc.record({
  containerId: fc.constant("c1"),
  origin: fc.constant("own" as const),
  netns: optional(text),
  pod: optional(plain({ namespace: text, name: text, uid: text })),
  bootId: optional(text),
  attachments: fc.array(attachment, { minLength: 1, maxLength: 4 }),
}).map((value) => compact(value) as AttachmentRecord);

Deno.test("parseRecord() gives back what formatRecord() was given", async () => {
  const { text, places } = await formatRecord(record);
  const parsed = await parseRecord(text, OPTIONS);
  assert.deepEqual(parsed, { record, places });
  await fc.assert(
    fc.asyncProperty(anyRecord, async (any) => {
      const { text } = await formatRecord(any);
      assert.deepEqual((await parseRecord(text, OPTIONS)).record, any);
    }),
  );
});

Deno.test("formatRecord() writes what the Go daemon reads", async () => {
  const { text } = await formatRecord(record);
  const [first, second] = JSON.parse(text);
  const decode = (bytes: string): string =>
    new TextDecoder().decode(Uint8Array.fromBase64(bytes));
  assert.equal(decode(first.Bytes), single);
  assert.equal(decode(second.Bytes), list);
  assert.deepEqual(
    { ...first, multusDeno: 0, Bytes: 0 },
    {
      multusDeno: 0,
      Conf: { cniVersion: "1.0.0", name: "cluster", type: "bridge" },
      ConfList: {},
      Name: "cluster",
      IsFilterV4Gateway: true,
      IsFilterV6Gateway: false,
      Bytes: 0,
    },
  );
  assert.deepEqual(
    { ...second, multusDeno: 0, Bytes: 0 },
    {
      multusDeno: 0,
      Conf: { cniVersion: "0.4.0", name: "net-a" },
      ConfList: {
        cniVersion: "0.4.0",
        name: "net-a",
        plugins: [{ type: "macvlan" }, { type: "tuning" }],
      },
      Name: "default/net-a",
      ifnameRequest: "net1",
      macRequest: "02:00:00:00:00:01",
      ipRequest: ["10.2.0.5/24"],
      "default-route": ["10.2.0.1"],
      IsFilterV4Gateway: false,
      IsFilterV6Gateway: false,
      deviceID: "0000:00:01.0",
      resourceName: "example.com/nic",
      Bytes: 0,
    },
  );
});

Deno.test("formatRecord() refuses a record without attachments", async () => {
  await assert.rejects(
    formatRecord({ ...record, attachments: [] }),
    RangeError,
  );
});

Deno.test("parseRecord() reads a record of the Go daemon", async () => {
  const encode = (config: string): string =>
    new TextEncoder().encode(config).toBase64();
  const go = JSON.stringify([
    {
      Conf: { cniVersion: "1.0.0", name: "cluster", type: "bridge", dns: {} },
      ConfList: { plugins: null },
      Name: "cluster",
      ifnameRequest: "",
      macRequest: null,
      IsFilterV4Gateway: true,
      Unknown: 9007199254740993n.toString(),
      Bytes: encode(single),
    },
    {
      ConfList: { plugins: [{ type: "macvlan" }] },
      Name: "default/net-a",
      ifnameRequest: "data0",
      ipRequest: ["10.2.0.5/24"],
      "default-route": [],
      resourceName: "example.com/nic",
      deviceID: "0000:00:01.0",
      Bytes: encode(list),
    },
    { Bytes: encode(single) },
  ]);
  const { record, places } = await parseRecord(go, {
    containerId: "c1",
    defaultIfname: "eth7",
  });
  const flags = { isFilterV4Gateway: false, isFilterV6Gateway: false };
  assert.equal(places, undefined);
  assert.deepEqual(record, {
    containerId: "c1",
    origin: "go",
    attachments: [
      {
        ...flags,
        config: single,
        name: "cluster",
        ifname: "eth7",
        isDefault: true,
        state: "done",
        isFilterV4Gateway: true,
      },
      {
        ...flags,
        config: list,
        name: "default/net-a",
        ifname: "data0",
        isDefault: false,
        state: "done",
        ipRequest: ["10.2.0.5/24"],
        gatewayRequest: [],
        resourceName: "example.com/nic",
        deviceId: "0000:00:01.0",
      },
      {
        ...flags,
        config: single,
        name: "cluster",
        ifname: "net2",
        isDefault: false,
        state: "done",
      },
    ],
  });
});

Deno.test("parseRecord() refuses what is no record", async () => {
  const table = [
    "",
    "null",
    "[]",
    "{}",
    "[null]",
    "[1]",
    "[{}]",
    '[{"Bytes":""}]',
    '[{"Bytes":1}]',
    '[{"Bytes":"*"}]',
    '[{"Bytes":"bnVsbA=="}]', // null
    '[{"Bytes":"/w=="}]', // no UTF-8
    '[{"Bytes":"e30=","ifnameRequest":1}]',
    '[{"Bytes":"e30=","ipRequest":[1]}]',
    "\0".repeat(100),
    '[{"multusDeno":{}}]\n',
    "multusDeno",
  ];
  for (const text of table) {
    await assert.rejects(
      parseRecord(text, OPTIONS),
      (error) => error instanceof SyntaxError || error instanceof TypeError,
      JSON.stringify(text),
    );
  }
});

/** Reads bytes as a file's reader does; undefined when they are found damaged. */
async function readDamaged(
  bytes: Uint8Array,
): Promise<AttachmentRecord | undefined> {
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return (await parseRecord(decoder.decode(bytes), OPTIONS)).record;
  } catch (error) {
    assert.ok(error instanceof SyntaxError || error instanceof TypeError);
    return undefined;
  }
}

/** What may come out of a damaged record: the same one, or one that says that a result is lost. */
function assertNotWrong(read: AttachmentRecord | undefined): void {
  if (read === undefined) return;
  const attachments = read.attachments.map((attachment, index) => {
    const { isResultDamaged, ...rest } = attachment;
    const result = record.attachments[index]?.result;
    return isResultDamaged && result ? { ...rest, result } : rest;
  });
  assert.deepEqual({ ...read, attachments }, record);
}

Deno.test("parseRecord() never gives a wrong record when any one byte is another", async () => {
  const bytes = new TextEncoder().encode((await formatRecord(record)).text);
  for (let at = 0; at < bytes.length; at++) {
    const original = bytes[at] ?? 0;
    // A flipped bit of each kind, a hole, and characters that mean something to JSON.
    const others = [1, 2, 4, 8, 16, 32, 64, 128].map((bit) => original ^ bit);
    for (const other of [...others, 0, 0x20, 0x22, 0x2c, 0x7d]) {
      if (other === original) continue;
      bytes[at] = other;
      assertNotWrong(await readDamaged(bytes));
    }
    bytes[at] = original;
  }
});

Deno.test("parseRecord() never gives a wrong record when it is cut, holed or mixed up", async () => {
  const { text } = await formatRecord(record);
  const bytes = new TextEncoder().encode(text);
  const at = fc.nat(bytes.length - 1);
  await fc.assert(
    fc.asyncProperty(
      at,
      at,
      fc.integer({ min: 0, max: 255 }),
      async (one, two, fill) => {
        const [from, to] = one < two ? [one, two] : [two, one];
        const cut = bytes.slice(0, from);
        const holed = bytes.slice().fill(fill, from, to);
        const without = new Uint8Array([
          ...bytes.slice(0, from),
          ...bytes.slice(to),
        ]);
        for (const damaged of [cut, holed, without]) {
          assertNotWrong(await readDamaged(damaged));
        }
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("parseRecord() never gives a record with an attachment missing, repeated or moved", async () => {
  const { text } = await formatRecord(record);
  const [first = "", second = ""] = text.slice(1, -2).split(",\n");
  const rows = [[first], [second], [second, first], [first, second, second]];
  for (const elements of rows) {
    await assert.rejects(
      parseRecord(`[${elements.join(",\n")}]\n`, OPTIONS),
      SyntaxError,
    );
  }
});

Deno.test("formatState() is a word that two damaged bytes do not turn into another", () => {
  const words = (["todo", "begun", "done", "undone"] as const).map(formatState);
  for (const one of words) {
    for (const other of words) {
      const differing = [...one].filter((char, at) => char !== other[at]);
      assert.equal(one.length, other.length);
      assert.ok(one === other || differing.length > 2, `${one} ${other}`);
    }
  }
});

Deno.test("formatRecord() says where state and result may be overwritten", async () => {
  const { text, places } = await formatRecord(record);
  const bytes = new TextEncoder().encode(text);
  const result = { interfaces: [{ name: "é" }], ips: [], routes: [] };
  const place = places[1];
  assert.ok(place);
  const room = (await encodeResult(result)).padEnd(place.resultLength);
  bytes.set(new TextEncoder().encode(room), place.resultAt);
  bytes.set(new TextEncoder().encode(formatState("done")), place.stateAt);
  const changed = await readDamaged(bytes);
  assert.deepEqual(changed?.attachments[0], record.attachments[0]);
  assert.deepEqual(changed?.attachments[1], {
    ...record.attachments[1],
    state: "done",
    result,
  });
});

Deno.test("parseRecord() says that a result is damaged when a crash left half of it", async () => {
  const { text, places } = await formatRecord(record);
  const bytes = new TextEncoder().encode(text);
  const result = { interfaces: [{ name: "net1" }], ips: [], routes: [] };
  const encoded = new TextEncoder().encode(await encodeResult(result));
  for (let length = 1; length < encoded.length; length++) {
    const torn = bytes.slice();
    torn.set(encoded.subarray(0, length), places[1]?.resultAt);
    const read = (await readDamaged(torn))?.attachments[1];
    assert.ok(read);
    // The last bytes are padding that says nothing.
    if (read.result) assert.deepEqual(read.result, result);
    else assert.ok(read.isResultDamaged);
  }
});
