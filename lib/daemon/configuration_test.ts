import assert from "node:assert/strict";
import fc from "fast-check";
import { CniError } from "../cni/error.ts";
import {
  assertDefaultNetwork,
  type DaemonConf,
  DEFAULT_DAEMON_CONFIG,
  loadDaemonConf,
  mergeConf,
  type MultusConf,
  parseDaemonConf,
  parseShimConf,
} from "./configuration.ts";
import { NO_FLAGS } from "./daemon_flags.ts";

const PATH = "/etc/daemon-config.json";

function daemonOf(
  value: unknown,
  overrides: Record<string, string | number | boolean> = {},
): DaemonConf {
  const flags = { ...NO_FLAGS, overrides };
  return parseDaemonConf(JSON.stringify(value), { path: PATH, flags });
}

function merged(shim: unknown, daemon: unknown = {}): MultusConf {
  return mergeConf(parseShimConf(JSON.stringify(shim)), daemonOf(daemon));
}

/** The one line that a wrong configuration comes to. */
function messageOf(parse: () => unknown): string {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    assert.ok(error.code === 6 || error.code === 7);
    assert.ok(!error.message.includes("\n"));
    return `${error.code} ${error.message}`;
  }
  return "nothing was thrown";
}

Deno.test("mergeConf() gives the defaults that users know", () => {
  assert.deepEqual(merged({}), {
    name: "multus-cni-network",
    cniVersion: "0.1.0",
    confDir: "/etc/cni/multus/net.d",
    cniDir: "/var/lib/cni/multus",
    binDir: "/opt/cni/bin",
    defaultNetworks: [],
    delegates: [],
    systemNamespaces: ["kube-system"],
    multusNamespace: "kube-system",
    namespaceIsolation: false,
    globalNamespaces: ["default"],
    capabilities: {},
    retryDeleteOnError: false,
    logLevel: "panic",
    logToStderr: true,
    logOptions: {
      maxAgeDays: 5,
      maxSizeMegabytes: 100,
      maxBackups: 5,
      compress: true,
    },
    daemonSocketDir: "/run/multus",
    requestTimeoutMs: 160_000,
    pluginTimeoutMs: 90_000,
    text: "{}",
    warnings: [],
  });
});

Deno.test("parseDaemonConf() gives the daemon's own defaults", () => {
  const { document: _, ...conf } = daemonOf({});
  const { text: __, ...common } = merged({});
  assert.deepEqual(conf, {
    ...common,
    text: "{}",
    path: PATH,
    socketDir: "/run/multus",
    metricsBindAddress: "0.0.0.0",
    cniConfigDir: "/etc/cni/net.d",
    multusAutoconfigDir: "/etc/cni/net.d",
    libexecDir: "/usr/libexec/multus",
    podResourcesSocket: "/var/lib/kubelet/pod-resources/kubelet.sock",
    deviceCheckpoint:
      "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
    deviceInfoDir: "/var/run/k8s.cni.cncf.io/devinfo",
    forceCNIVersion: false,
    overrideNetworkName: false,
    enablePprof: false,
    cleanupConfigOnExit: false,
    logFormat: "text",
    shutdownTimeoutMs: 25_000,
  });
});

// Every key of both tables: where it is written, and what comes of it.
const MULTUS_KEYS: [
  key: string,
  value: unknown,
  expected: Partial<MultusConf>,
][] = [
  ["name", "n", { name: "n" }],
  ["cniVersion", "1.0.0", { cniVersion: "1.0.0" }],
  ["confDir", "/c", { confDir: "/c" }],
  ["cniDir", "/c", { cniDir: "/c" }],
  ["binDir", "/b", { binDir: "/b" }],
  ["kubeconfig", "/k", { kubeconfig: "/k" }],
  ["clusterNetwork", "net", { clusterNetwork: "net" }],
  ["defaultNetworks", ["a"], { defaultNetworks: ["a"] }],
  ["delegates", [{ type: "x" }], { delegates: ['{"type":"x"}'] }],
  ["systemNamespaces", [], { systemNamespaces: [] }],
  ["multusNamespace", "m", { multusNamespace: "m" }],
  ["namespaceIsolation", true, { namespaceIsolation: true }],
  ["globalNamespaces", "a, b,", { globalNamespaces: ["a", "b"] }],
  ["readinessindicatorfile", "/r", { readinessIndicatorFile: "/r" }],
  ["capabilities", { ips: true }, { capabilities: { ips: true } }],
  ["runtimeConfig", { a: 1 }, { runtimeConfig: '{"a":1}' }],
  ["retryDeleteOnError", true, { retryDeleteOnError: true }],
  ["auxiliaryCNIChainName", "aux", { auxiliaryCNIChainName: "aux" }],
  ["logFile", "/l", { logFile: "/l" }],
  ["logLevel", "debug", { logLevel: "debug" }],
  ["logToStderr", false, { logToStderr: false }],
  ["logOptions", { maxAge: 1, compress: false }, {
    logOptions: {
      maxAgeDays: 1,
      maxSizeMegabytes: 100,
      maxBackups: 5,
      compress: false,
    },
  }],
  ["daemonSocketDir", "/s", { daemonSocketDir: "/s" }],
];

