import assert from "node:assert/strict";
import fc from "fast-check";
import { CniError } from "./error.ts";
import { familyOf } from "./ip.ts";
import {
  formatResult,
  type Interface,
  type IPConfig,
  parseResult,
  readResult,
  type Result,
  type Route,
} from "./result.ts";
import { SUPPORTED_VERSIONS } from "./version.ts";

const OLD = ["0.1.0", "0.2.0"];
const WITH_FAMILY = ["0.3.0", "0.3.1", "0.4.0"];
const LATEST = "1.1.0";

/** Everything that a result can say. */
const FULL: Result = {
  interfaces: [
    { name: "br0", mac: "02:00:00:00:00:01", mtu: 9000 },
    {
      name: "eth0",
      mac: "02:00:00:00:00:02",
      sandbox: "/var/run/netns/a",
      socketPath: "/run/vhost.sock",
      pciID: "0000:00:01.0",
    },
  ],
  ips: [
    { address: "10.1.0.5/16", gateway: "10.1.0.1", interface: 1 },
    { address: "fd00::5/64", gateway: "fd00::1", interface: 1 },
    { address: "10.2.0.5/16", interface: 0 },
  ],
  routes: [
    { dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, advmss: 1360, priority: 10 },
    { dst: "::/0", table: 100, scope: 0 },
    { dst: "10.9.0.0/16" },
  ],
  dns: {
    nameservers: ["10.1.0.1"],
    domain: "example.org",
    search: ["a.example.org"],
    options: ["ndots:5"],
  },
};

/** What stays of a result that was written in a version. */
function kept(result: Result, version: string): Result {
  if (version === LATEST) return result;
  const { dns, ips } = result;
  const route = ({ dst, gw }: Route): Route => ({ dst, ...(gw ? { gw } : {}) });
  const routes = result.routes.map(route);
  if (!OLD.includes(version)) {
    const interfaces = result.interfaces.map(({ name, mac, sandbox }) => ({
      name,
      ...(mac ? { mac } : {}),
      ...(sandbox ? { sandbox } : {}),
    }));
    return { interfaces, ips, routes, ...(dns ? { dns } : {}) };
  }
  const firsts = ([4, 6] as const).flatMap((family) => {
    const ip = ips.find(({ address }) => familyOf(address) === family);
    return ip === undefined ? [] : [{ family, ip }];
  });
  return {
    interfaces: [],
    ips: firsts.map(({ ip: { address, gateway } }) => ({
      address,
      ...(gateway ? { gateway } : {}),
    })),
    routes: firsts.flatMap(({ family }) =>
      routes.filter(({ dst }) => familyOf(dst) === family)
    ),
    ...(dns ? { dns } : {}),
  };
}

function errorOf(run: () => unknown): CniError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return error;
  }
  assert.fail("Nothing was thrown");
}

Deno.test("formatResult() writes the shape of each version", () => {
  for (const version of SUPPORTED_VERSIONS) {
    const written = formatResult(FULL, version);
    assert.equal(written.cniVersion, version);
    assert.deepEqual(written.dns, FULL.dns);
    assert.equal("ip4" in written, OLD.includes(version), version);
    assert.equal("ips" in written, !OLD.includes(version), version);
    const text = JSON.stringify(written);
    assert.equal(text.includes('"version"'), WITH_FAMILY.includes(version));
    assert.equal(/mtu|advmss|socketPath|pciID/.test(text), version === LATEST);
    assert.equal(/priority|table|scope/.test(text), version === LATEST);
  }
});

Deno.test("formatResult() writes one address of each family before 0.3.0", () => {
  for (const version of OLD) {
    assert.deepEqual(formatResult(FULL, version), {
      cniVersion: version,
      ip4: {
        ip: "10.1.0.5/16",
        gateway: "10.1.0.1",
        routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }, { dst: "10.9.0.0/16" }],
      },
      ip6: { ip: "fd00::5/64", gateway: "fd00::1", routes: [{ dst: "::/0" }] },
      dns: FULL.dns,
    });
  }
});

Deno.test("formatResult() works the family out from the address up to 0.4.0", () => {
  for (const version of WITH_FAMILY) {
    const { ips } = formatResult(FULL, version);
    assert.deepEqual(ips, [
      {
        version: "4",
        address: "10.1.0.5/16",
        gateway: "10.1.0.1",
        interface: 1,
      },
      { version: "6", address: "fd00::5/64", gateway: "fd00::1", interface: 1 },
      { version: "4", address: "10.2.0.5/16", interface: 0 },
    ]);
  }
});

Deno.test("formatResult() leaves out what is empty", () => {
  const empty: Result = { interfaces: [], ips: [], routes: [], dns: {} };
  const noDns: Result = { ...empty, dns: { nameservers: [], search: [] } };
  for (const version of SUPPORTED_VERSIONS.filter((v) => !OLD.includes(v))) {
    assert.deepEqual(formatResult(empty, version), { cniVersion: version });
    assert.deepEqual(formatResult(noDns, version), { cniVersion: version });
  }
});

