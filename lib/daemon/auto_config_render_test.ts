import assert from "node:assert/strict";
import fc from "fast-check";
import { parseConf } from "../cni/conf.ts";
import { CniError } from "../cni/error.ts";
import { SUPPORTED_VERSIONS } from "../cni/version.ts";
import {
  assertMultusConf,
  hostSocketDir,
  renderMultusConf,
} from "./auto_config_render.ts";
import { type DaemonConf, parseDaemonConf } from "./configuration.ts";
import { NO_FLAGS } from "./daemon_flags.ts";

const PATH = "/host/etc/cni/net.d/10-a.conflist";

function daemonConf(members: Record<string, unknown> = {}): DaemonConf {
  const text = JSON.stringify({ multusConfigFile: "auto", ...members });
  return parseDaemonConf(text, { path: "daemon-config.json", flags: NO_FLAGS });
}

function render(
  members: Record<string, unknown>,
  network: Record<string, unknown> = {},
): Record<string, unknown> {
  const list = parseConf(JSON.stringify({
    name: "primary",
    plugins: [{ type: "bridge" }],
    ...network,
  }));
  const text = renderMultusConf(daemonConf(members), { path: PATH, list });
  return JSON.parse(text);
}

Deno.test("renderMultusConf() writes what users of the Go Multus find", () => {
  const network = {
    cniVersion: "1.0.0",
    plugins: [
      { type: "calico", capabilities: { portMappings: false, ips: true } },
      { type: "portmap", capabilities: { portMappings: true } },
      { type: "bandwidth", capabilities: { bandwidth: true, mac: false } },
    ],
  };
  const members = {
    chrootDir: "/hostroot",
    socketDir: "/host/run/multus/",
    cniVersion: "0.3.1",
    logLevel: "verbose",
    logToStderr: true,
    cniConfigDir: "/host/etc/cni/net.d",
    namespaceIsolation: true,
    readinessindicatorfile: "/run/ready",
    logFile: null,
  };
  assert.deepEqual(render(members, network), {
    cniVersion: "1.0.0",
    name: "multus-cni-network",
    type: "multus-shim",
    clusterNetwork: PATH,
    capabilities: { bandwidth: true, ips: true, portMappings: true },
    daemonSocketDir: "/run/multus",
    logLevel: "verbose",
    logToStderr: true,
    namespaceIsolation: true,
    readinessindicatorfile: "/run/ready",
  });
});

Deno.test("renderMultusConf() passes on unknown keys and numbers as they are written", () => {
  const text =
    '{"multusConfigFile":"auto","shimWaitSeconds":9007199254740993,"x":{"b":1.0,"a":[ ]}}';
  const conf = parseDaemonConf(text, { path: "c.json", flags: NO_FLAGS });
  const list = parseConf('{"name":"a","type":"bridge"}');
  const out = renderMultusConf(conf, { path: PATH, list });
  assert.match(out, /"shimWaitSeconds": 9007199254740993,/);
  assert.match(out, /"x": \{"b":1\.0,"a":\[ \]\}/);
  assert.doesNotMatch(out, /multusConfigFile|capabilities/);
});

Deno.test("renderMultusConf() chooses the name and version that runtimes are to see", () => {
  const own = { cniVersion: "0.4.0" };
  const table: [
    what: string,
    conf: Record<string, unknown>,
    network: Record<string, unknown>,
    expected: [name: unknown, version: unknown],
  ][] = [
    ["nothing given", {}, {}, ["multus-cni-network", "0.1.0"]],
    ["configured", own, {}, ["multus-cni-network", "0.4.0"]],
    ["the network's wins", own, { cniVersion: "1.1.0" }, [
      "multus-cni-network",
      "1.1.0",
    ]],
    ["unless forced", { ...own, forceCNIVersion: true }, {
      cniVersion: "1.1.0",
    }, ["multus-cni-network", "0.4.0"]],
    ["forced to nothing", { forceCNIVersion: true }, { cniVersion: "1.0.0" }, [
      "multus-cni-network",
      "1.0.0",
    ]],
    ["highest known", {}, { cniVersions: ["0.4.0", "1.1.0", "9.0.0"] }, [
      "multus-cni-network",
      "1.1.0",
    ]],
    ["name of the network", { overrideNetworkName: true }, {}, [
      "primary",
      "0.1.0",
    ]],
    ["name configured", { name: "mine" }, {}, ["mine", "0.1.0"]],
  ];
  for (const [what, conf, network, expected] of table) {
    const { name, cniVersion } = render(conf, network);
    assert.deepEqual([name, cniVersion], expected, what);
  }
});

Deno.test("renderMultusConf() gives each version of the default network through", () => {
  for (const cniVersion of SUPPORTED_VERSIONS) {
    assert.equal(render({}, { cniVersion }).cniVersion, cniVersion);
  }
});