for (const [key, value, expected] of MULTUS_KEYS) {
  Deno.test(`mergeConf() takes ${key} from the shim, in any case, and lets the daemon override it`, () => {
    const wanted = (conf: MultusConf): Partial<MultusConf> =>
      Object.fromEntries(
        Object.entries(conf).filter(([name]) => Object.hasOwn(expected, name)),
      );
    const spellings = [key, key.toUpperCase(), key.toLowerCase()];
    for (const spelling of spellings) {
      assert.deepEqual(wanted(merged({ [spelling]: value })), expected);
      const both = merged({ [spelling]: null }, { [spelling]: value });
      assert.deepEqual(wanted(both), expected);
      assert.deepEqual(wanted(daemonOf({ [spelling]: value })), expected);
    }
  });
}

const DAEMON_KEYS: [
  key: string,
  value: unknown,
  expected: Partial<DaemonConf>,
][] = [
  ["chrootDir", "/hostroot", { chrootDir: "/hostroot" }],
  ["socketDir", "/s", { socketDir: "/s" }],
  ["metricsPort", 0, { metricsPort: 0 }],
  ["metricsBindAddress", "127.0.0.1", { metricsBindAddress: "127.0.0.1" }],
  ["connectionLimit", 7, { connectionLimit: 7 }],
  ["multusConfigFile", "auto", { multusConfigFile: "auto" }],
  ["multusAutoconfigDir", "/a", { multusAutoconfigDir: "/a" }],
  ["cniConfigDir", "/a", { cniConfigDir: "/a", multusAutoconfigDir: "/a" }],
  ["multusMasterCNI", "x.conf", { multusMasterCNI: "x.conf" }],
  ["forceCNIVersion", true, { forceCNIVersion: true }],
  ["overrideNetworkName", true, { overrideNetworkName: true }],
  ["perNodeCertificate", {
    enabled: true,
    bootstrapKubeconfig: "/k",
    certDuration: "1h30m",
  }, {
    perNodeCertificate: {
      bootstrapKubeconfig: "/k",
      certDir: "/etc/cni/multus/certs",
      certDurationMs: 5_400_000,
    },
  }],
  ["libexecDir", "/l", { libexecDir: "/l" }],
  ["serviceAccountDir", "/s", { serviceAccountDir: "/s" }],
  ["podResourcesSocket", "/p", { podResourcesSocket: "/p" }],
  ["deviceCheckpoint", "/p", { deviceCheckpoint: "/p" }],
  ["deviceInfoDir", "/p", { deviceInfoDir: "/p" }],
  ["enablePprof", true, { enablePprof: true }],
  ["cleanupConfigOnExit", true, { cleanupConfigOnExit: true }],
  ["logFormat", "json", { logFormat: "json" }],
  ["addConcurrency", 3, { addConcurrency: 3 }],
  ["requestTimeoutSeconds", 32, {
    requestTimeoutMs: 32_000,
    pluginTimeoutMs: 18_000,
  }],
  ["pluginTimeoutSeconds", 300, { pluginTimeoutMs: 160_000 }],
  ["shutdownTimeoutSeconds", 5, { shutdownTimeoutMs: 5_000 }],
];

for (const [key, value, expected] of DAEMON_KEYS) {
  Deno.test(`parseDaemonConf() takes ${key}`, () => {
    const conf = daemonOf({ [key]: value });
    assert.deepEqual({ ...conf, ...expected }, conf);
    assert.notDeepEqual({ ...daemonOf({}), document: 0, text: 0 }, {
      ...conf,
      document: 0,
      text: 0,
    });
  });
}