Deno.test("formatResult() says that an old version cannot hold a result without address", () => {
  const result: Result = { interfaces: [{ name: "a" }], ips: [], routes: [] };
  for (const version of OLD) {
    const error = errorOf(() => formatResult(result, version));
    assert.equal(error.code, 1);
    assert.equal(
      error.message,
      `A result without any IP address cannot be written in CNI version ${version}`,
    );
  }
});

Deno.test("formatResult() and parseResult() refuse a version that is not spoken", () => {
  for (const version of ["", "9.9.9", "1.1", "x"]) {
    assert.equal(errorOf(() => formatResult(FULL, version)).code, 1);
    assert.equal(errorOf(() => parseResult("{}", version)).code, 1);
  }
  assert.equal(
    errorOf(() => parseResult('{"cniVersion":"9.9.9"}', LATEST)).code,
    1,
  );
});

Deno.test("parseResult() reads back what stays in each version", () => {
  for (const version of SUPPORTED_VERSIONS) {
    const text = JSON.stringify(formatResult(FULL, version));
    assert.deepEqual(parseResult(text, "0.1.0"), kept(FULL, version), version);
  }
});

Deno.test("parseResult() reads a result without version as of the configuration", () => {
  for (const version of SUPPORTED_VERSIONS) {
    const { cniVersion: _, ...rest } = formatResult(FULL, version);
    const expected = kept(FULL, version);
    assert.deepEqual(parseResult(JSON.stringify(rest), version), expected);
    const empty = JSON.stringify({ cniVersion: "", ...rest });
    assert.deepEqual(parseResult(empty, version), expected);
  }
});

Deno.test("parseResult() drops unknown keys and what is empty or null", () => {
  const text = JSON.stringify({
    cniVersion: LATEST,
    interfaces: [{ name: "a", mac: "", sandbox: null, more: 1 }, {}],
    ips: [{
      address: "10.0.0.1/8",
      version: "4",
      gateway: "",
      interface: 0,
      more: 1,
    }],
    routes: null,
    dns: { nameservers: [], domain: "", more: 1 },
    more: { nested: true },
  });
  assert.deepEqual(parseResult(text, LATEST), {
    interfaces: [{ name: "a" }, { name: "" }],
    ips: [{ address: "10.0.0.1/8", interface: 0 }],
    routes: [],
  });
});

Deno.test("parseResult() keeps zeros and does not trust ips[].version", () => {
  const ips = [{ version: "6", address: "10.0.0.1/8", interface: 0 }];
  const routes = [{ dst: "10.0.0.0/8", table: 0, scope: 0 }];
  const result = readResult({ cniVersion: LATEST, ips, routes }, LATEST);
  assert.deepEqual(result.routes, routes);
  const { ips: written } = formatResult(result, "0.4.0");
  assert.deepEqual(written, [{
    version: "4",
    address: "10.0.0.1/8",
    interface: 0,
  }]);
});

Deno.test("parseResult() names the place of what is wrong", () => {
  const of = (value: unknown): string => JSON.stringify(value);
  const table: [text: string, version: string, message: string | RegExp][] = [
    ["", LATEST, "Result is not JSON: Unexpected end of JSON input"],
    ["eth0 added", LATEST, /^Result is not JSON: /],
    ["[]", LATEST, "The result must be an object: an array"],
    ["null", LATEST, "The result must be an object: null"],
    [of({ cniVersion: 1 }), LATEST, "cniVersion must be a string: 1"],
    [of({ ips: {} }), LATEST, "ips must be a list: an object"],
    [of({ ips: [5] }), LATEST, "ips[0] must be an object: 5"],
    [of({ ips: [{}] }), LATEST, "ips[0].address is missing"],
    [
      of({ ips: [{ address: "10.0.0.1" }] }),
      LATEST,
      'ips[0].address must be an IP address with prefix length: "10.0.0.1"',
    ],
    [
      of({ ips: [{ address: "10.0.0.1/8", gateway: "10.0.0.1/8" }] }),
      LATEST,
      'ips[0].gateway must be an IP address: "10.0.0.1/8"',
    ],
    [
      of({ ips: [{ address: "10.0.0.1/8", interface: "0" }] }),
      LATEST,
      'ips[0].interface must be an integer: "0"',
    ],
    [
      of({ interfaces: [null] }),
      LATEST,
      "interfaces[0] must be an object: null",
    ],
    [
      of({ interfaces: [{}, { name: [] }] }),
      LATEST,
      "interfaces[1].name must be a string: an array",
    ],
    [
      of({ interfaces: [{ name: "a", mtu: 1.5 }] }),
      LATEST,
      "interfaces[0].mtu must be an integer: 1.5",
    ],
    [of({ routes: [{ gw: "10.0.0.1" }] }), LATEST, "routes[0].dst is missing"],
    [
      of({ routes: [{ dst: "default" }] }),
      LATEST,
      'routes[0].dst must be an IP address with prefix length: "default"',
    ],
    [of({ dns: [] }), LATEST, "dns must be an object: an array"],
    [
      of({ dns: { search: "a" } }),
      LATEST,
      'dns.search must be a list of strings: "a"',
    ],
    [of({ ip4: {} }), "0.2.0", "ip4.ip is missing"],
    [of({ ip6: [] }), "0.2.0", "ip6 must be an object: an array"],
    [
      of({ ip4: { ip: "10.0.0.1/8", routes: [{ dst: "x" }] } }),
      "0.1.0",
      'ip4.routes[0].dst must be an IP address with prefix length: "x"',
    ],
  ];
  for (const [text, version, message] of table) {
    const error = errorOf(() => parseResult(text, version));
    assert.equal(error.code, 6, text);
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
  }
});

