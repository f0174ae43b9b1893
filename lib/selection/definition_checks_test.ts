import assert from "node:assert/strict";
import fc from "fast-check";
import { parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import { assertDefinition, assertNotMultus } from "./definition_checks.ts";

Deno.test("assertNotMultus() refuses Multus at any depth", async (t) => {
  const cases: [conf: string, type: string][] = [
    [`{"type":"multus"}`, "multus"],
    [`{"type":"multus-shim"}`, "multus-shim"],
    [`{"plugins":[{"type":"bridge"},{"type":"multus"}]}`, "multus"],
    [`{"type":"flannel","delegate":{"type":"multus"}}`, "multus"],
    [
      `{"type":"x","delegates":[{"a":[{"type":"multus-shim"}]}]}`,
      "multus-shim",
    ],
    [
      `{"type":"x","ipam":{"type":"host-local","TYPE":"multus-shim"}}`,
      "multus-shim",
    ],
    [`{"type":"x","ipam":{"type":"multus"},"ipam":{}}`, "multus"],
    [`{"type":"x","delegate":{"\\u0074ype" : "mult\\u0075s"}}`, "multus"],
  ];
  for (const [conf, type] of cases) {
    await t.step(conf, () => {
      const list = parseConf(conf, { defaultName: "n" });
      assert.throws(() => assertNotMultus(list, "The network"), (error) => {
        assert.ok(error instanceof CniError);
        assert.equal(error.code, ErrorCode.invalidNetworkConfig);
        assert.equal(
          error.message,
          `The network leads back to Multus itself and cannot be a delegate: type "${type}"`,
        );
        return true;
      });
    });
  }
});

Deno.test("assertNotMultus() lets everything else pass", async (t) => {
  const confs = [
    `{"type":"bridge","name":"multus"}`,
    `{"type":"bridge","args":{"cni":{"type":"multus"}}}`,
    `{"type":"bridge","a":"\\"type\\":\\"multus\\""}`,
    `{"type":"bridge","a":["type","multus"],"type ":"multus"}`,
    `{"type":"passthru"}`,
    `{"type":"bridge","x":${"[".repeat(900)}${"]".repeat(900)}}`,
  ];
  for (const conf of confs) {
    await t.step(conf.slice(0, 60), () => {
      assertNotMultus(parseConf(conf, { defaultName: "n" }), "The network");
    });
  }
});

Deno.test("assertNotMultus() finds the type wherever it stands, and only there", () => {
  const hidden = fc.array(fc.string({ maxLength: 4 }), { maxLength: 6 });
  fc.assert(fc.property(hidden, fc.json(), fc.boolean(), (path, other, is) => {
    const inner: unknown = { type: is ? "multus" : "bridge" };
    const nested = path.reduceRight(
      (value, key) => ({ [key]: [value] }),
      inner,
    );
    const list = parseConf(
      `{"name":"n","type":"a","o":${other},"x":${JSON.stringify(nested)}}`,
    );
    const isPlain = !other.includes("multus");
    if (is) assert.throws(() => assertNotMultus(list, "It"), CniError);
    else if (isPlain) assertNotMultus(list, "It");
  }));
});

function messageOf(conf: string): string {
  const list = parseConf(conf, { defaultName: "n" });
  try {
    assertDefinition(list, "The network");
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    assert.equal(error.code, ErrorCode.invalidNetworkConfig);
    return error.message;
  }
  return "";
}

Deno.test("assertDefinition() refuses keys that a plugin would take for others", async (t) => {
  const cases: [key: string, ours: string][] = [
    ["Name", "name"],
    ["TYPE", "type"],
    ["CNIVersion", "cniVersion"],
    ["cniVer\u017fion", "cniVersion"],
    ["prevresult", "prevResult"],
  ];
  for (const [key, ours] of cases) {
    await t.step(key, () => {
      for (
        const conf of [
          `{"type":"a","${key}":"../x"}`,
          `{"plugins":[{"type":"b"},{"type":"a","${key}":"../x"}]}`,
        ]
      ) {
        assert.equal(
          messageOf(conf),
          `The network: plugin "a" has a key that it would take for "${ours}": "${key}"`,
        );
      }
    });
  }
  await t.step("others, and in other places", () => {
    assert.equal(
      messageOf(`{"type":"a","Names":1,"ipam":{"Name":"x"},"MTU":1}`),
      "",
    );
  });
});

Deno.test("assertDefinition() refuses conditions that run a program", async (t) => {
  const refused = [
    "-M/x",
    "-M",
    "-4M/x",
    "--modprobe",
    "--modprobe=/x",
    "--modp=/x",
    "--mo",
  ];
  for (const option of refused) {
    await t.step(option, () => {
      for (
        const conf of [
          `{"type":"portmap","conditionsV4":["!","${option}"]}`,
          `{"plugins":[{"type":"a"},{"type":"portmap","ConditionsV6":["${option}"],"conditionsV6":[]}]}`,
          `{"type":"portmap","delegate":{"conditionsV4":["${option}"]},"delegate":{}}`,
        ]
      ) {
        assert.match(
          messageOf(conf),
          /^The network: plugin "portmap" has a condition that would run a program: "/,
        );
      }
    });
  }
  const fine = ["-d", "--mark", "--match", "!", "192.0.2.0/24", "--model", "M"];
  await t.step("others", () => {
    const conditions = JSON.stringify(fine);
    assert.equal(
      messageOf(`{"type":"portmap","conditionsV4":${conditions}}`),
      "",
    );
    assert.equal(messageOf(`{"type":"a","x":["-M"]}`), "");
  });
});