Deno.test("parseDaemonConf() takes what is off for absent", () => {
  const conf = daemonOf({
    connectionLimit: 0,
    perNodeCertificate: { enabled: false },
    chrootDir: "",
    multusConfigFile: null,
  });
  for (
    const key of [
      "connectionLimit",
      "perNodeCertificate",
      "chrootDir",
      "multusConfigFile",
    ]
  ) assert.ok(!Object.hasOwn(conf, key), key);
});

Deno.test("mergeConf() takes the timeouts from the daemon alone", () => {
  const conf = merged({ requestTimeoutSeconds: 1, pluginTimeoutSeconds: "x" }, {
    requestTimeoutSeconds: 100,
    pluginTimeoutSeconds: 20,
  });
  assert.deepEqual(
    [conf.requestTimeoutMs, conf.pluginTimeoutMs],
    [100_000, 20_000],
  );
});

const WRONG: [key: string, value: unknown, message: string][] = [
  ["name", 1, "name: expected a string, found 1"],
  [
    "type",
    "bridge",
    'type: expected "multus-shim" or "multus", found "bridge"',
  ],
  ["type", 1, 'type: expected "multus-shim" or "multus", found 1'],
  ["cniVersion", 1.1, "cniVersion: expected a string, found 1.1"],
  ["confDir", ["a"], "confDir: expected a string, found a list"],
  ["cniDir", {}, "cniDir: expected a string, found an object"],
  ["binDir", false, "binDir: expected a string, found false"],
  ["kubeconfig", 0, "kubeconfig: expected a string, found 0"],
  ["clusterNetwork", ["a"], "clusterNetwork: expected a string, found a list"],
  [
    "defaultNetworks",
    "a",
    'defaultNetworks: expected a list of strings, found "a"',
  ],
  [
    "defaultNetworks",
    ["a", 1],
    "defaultNetworks[1]: expected a string, found 1",
  ],
  [
    "delegates",
    {},
    "delegates: expected a list of CNI configurations, found an object",
  ],
  [
    "delegates",
    [{}, "x"],
    'delegates[1]: expected an object, found "x"',
  ],
  [
    "systemNamespaces",
    [null],
    "systemNamespaces[0]: expected a string, found null",
  ],
  ["multusNamespace", 1, "multusNamespace: expected a string, found 1"],
  [
    "namespaceIsolation",
    "true",
    'namespaceIsolation: expected true or false, found "true"',
  ],
  [
    "globalNamespaces",
    ["a"],
    "globalNamespaces: expected a string, found a list",
  ],
  [
    "readinessindicatorfile",
    true,
    "readinessindicatorfile: expected a string, found true",
  ],
  ["capabilities", [], "capabilities: expected an object, found a list"],
  [
    "capabilities",
    { ips: "yes" },
    'capabilities.ips: expected true or false, found "yes"',
  ],
  [
    "retryDeleteOnError",
    1,
    "retryDeleteOnError: expected true or false, found 1",
  ],
  [
    "auxiliaryCNIChainName",
    1,
    "auxiliaryCNIChainName: expected a string, found 1",
  ],
  ["logFile", 1, "logFile: expected a string, found 1"],
  ["logLevel", 1, "logLevel: expected a string, found 1"],
  ["logToStderr", "no", 'logToStderr: expected true or false, found "no"'],
  ["logOptions", 1, "logOptions: expected an object, found 1"],
  [
    "logOptions",
    { maxAge: "5" },
    'logOptions.maxAge: expected a whole number from 0 to 36500, found "5"',
  ],
  [
    "logOptions",
    { maxSize: 1.5 },
    "logOptions.maxSize: expected a whole number from 0 to 1000000, found 1.5",
  ],
  [
    "logOptions",
    { maxBackups: -1 },
    "logOptions.maxBackups: expected a whole number from 0 to 10000, found -1",
  ],
  [
    "logOptions",
    { compress: 1 },
    "logOptions.compress: expected true or false, found 1",
  ],
  ["daemonSocketDir", 1, "daemonSocketDir: expected a string, found 1"],
];

