import { deepEqual, equal, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  type CniRequest,
  decodeConfig,
  decodeRequest,
  encodeConfig,
  encodeRequest,
} from "./request.ts";

Deno.test("decodeRequest() reads back what encodeRequest() wrote", () => {
  const attributes = fc.record({
    ips: fc.array(fc.string()),
    mac: fc.string(),
    "cni-args": fc.dictionary(
      fc.string(),
      fc.jsonValue().filter((value) => !Object.is(value, -0)),
      { noNullPrototype: true },
    ),
  }, { requiredKeys: [], noNullPrototype: true });
  const requests = fc.record({
    env: fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
    config: fc.uint8Array().map(encodeConfig),
    interfaceAttributes: attributes,
  }, { requiredKeys: ["env", "config"], noNullPrototype: true });
  fc.assert(fc.property(requests, (request) => {
    const text = encodeRequest(request);
    equal(encodeRequest(decodeRequest(text)), JSON.stringify(JSON.parse(text)));
  }));
});

const READABLE = [
  [
    "what Go writes for nothing",
    '{"env":{},"config":null,"interfaceAttributes":null}',
    { env: {}, config: "" },
  ],
  ["no configuration", '{"env":{"CNI_COMMAND":"GC"}}', {
    env: { CNI_COMMAND: "GC" },
    config: "",
  }],
  ["unknown keys", '{"env":{},"config":"e30=","more":1}', {
    env: {},
    config: "e30=",
  }],
  [
    "a hot-plug controller's",
    '{"env":{},"config":"","interfaceAttributes":{"ips":["10.0.0.1/24"],"mac":"02:00:00:00:00:01","cni-args":{"a":1}}}',
    {
      env: {},
      config: "",
      interfaceAttributes: {
        ips: ["10.0.0.1/24"],
        mac: "02:00:00:00:00:01",
        "cni-args": { a: 1 },
      },
    },
  ],
  [
    "empty attributes",
    '{"env":{},"config":"","interfaceAttributes":{"ips":null,"cni-args":null}}',
    { env: {}, config: "", interfaceAttributes: {} },
  ],
] as const;

Deno.test("decodeRequest() reads a request when keys are empty, unknown or absent", async (t) => {
  for (const [name, text, expected] of READABLE) {
    await t.step(name, () => deepEqual(decodeRequest(text), expected));
  }
});

Deno.test("decodeRequest() keeps a variable called __proto__ a variable", () => {
  const { env } = decodeRequest('{"env":{"__proto__":"x"}}');
  deepEqual(Object.entries(env), [["__proto__", "x"]]);
});

const BAD = [
  ["not JSON", "CNI", SyntaxError],
  ["nothing", "", SyntaxError],
  ["a list", "[]", TypeError],
  ["null", "null", TypeError],
  ["no env", "{}", TypeError],
  ["a number in env", '{"env":{"CNI_NETNS":1}}', TypeError],
  ["env a list", '{"env":[]}', TypeError],
  ["config not text", '{"env":{},"config":{}}', TypeError],
  ["config not base64", '{"env":{},"config":"{}"}', SyntaxError],
  ["attributes a text", '{"env":{},"interfaceAttributes":"x"}', TypeError],
  [
    "ips a text",
    '{"env":{},"interfaceAttributes":{"ips":"10.0.0.1"}}',
    TypeError,
  ],
  ["mac a number", '{"env":{},"interfaceAttributes":{"mac":1}}', TypeError],
  [
    "cni-args a list",
    '{"env":{},"interfaceAttributes":{"cni-args":[]}}',
    TypeError,
  ],
] as const;

Deno.test("decodeRequest() refuses wrong shapes", async (t) => {
  for (const [name, text, kind] of BAD) {
    await t.step(name, () => throws(() => decodeRequest(text), kind));
  }
});

Deno.test("decodeRequest() throws nothing but SyntaxError and TypeError on any JSON", () => {
  const values = fc.oneof(
    fc.jsonValue(),
    fc.record({ env: fc.jsonValue(), config: fc.jsonValue() }),
  );
  fc.assert(fc.property(values, (value) => {
    try {
      decodeRequest(JSON.stringify(value));
    } catch (error) {
      ok(
        error instanceof SyntaxError || error instanceof TypeError,
        String(error),
      );
    }
  }));
});

Deno.test("decodeConfig() gives the text that was packed", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    const request: CniRequest = {
      env: {},
      config: encodeConfig(new TextEncoder().encode(text)),
    };
    equal(decodeConfig(request), text.replace(/^\uFEFF/, ""));
  }));
});

Deno.test("decodeConfig() refuses bytes that are not UTF-8", () => {
  throws(
    () =>
      decodeConfig({ env: {}, config: encodeConfig(new Uint8Array([0xc3])) }),
    SyntaxError,
  );
});