Deno.test("renderMultusConf() merges configured capabilities, one that is false stays off", () => {
  const plugins = [{ type: "a", capabilities: { mac: true, ips: true } }];
  const capabilities = { mac: false, bandwidth: true };
  assert.deepEqual(render({ capabilities }, { plugins }).capabilities, {
    bandwidth: true,
    ips: true,
  });
});

Deno.test("renderMultusConf() says the default network that the operator names", () => {
  const { clusterNetwork } = render({ clusterNetwork: "flannel" });
  assert.equal(clusterNetwork, "flannel");
});

Deno.test("renderMultusConf() writes what assertMultusConf() accepts, and always the same", () => {
  const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}$/);
  const network = fc.record({
    name,
    cniVersion: fc.constantFrom(...SUPPORTED_VERSIONS),
    plugins: fc.array(
      fc.record({
        type: name.filter((type) => !type.startsWith("multus")),
        capabilities: fc.dictionary(fc.string(), fc.boolean()),
      }),
      { minLength: 1, maxLength: 4 },
    ),
  });
  const unknown = fc.dictionary(
    fc.stringMatching(/^[x-z]\w*$/),
    fc.jsonValue(),
  );
  fc.assert(fc.property(network, unknown, (network, unknown) => {
    const conf = daemonConf(unknown);
    const list = parseConf(JSON.stringify(network));
    const text = renderMultusConf(conf, { path: PATH, list });
    assertMultusConf(text, { name: "00-multus.conf", conf });
    assert.equal(renderMultusConf(conf, { path: PATH, list }), text);
    assert.equal(JSON.parse(text).clusterNetwork, PATH);
  }));
});

Deno.test("assertMultusConf() refuses what is not whole, not Multus, or leads nowhere", () => {
  const table: [name: string, text: string, message: RegExp][] = [
    ["00-multus.conf", "", /^"00-multus.conf": Configuration is not JSON/],
    ["a.conf", '{"name":"a","type":"multus-shim"', /is not JSON/],
    ["a.conf", "[]", /must be a JSON object/],
    [
      "a.conf",
      '{"name":"a","type":"bridge"}',
      /not a configuration of Multus: type "bridge"/,
    ],
    [
      "a.conf",
      '{"name":"a","type":"multus-shim"}',
      /there is no default network/,
    ],
    [
      "a.conf",
      '{"name":"a","plugins":[{"type":"multus"}]}',
      /name it .conflist/,
    ],
    [
      "a.conflist",
      '{"name":"a","type":"multus","clusterNetwork":"b"}',
      /name it .conf/,
    ],
    [
      "a.conf",
      '{"name":"a","type":"multus","clusterNetwork":7}',
      /clusterNetwork: expected a string/,
    ],
    [
      "a.conf",
      '{"name":"a","type":"multus","delegates":[{"name":"b","type":"multus"}]}',
      /delegates\[0\] leads back to Multus/,
    ],
    [
      "a.conf",
      '{"name":"a","type":"multus","delegates":[{"type":"b"}]}',
      /"name" of the network is missing/,
    ],
  ];
  for (const [name, text, message] of table) {
    assert.throws(
      () => assertMultusConf(text, { name, conf: daemonConf() }),
      (error) => error instanceof CniError && message.test(error.message),
      text,
    );
  }
});

Deno.test("assertMultusConf() accepts both forms, and a default network of the daemon's", () => {
  const delegates = [{ name: "b", type: "bridge" }];
  const plugin = { type: "multus-shim", delegates };
  const list = JSON.stringify({ name: "a", plugins: [plugin] });
  const single = JSON.stringify({ name: "a", type: "multus" });
  assertMultusConf(list, { name: "a.conflist", conf: daemonConf() });
  const conf = daemonConf({ clusterNetwork: "b" });
  assertMultusConf(single, { name: "a.conf", conf });
});

Deno.test("hostSocketDir() gives the directory as the host sees it", () => {
  const table: [members: Record<string, unknown>, expected: string][] = [
    [{}, "/run/multus"],
    [{ socketDir: "/run/other/" }, "/run/other"],
    [{ socketDir: "/host/run/x", chrootDir: "/hostroot" }, "/run/x"],
    [{ socketDir: "/hostroot/run/x", chrootDir: "/hostroot/" }, "/run/x"],
    [{ socketDir: "/run/x", chrootDir: "/hostroot" }, "/run/x"],
    [{ socketDir: "/hostess/run", chrootDir: "/hostroot" }, "/hostess/run"],
    [{ socketDir: "/host/run/x" }, "/host/run/x"],
    [{ socketDir: "/host/run/x", daemonSocketDir: "/run/y" }, "/run/y"],
    [{ daemonSocketDir: "" }, "/run/multus"],
  ];
  for (const [members, expected] of table) {
    assert.equal(hostSocketDir(daemonConf(members)), expected);
  }
});