const WRONG_DAEMON: [key: string, value: unknown, message: string][] = [
  ["chrootDir", 1, "chrootDir: expected a string, found 1"],
  ["socketDir", 1, "socketDir: expected a string, found 1"],
  [
    "metricsPort",
    "9091",
    'metricsPort: expected a whole number from 0 to 65535, found "9091"',
  ],
  [
    "metricsPort",
    65536,
    "metricsPort: expected a whole number from 0 to 65535, found 65536",
  ],
  [
    "connectionLimit",
    -1,
    `connectionLimit: expected a whole number from 0 to ${Number.MAX_SAFE_INTEGER}, found -1`,
  ],
  [
    "multusConfigFile",
    true,
    "multusConfigFile: expected a string, found true",
  ],
  ["multusAutoconfigDir", 1, "multusAutoconfigDir: expected a string, found 1"],
  ["cniConfigDir", 1, "cniConfigDir: expected a string, found 1"],
  ["multusMasterCNI", 1, "multusMasterCNI: expected a string, found 1"],
  [
    "forceCNIVersion",
    "1.0.0",
    'forceCNIVersion: expected true or false, found "1.0.0"',
  ],
  [
    "overrideNetworkName",
    "x",
    'overrideNetworkName: expected true or false, found "x"',
  ],
  [
    "perNodeCertificate",
    true,
    "perNodeCertificate: expected an object, found true",
  ],
  [
    "perNodeCertificate",
    { enabled: 1 },
    "perNodeCertificate.enabled: expected true or false, found 1",
  ],
  [
    "perNodeCertificate",
    { certDuration: "a day" },
    'perNodeCertificate.certDuration: expected a duration such as "24h", found "a day"',
  ],
  [
    "perNodeCertificate",
    { certDuration: 10 },
    'perNodeCertificate.certDuration: expected a duration such as "24h", found 10',
  ],
  ["libexecDir", 1, "libexecDir: expected a string, found 1"],
  ["serviceAccountDir", 1, "serviceAccountDir: expected a string, found 1"],
  ["podResourcesSocket", 1, "podResourcesSocket: expected a string, found 1"],
  ["deviceCheckpoint", 1, "deviceCheckpoint: expected a string, found 1"],
  ["deviceInfoDir", 1, "deviceInfoDir: expected a string, found 1"],
  ["enablePprof", 1, "enablePprof: expected true or false, found 1"],
  [
    "cleanupConfigOnExit",
    "x",
    'cleanupConfigOnExit: expected true or false, found "x"',
  ],
  ["metricsBindAddress", 1, "metricsBindAddress: expected a string, found 1"],
  ["logFormat", "xml", 'logFormat: expected "text" or "json", found "xml"'],
  [
    "addConcurrency",
    0,
    "addConcurrency: expected a whole number from 1 to 1000, found 0",
  ],
  [
    "requestTimeoutSeconds",
    "2m",
    'requestTimeoutSeconds: expected a whole number from 1 to 3600, found "2m"',
  ],
  [
    "pluginTimeoutSeconds",
    0.5,
    "pluginTimeoutSeconds: expected a whole number from 1 to 3600, found 0.5",
  ],
  [
    "shutdownTimeoutSeconds",
    -1,
    "shutdownTimeoutSeconds: expected a whole number from 1 to 3600, found -1",
  ],
];

Deno.test("parseShimConf() says in one line what is wrong with a key", () => {
  for (const [key, value, message] of WRONG) {
    assert.equal(
      messageOf(() => parseShimConf(JSON.stringify({ [key]: value }))),
      `7 Multus CNI configuration: ${message}`,
    );
  }
});

Deno.test("parseDaemonConf() says in one line what is wrong with a key, and in which file", () => {
  for (const [key, value, message] of [...WRONG, ...WRONG_DAEMON]) {
    assert.equal(
      messageOf(() => daemonOf({ [key]: value })),
      `7 ${PATH}: ${message}`,
    );
  }
});

Deno.test("parseDaemonConf() and parseShimConf() name line and column of what is no JSON", () => {
  const text = '{\n  "name": "a"\n  "type": "multus"\n}';
  const place = "not JSON at line 3, column 3";
  assert.equal(
    messageOf(() => parseShimConf(text)),
    `6 Multus CNI configuration: ${place}`,
  );
  assert.equal(
    messageOf(() => parseDaemonConf(text, { path: PATH, flags: NO_FLAGS })),
    `6 ${PATH}: ${place}`,
  );
  assert.equal(
    messageOf(() => parseShimConf("")),
    "6 Multus CNI configuration: not JSON at line 1, column 1: the text is empty",
  );
});

