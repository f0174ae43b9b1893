import { deepEqual, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import { readShimConf } from "./shim_conf.ts";

const DEFAULTS = {
  cniVersion: "",
  socketPath: "/run/multus/multus.sock",
  spoolDir: "/var/lib/cni/multus/spool",
  addWaitMs: 60_000,
  type: "",
  prevResult: undefined,
};

const READABLE = [
  ["nothing", {}, {}],
  ["null for a default", { daemonSocketDir: null, cniDir: null }, {}],
  ["empty for a default", { daemonSocketDir: "", cniVersion: "" }, {}],
  ["version and type", { cniVersion: "0.4.0", type: "multus" }, {
    cniVersion: "0.4.0",
    type: "multus",
  }],
  ["directories", { daemonSocketDir: "/a/", cniDir: "/b//" }, {
    socketPath: "/a/multus.sock",
    spoolDir: "/b/spool",
  }],
  ["no wait", { shimWaitSeconds: 0 }, { addWaitMs: 0 }],
  ["a part of a second", { shimWaitSeconds: 0.25 }, { addWaitMs: 250 }],
  ["a result", { prevResult: { ips: [] } }, { prevResult: { ips: [] } }],
  ["a type that is the daemon's to refuse", { type: 1 }, {}],
] as const;

Deno.test("readShimConf() reads its keys, or takes their defaults", async (t) => {
  for (const [name, conf, expected] of READABLE) {
    await t.step(name, () => {
      const read = readShimConf(JSON.stringify(conf));
      deepEqual(read, { ...DEFAULTS, ...expected });
    });
  }
});

const BAD = [
  ["", "SyntaxError", "Network configuration is missing: stdin is empty"],
  [
    '{"a":secret}',
    "SyntaxError",
    "Network configuration on stdin is not JSON",
  ],
  [
    '{"a":1',
    "SyntaxError",
    "Network configuration on stdin is not JSON at position 6",
  ],
  [
    "[]",
    "SyntaxError",
    "Network configuration on stdin is not a JSON object",
  ],
  [
    '{"cniVersion":1}',
    "TypeError",
    "cniVersion of the network configuration is not text: 1",
  ],
  [
    '{"daemonSocketDir":"run"}',
    "RangeError",
    'daemonSocketDir of the network configuration is not an absolute path: "run"',
  ],
  [
    '{"cniDir":["/a"]}',
    "TypeError",
    'cniDir of the network configuration is not text: ["/a"]',
  ],
  [
    '{"shimWaitSeconds":"60"}',
    "TypeError",
    'shimWaitSeconds of the network configuration is not a number: "60"',
  ],
  [
    '{"shimWaitSeconds":201}',
    "RangeError",
    "shimWaitSeconds of the network configuration is not within 0 and 200: 201",
  ],
  [
    '{"shimWaitSeconds":-1}',
    "RangeError",
    "shimWaitSeconds of the network configuration is not within 0 and 200: -1",
  ],
] as const;

Deno.test("readShimConf() names what is wrong", async (t) => {
  for (const [text, name, message] of BAD) {
    await t.step(text, () => {
      throws(() => readShimConf(text), { name, message });
    });
  }
});

Deno.test("readShimConf() throws nothing but its own errors on any JSON", () => {
  const keys = ["cniVersion", "daemonSocketDir", "cniDir", "shimWaitSeconds"];
  const confs = fc.dictionary(fc.constantFrom(...keys), fc.jsonValue());
  fc.assert(fc.property(fc.oneof(fc.jsonValue(), confs), (conf) => {
    try {
      readShimConf(JSON.stringify(conf));
    } catch (error) {
      const kinds = [SyntaxError, TypeError, RangeError];
      ok(kinds.some((kind) => error instanceof kind), String(error));
      ok(String(error).length < 200, String(error));
    }
  }));
});