const word = fc.stringMatching(/^[a-z0-9:._/-]{1,12}$/);
const words = fc.array(word, { minLength: 1, maxLength: 3 });
const ip = fc.oneof(fc.ipV4(), fc.ipV6());
const cidr = fc.oneof(
  fc.tuple(fc.ipV4(), fc.nat(32)),
  fc.tuple(fc.ipV6(), fc.nat(128)),
).map((parts) => parts.join("/"));
const number = fc.nat();
const interfaces: fc.Arbitrary<Interface> = fc.record({
  name: word,
  mac: word,
  mtu: number,
  sandbox: word,
  socketPath: word,
  pciID: word,
}, { requiredKeys: ["name"], noNullPrototype: true });
const ips: fc.Arbitrary<IPConfig> = fc.record(
  { address: cidr, gateway: ip, interface: number },
  { requiredKeys: ["address"], noNullPrototype: true },
);
const routes: fc.Arbitrary<Route> = fc.record({
  dst: cidr,
  gw: ip,
  mtu: number,
  advmss: number,
  priority: number,
  table: number,
  scope: number,
}, { requiredKeys: ["dst"], noNullPrototype: true });
const dns = fc.record(
  { nameservers: words, domain: word, search: words, options: words },
  { requiredKeys: [], noNullPrototype: true },
).filter((value) => Object.keys(value).length > 0);
const results: fc.Arbitrary<Result> = fc.record({
  interfaces: fc.array(interfaces, { maxLength: 3 }),
  ips: fc.array(ips, { minLength: 1, maxLength: 4 }),
  routes: fc.array(routes, { maxLength: 4 }),
  dns,
}, { requiredKeys: ["interfaces", "ips", "routes"], noNullPrototype: true });

Deno.test("formatResult() and parseResult() round-trip in every version", () => {
  for (const version of SUPPORTED_VERSIONS) {
    fc.assert(fc.property(results, (result) => {
      const text = JSON.stringify(formatResult(result, version));
      assert.deepEqual(parseResult(text, LATEST), kept(result, version));
    }));
  }
});

Deno.test("a result written in one version and then another is as if written in the older", () => {
  const version = fc.constantFrom(...SUPPORTED_VERSIONS);
  fc.assert(fc.property(results, version, version, (result, a, b) => {
    const [older = a, newer = b] = [a, b].sort();
    const through = readResult(formatResult(result, newer), newer);
    assert.deepEqual(
      formatResult(through, older),
      formatResult(readResult(formatResult(result, older), older), older),
    );
  }));
});

Deno.test("no value makes readResult() throw anything but a CniError of code 1 or 6", () => {
  const thing = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("10.0.0.1/8", "", null),
  );
  const near = fc.record({
    cniVersion: fc.oneof(
      fc.constantFrom(...SUPPORTED_VERSIONS),
      fc.jsonValue(),
    ),
    interfaces: fc.array(fc.record({ name: thing, mtu: thing })),
    ips: fc.array(fc.record({ address: thing, gateway: thing })),
    routes: fc.oneof(fc.array(fc.record({ dst: thing })), thing),
    ip4: fc.oneof(fc.record({ ip: thing, routes: thing }), thing),
    dns: fc.oneof(fc.record({ search: thing }), thing),
  }, { requiredKeys: [], noNullPrototype: true });
  const version = fc.constantFrom(...SUPPORTED_VERSIONS);
  fc.assert(
    fc.property(fc.oneof(near, fc.anything()), version, (value, version) => {
      try {
        const { interfaces } = readResult(value, version);
        assert.ok(interfaces.every(({ name }) => typeof name === "string"));
      } catch (error) {
        assert.ok(error instanceof CniError, String(error));
        assert.ok([1, 6].includes(error.code));
      }
    }),
  );
});