Deno.test("parseShimConf() refuses what is no object", () => {
  for (
    const [text, found] of [
      ["[]", "a list"],
      ["null", "null"],
      ["1", "1"],
      ['"x"', '"x"'],
    ]
  ) {
    assert.equal(
      messageOf(() => parseShimConf(text ?? "")),
      `7 Multus CNI configuration: expected an object, found ${found}`,
    );
  }
});

Deno.test("parseShimConf() refuses a wrong value that the runtime put in", () => {
  for (
    const [key, value] of [
      ["runtimeConfig", 1],
      ["runtimeConfig", []],
      ["cni.dev/valid-attachments", {}],
      ["cni.dev/valid-attachments", [{ containerID: "c" }]],
      ["cni.dev/attachments", [null]],
    ] as const
  ) {
    assert.match(
      messageOf(() => parseShimConf(JSON.stringify({ [key]: value }))),
      /^7 Multus CNI configuration: (runtimeConfig|cni\.dev\/valid-attachments)/,
    );
  }
});

Deno.test("mergeConf() keeps delegates and runtimeConfig byte for byte", () => {
  const delegate = '{ "type":"x", "big": 9007199254740993, "one": 1.0 }';
  const runtimeConfig = '{"portMappings" : [ {"hostPort":1.0} ]}';
  const text =
    `{"type":"multus","delegates":[ ${delegate} , {"type":"y"}],"runtimeConfig":${runtimeConfig}}`;
  const conf = mergeConf(parseShimConf(text), daemonOf({}));
  assert.deepEqual(conf.delegates, [delegate, '{"type":"y"}']);
  assert.equal(conf.runtimeConfig, runtimeConfig);
});

Deno.test("mergeConf() passes unknown keys on, the daemon's over the shim's", () => {
  const shim = parseShimConf(
    '{"type":"multus","x":9007199254740993,"y":{"a":1.0},"__proto__":{"z":1}}',
  );
  const daemon = parseDaemonConf('{"y":[2.0],"logfile":"/l","w":null}', {
    path: PATH,
    flags: NO_FLAGS,
  });
  const { text, logFile } = mergeConf(shim, daemon);
  assert.equal(
    text,
    '{"type":"multus","x":9007199254740993,"y":[2.0],"__proto__":{"z":1},"w":null,"logFile":"/l"}',
  );
  assert.equal(logFile, "/l");
});

Deno.test("mergeConf() takes a key's own spelling before any other", () => {
  assert.equal(merged({ LOGFILE: "/a", logFile: "/b" }).logFile, "/b");
  assert.equal(merged({ logFile: "/b", LOGFILE: "/a" }).logFile, "/b");
});

Deno.test("mergeConf() gives what belongs to one request only to that request", () => {
  const daemon = daemonOf({});
  const base = { type: "multus-shim", name: "n", clusterNetwork: "a" };
  const first = parseShimConf(JSON.stringify({
    ...base,
    runtimeConfig: { a: 1 },
    prevResult: { cniVersion: "1.0.0" },
    "cni.dev/valid-attachments": [{ containerID: "c", ifname: "eth0", x: 1 }],
  }));
  const second = parseShimConf(JSON.stringify(base));
  assert.equal(first.document, second.document);
  const conf = mergeConf(first, daemon);
  assert.equal(conf.runtimeConfig, '{"a":1}');
  assert.equal(conf.prevResult, '{"cniVersion":"1.0.0"}');
  assert.deepEqual(conf.validAttachments, [
    { containerID: "c", ifname: "eth0" },
  ]);
  const plain = mergeConf(second, daemon);
  assert.equal(plain.delegates, conf.delegates);
  assert.deepEqual(
    [plain.runtimeConfig, plain.prevResult, plain.validAttachments],
    [undefined, undefined, undefined],
  );
  assert.equal(plain.text, JSON.stringify(base));
});

Deno.test("mergeConf() reads a content once, and again when it or the daemon's changes", () => {
  const text = JSON.stringify({ type: "multus", clusterNetwork: "once" });
  const daemon = daemonOf({ confDir: "/one" });
  const first = mergeConf(parseShimConf(text), daemon);
  const again = mergeConf(parseShimConf(text), daemon);
  assert.equal(first.logOptions, again.logOptions);
  const reloaded = mergeConf(
    parseShimConf(text),
    daemonOf({ confDir: "/two" }),
  );
  assert.equal(reloaded.confDir, "/two");
  const changed = mergeConf(
    parseShimConf(JSON.stringify({ type: "multus", clusterNetwork: "other" })),
    daemon,
  );
  assert.equal(changed.clusterNetwork, "other");
});

Deno.test("mergeConf() takes levels of other programs for the nearest one, and says so", () => {
  const table = [
    ["debug", "debug", 0],
    ["Verbose", "verbose", 0],
    ["", "panic", 0],
    ["info", "verbose", 1],
    ["WARN", "error", 1],
    ["loud", "panic", 1],
    ["constructor", "panic", 1],
  ] as const;
  for (const [given, level, warnings] of table) {
    const conf = merged({ logLevel: given });
    assert.equal(conf.logLevel, level, given);
    assert.equal(conf.warnings.length, warnings, given);
  }
});

Deno.test("parseDaemonConf() lets flags override the file, in any spelling of the key", () => {
  const conf = daemonOf({ LogLevel: "debug", metricsPort: 1, confDir: "/c" }, {
    logLevel: "error",
    metricsPort: 9091,
    namespaceIsolation: true,
  });
  assert.deepEqual(
    [conf.logLevel, conf.metricsPort, conf.namespaceIsolation, conf.confDir],
    ["error", 9091, true, "/c"],
  );
  const { logLevel } = mergeConf(
    parseShimConf('{"logLevel":"verbose"}'),
    conf,
  );
  assert.equal(logLevel, "error");
});

Deno.test("assertDefaultNetwork() wants clusterNetwork or delegates", () => {
  assertDefaultNetwork(merged({ clusterNetwork: "a" }));
  assertDefaultNetwork(merged({ delegates: [{ type: "x" }] }));
  for (const conf of [{}, { delegates: [] }, { clusterNetwork: "" }]) {
    assert.match(
      messageOf(() => assertDefaultNetwork(merged(conf))),
      /^7 .*"clusterNetwork" or "delegates" is needed/,
    );
  }
});

Deno.test("loadDaemonConf() reads the file, and does without only if it was not asked for", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const path = `${dir}/daemon-config.json`;
    await Deno.writeTextFile(path, '{"chrootDir":"/hostroot"}');
    const conf = await loadDaemonConf(path, { ...NO_FLAGS, configPath: path });
    assert.deepEqual([conf.chrootDir, conf.path], ["/hostroot", path]);
    const missing = `${dir}/missing.json`;
    assert.equal((await loadDaemonConf(missing, NO_FLAGS)).text, "{}");
    const cases = [[missing, "no such file"], [dir, "directory"]] as const;
    for (const [path, reason] of cases) {
      await assert.rejects(
        loadDaemonConf(path, { ...NO_FLAGS, isConfigGiven: true }),
        (error) =>
          error instanceof CniError && error.code === 5 &&
          error.message.includes(reason) && error.message.endsWith(path),
      );
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("DEFAULT_DAEMON_CONFIG is where the Go daemon looks", () => {
  assert.equal(
    DEFAULT_DAEMON_CONFIG,
    "/etc/cni/net.d/multus.d/daemon-config.json",
  );
});

Deno.test("parseShimConf() throws nothing but CniError, whatever it is given", () => {
  const keys = fc.constantFrom(
    ...MULTUS_KEYS.map(([key]) => key),
    "type",
    "prevResult",
    "cni.dev/valid-attachments",
    "__proto__",
    "constructor",
  );
  const value = fc.oneof(
    fc.dictionary(keys, fc.jsonValue(), { maxKeys: 5 }).map((conf) =>
      JSON.stringify(conf)
    ),
    fc.json(),
    fc.string(),
  );
  const daemon = daemonOf({});
  fc.assert(
    fc.property(value, (text) => {
      try {
        const conf = mergeConf(parseShimConf(text), daemon);
        JSON.parse(conf.text);
      } catch (error) {
        assert.ok(error instanceof CniError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
