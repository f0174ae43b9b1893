import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import {
  createNoopPlugins,
  type NoopPlugins,
} from "../../tests/noop_plugin.ts";
import { processesGone } from "../../tests/process_group.ts";
import { type NetConfList, parseConf } from "./conf.ts";
import { CniError, ErrorCode } from "./error.ts";
import { createDirectExec } from "./exec.ts";
import {
  addNetworkList,
  type AttachmentArgs,
  checkNetworkList,
  delNetworkList,
  findPlugins,
  gcNetworkList,
  type PluginEvent,
  type Runtime,
  statusNetworkList,
} from "./list.ts";
import { createResultCache } from "./result_cache.ts";
import { SUPPORTED_VERSIONS } from "./version.ts";

const DELEGATE_EXEC = fileURLToPath(
  new URL("../../deployments/libexec/delegate-exec", import.meta.url),
);
const ATTACHMENT: AttachmentArgs = {
  containerId: "c1",
  netns: "/var/run/netns/pod1",
  ifname: "net1",
  cniArgs: [["IgnoreUnknown", "true"], ["K8S_POD_NAME", "p"]],
  capabilityArgs: {
    mac: `"0a:00:00:00:00:07"`,
    ips: `[ "10.0.0.9/24" ]`,
    bandwidth: "{}",
  },
};
const never = new AbortController().signal;
const options = { attachment: ATTACHMENT, signal: never };
const RESULT = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "net1", sandbox: "/n" }],
  ips: [{ address: "10.0.0.9/24", interface: 0 }],
};

function runtimeOf(plugins: NoopPlugins, over: Partial<Runtime> = {}): Runtime {
  return {
    exec: createDirectExec({}),
    pluginDirs: ["/nonexistent", plugins.dir],
    cache: createResultCache(plugins.dir),
    pluginTimeoutMs: 30_000,
    ...over,
  };
}

function listOf(
  version: string,
  types: readonly string[],
  more = "",
): NetConfList {
  const plugins = types.map((type) => `{"type":"${type}"}`).join(",");
  return parseConf(
    `{"cniVersion":"${version}","name":"net-a"${more},"plugins":[${plugins}]}`,
  );
}

async function expectError(work: Promise<unknown>): Promise<CniError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return error;
  }
  assert.fail("No error");
}

Deno.test("addNetworkList() gives each plugin the author's text, numbers and all", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  await plugins.install("b");
  const first =
    `{ "type": "a",  "big": 9007199254740993, "one": 1.0, "e": 1E+2, "x": {"z": [1, -0.0]}, "name": "own" }`;
  const second =
    `{"capabilities":{"mac":true,"ips":true,"bandwidth":false,"portMappings":true},"type":"b","cniVersion":"0.3.0","cniVersion":"0.1.0"}`;
  const list = parseConf(
    `{"name":"net-a","cniVersion":"1.0.0","plugins":[${first},${second}]}`,
  );
  const result = await addNetworkList(runtimeOf(plugins), list, options);
  assert.equal(result.ips[0]?.address, "10.1.2.3/24");
  const [a, b] = await plugins.calls();
  assert.equal(
    a?.stdin,
    first.replace(`"own"`, `"net-a"`).replace(" }", `,"cniVersion":"1.0.0" }`),
  );
  const prevResult =
    `{"cniVersion":"1.0.0","interfaces":[{"name":"net1","mac":"0a:00:00:00:00:01","sandbox":"/var/run/netns/pod1"}],"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0}]}`;
  assert.equal(
    b?.stdin,
    `{"capabilities":{"mac":true,"ips":true,"bandwidth":false,"portMappings":true},"type":"b","cniVersion":"1.0.0","name":"net-a","prevResult":${prevResult},"runtimeConfig":{"mac":"0a:00:00:00:00:07","ips":[ "10.0.0.9/24" ]}}`,
  );
});

Deno.test("delNetworkList() gives a plugin the same numbers as the ADD", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  const list = parseConf(
    `{"name":"net-a","cniVersion":"0.3.1","type":"a","n":9007199254740993,"f":1.0}`,
  );
  await addNetworkList(runtimeOf(plugins), list, options);
  await delNetworkList(runtimeOf(plugins), list, options);
  const [add, del] = await plugins.calls();
  assert.equal(add?.stdin, list.text);
  assert.equal(del?.stdin, list.text);
});

Deno.test("addNetworkList() sets all variables and passes tracing on", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  const runtime = runtimeOf(plugins, {
    env: { TRACEPARENT: "00-1-2-01", TRACESTATE: "a=b", BAGGAGE: "k=v" },
  });
  await addNetworkList(runtime, listOf("1.1.0", ["a"]), options);
  const [given] = await plugins.calls();
  const { PATH: _, ...env } = given?.env ?? {};
  assert.deepEqual(env, {
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/var/run/netns/pod1",
    CNI_IFNAME: "net1",
    CNI_ARGS: "IgnoreUnknown=true;K8S_POD_NAME=p",
    CNI_PATH: `/nonexistent:${plugins.dir}`,
    TRACEPARENT: "00-1-2-01",
    TRACESTATE: "a=b",
    BAGGAGE: "k=v",
  });
});

for (const version of SUPPORTED_VERSIONS) {
  Deno.test(`a list of version ${version} is added, checked and deleted as its version has it`, async () => {
    await using plugins = await createNoopPlugins();
    const old = version < "0.3.0";
    const printed = old
      ? `{"ip4":{"ip":"10.0.0.9/24"}}`
      : version < "1.0.0"
      ? `{"interfaces":[{"name":"net1","sandbox":"/n"}],"ips":[{"version":"4","address":"10.0.0.9/24","interface":0}]}`
      : `{"interfaces":[{"name":"net1","sandbox":"/n"}],"ips":[{"address":"10.0.0.9/24","interface":0}]}`;
    for (const type of ["a", "b"]) {
      await plugins.install(type, { ADD: `print '${printed}'` });
    }
    const list = listOf(version, ["a", "b"]);
    const runtime = runtimeOf(plugins);
    const result = await addNetworkList(runtime, list, options);
    assert.deepEqual(result.ips.map((ip) => ip.address), ["10.0.0.9/24"]);
    const hasCheck = version >= "0.4.0";
    if (hasCheck) await checkNetworkList(runtime, list, options);
    else {
      const error = await expectError(checkNetworkList(runtime, list, options));
      assert.equal(error.code, ErrorCode.incompatibleVersion);
    }
    await delNetworkList(runtime, list, options);
    const calls = await plugins.calls();
    assert.deepEqual(
      calls.map(({ command, type }) => `${command} ${type}`),
      [
        "ADD a",
        "ADD b",
        ...(hasCheck ? ["CHECK a", "CHECK b"] : []),
        "DEL b",
        "DEL a",
      ],
    );
    for (const { command, type, stdin } of calls) {
      const { cniVersion, name, prevResult } = JSON.parse(stdin);
      assert.deepEqual([cniVersion, name], [version, "net-a"]);
      const isExpected = command === "ADD" ? type === "b" : hasCheck;
      assert.equal(prevResult?.cniVersion, isExpected ? version : undefined);
      if (isExpected) assert.equal(prevResult.ip4 !== undefined, old);
    }
    assert.deepEqual((await runtime.cache.list()).attachments, []);
  });
}

Deno.test("addNetworkList() stops at the plugin that fails and leaves the undoing to a DEL", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  await plugins.install("b", {
    ADD: `fail 100 "Link not found" 'master eth9'`,
  });
  await plugins.install("c");
  const list = listOf("1.0.0", ["a", "b", "c"]);
  const error = await expectError(
    addNetworkList(runtimeOf(plugins), list, options),
  );
  assert.deepEqual([error.code, error.message], [
    100,
    "plugin b: Link not found (master eth9)",
  ]);
  assert.deepEqual((await plugins.calls()).map(({ type }) => type), ["a", "b"]);
  await delNetworkList(runtimeOf(plugins), list, options);
  const calls = await plugins.calls();
  assert.deepEqual(calls.slice(2).map(({ type }) => type), ["c", "b", "a"]);
  assert.ok(calls.slice(2).every(({ stdin }) => !stdin.includes("prevResult")));
});

const FAILURES: readonly (readonly [
  name: string,
  script: string,
  code: number,
  message: string | RegExp,
])[] = [
  ["its own error", `fail 7 "bad mode"`, 7, "plugin a: bad mode"],
  [
    "its own code with details",
    `fail 123 "no lease" "timeout"`,
    123,
    "plugin a: no lease (timeout)",
  ],
  [
    "details that say the same",
    `fail 11 "wait for it" "wait"`,
    11,
    "plugin a: wait for it",
  ],
  [
    "an error of old shape",
    `print '{"code":5,"msg":"old"}'; exit 1`,
    5,
    "plugin a: old",
  ],
  [
    "nothing",
    "exit 2",
    999,
    "plugin a exited with status 2 and printed no error",
  ],
  [
    "only a log",
    "say first; say 'no such device'; exit 1",
    999,
    "plugin a exited with status 1 and printed no error (log: no such device)",
  ],
  [
    "a panic",
    "say 'panic: nil map'; say 'goroutine 1 [running]:'; say 'main.main()'; exit 2",
    999,
    "plugin a exited with status 2 and printed no error (log: panic: nil map)",
  ],
  [
    "rubbish",
    "print 'Segmentation'; exit 1",
    6,
    `plugin a exited with status 1 and printed no error that can be read: "Segmentation"`,
  ],
  [
    "JSON that is no error",
    "print '[]'; exit 1",
    6,
    `plugin a exited with status 1 and printed no error that can be read: "[]"`,
  ],
  [
    "a crash",
    "crash SEGV",
    999,
    "plugin a was ended by SIGSEGV and printed no error",
  ],
  ["no result", "exit 0", 6, "plugin a printed no result"],
  ["white space for a result", "print '  '", 6, "plugin a printed no result"],
  [
    "rubbish for a result",
    "print hello",
    6,
    /^plugin a printed a result that cannot be read: /,
  ],
  [
    "half a result",
    `print '{"ips":['`,
    6,
    /^plugin a printed a result that cannot be read: /,
  ],
  [
    "a result of wrong shape",
    `print '{"ips":[{"address":5}]}'`,
    6,
    /^plugin a printed a result that cannot be read: .*ips\[0\]/,
  ],
  [
    "a result of an unknown version",
    `print '{"cniVersion":"9.0.0"}'`,
    1,
    /9\.0\.0/,
  ],
  [
    "too much",
    "flood 3",
    6,
    "plugin a printed more than 1048576 bytes and was ended",
  ],
  [
    "a very long error",
    `fail 9 "$(printf 'x%.0s' 1 2 3 4 5 6 7 8 9 10)$(printf '%02000d' 0)"`,
    9,
    /^plugin a: x{10}0{590}…$/,
  ],
];

for (const [name, script, code, message] of FAILURES) {
  Deno.test(`addNetworkList() says what went wrong when a plugin prints ${name}`, async () => {
    await using plugins = await createNoopPlugins();
    await plugins.install("a", { ADD: script });
    const events: PluginEvent[] = [];
    const runtime = runtimeOf(plugins, {
      onPlugin: (event) => events.push(event),
    });
    const error = await expectError(
      addNetworkList(runtime, listOf("1.0.0", ["a"]), options),
    );
    assert.equal(error.code, code);
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
    assert.equal((await runtime.cache.list()).attachments.length, 0);
    assert.equal(events.length, 1);
  });
}

Deno.test("onPlugin hears of each run, with its time and its error", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  await plugins.install("b", { ADD: `fail 100 "no"` });
  const events: PluginEvent[] = [];
  const runtime = runtimeOf(plugins, {
    onPlugin: (event) => events.push(event),
  });
  const error = await expectError(
    addNetworkList(runtime, listOf("1.0.0", ["a", "b"]), options),
  );
  assert.deepEqual(
    events.map(({ durationMs, ...event }) => ({
      ...event,
      isTimed: durationMs > 0,
    })),
    [
      {
        command: "ADD",
        type: "a",
        ifname: "net1",
        network: "net-a",
        isTimed: true,
      },
      {
        command: "ADD",
        type: "b",
        ifname: "net1",
        network: "net-a",
        error,
        isTimed: true,
      },
    ],
  );
});

Deno.test("addNetworkList() refuses names that cannot be, before anything runs", async (t) => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  const cases: readonly (readonly [Partial<AttachmentArgs>, number])[] = [
    [{ containerId: "../x" }, ErrorCode.invalidEnvironment],
    [{ containerId: "" }, ErrorCode.invalidEnvironment],
    [{ ifname: "a/b" }, ErrorCode.invalidEnvironment],
    [{ ifname: "a".repeat(16) }, ErrorCode.invalidEnvironment],
  ];
  for (const [over, code] of cases) {
    await t.step(JSON.stringify(over), async () => {
      const attachment = { ...ATTACHMENT, ...over };
      const list = listOf("1.0.0", ["a"]);
      const error = await expectError(
        addNetworkList(runtimeOf(plugins), list, { attachment, signal: never }),
      );
      assert.equal(error.code, code);
    });
  }
  assert.deepEqual(await plugins.calls(), []);
  await t.step("a network's name with which no file can be named", async () => {
    const longest = 255 - "-c1-net1".length;
    const nameOf = (length: number): NetConfList =>
      parseConf(
        `{"cniVersion":"1.0.0","name":"${"n".repeat(length)}","type":"a"}`,
      );
    const error = await expectError(
      addNetworkList(runtimeOf(plugins), nameOf(longest + 1), options),
    );
    assert.equal(error.code, ErrorCode.invalidNetworkConfig);
    assert.match(
      error.message,
      /^The network's name is too long \(at most 247 bytes with this container ID and interface\): "nnn/,
    );
    assert.deepEqual(await plugins.calls(), []);
    await plugins.install("a", { ADD: `print '${JSON.stringify(RESULT)}'` });
    await addNetworkList(runtimeOf(plugins), nameOf(longest), options);
    for (const length of [longest, longest + 1]) {
      await delNetworkList(runtimeOf(plugins), nameOf(length), options);
    }
    const { attachments } = await runtimeOf(plugins).cache.list();
    assert.deepEqual(attachments, []);
  });
});

Deno.test("addNetworkList() fails at once when the version has no words for the result", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a", { ADD: `print '{"cniVersion":"0.2.0"}'` });
  const error = await expectError(
    addNetworkList(runtimeOf(plugins), listOf("0.2.0", ["a"]), options),
  );
  assert.equal(error.code, ErrorCode.incompatibleVersion, error.message);
});

Deno.test("addNetworkList() names a plugin that is not installed, and where it looked", async () => {
  await using plugins = await createNoopPlugins();
  const error = await expectError(
    addNetworkList(runtimeOf(plugins), listOf("1.0.0", ["vlan"]), options),
  );
  assert.equal(error.code, ErrorCode.invalidNetworkConfig);
  assert.equal(
    error.message,
    `plugin vlan is not installed: no such executable file in /nonexistent, ${plugins.dir}`,
  );
});

Deno.test("a plugin that hangs is ended in its time, its children too, and named", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("bridge", { ADD: "brood; hang" });
  const runtime = runtimeOf(plugins, {
    exec: createDirectExec({ endDelegate: DELEGATE_EXEC }),
    pluginTimeoutMs: 1500,
  });
  const error = await expectError(
    addNetworkList(runtime, listOf("1.0.0", ["bridge"]), options),
  );
  assert.equal(error.code, ErrorCode.tryAgainLater);
  assert.equal(
    error.message,
    "plugin bridge did not finish within 1.5 s and was ended",
  );
  assert.equal((await plugins.calls()).length, 1);
  await processesGone(plugins.dir);
});

Deno.test("a plugin is ended when the caller's signal comes, and the error says why", async (t) => {
  const cases: readonly (readonly [unknown, number, string])[] = [
    [
      new DOMException("x", "TimeoutError"),
      11,
      "plugin a did not finish within the time of the request and was ended",
    ],
    [undefined, 11, "plugin a was ended, because the request was given up"],
    [
      new CniError(100, "Shutting down"),
      100,
      "plugin a was ended: Shutting down",
    ],
  ];
  for (const [reason, code, message] of cases) {
    await t.step(message, async () => {
      await using plugins = await createNoopPlugins();
      await plugins.install("a", { ADD: "mark up; exec /bin/sleep 1000" });
      const controller = new AbortController();
      const adding = expectError(
        addNetworkList(runtimeOf(plugins), listOf("1.0.0", ["a"]), {
          attachment: ATTACHMENT,
          signal: controller.signal,
        }),
      );
      await plugins.marked("a", "up");
      controller.abort(reason);
      const error = await adding;
      assert.deepEqual([error.code, error.message], [code, message]);
    });
  }
});

Deno.test("a plugin whose file is being replaced is tried again until it is there", async () => {
  await using plugins = await createNoopPlugins();
  const path = `${plugins.dir}/a`;
  await Deno.copyFile("/bin/true", path);
  await Deno.chmod(path, 0o755);
  let file: Deno.FsFile | undefined = await Deno.open(path, { write: true });
  let tries = 0;
  const direct = createDirectExec({});
  const runtime = runtimeOf(plugins, {
    exec: {
      ...direct,
      run: (call) => {
        tries++;
        if (tries === 3) {
          file?.close();
          file = undefined;
        }
        return direct.run(call);
      },
    },
  });
  await delNetworkList(runtime, listOf("1.0.0", ["a"]), options);
  assert.equal(tries, 3);
});

Deno.test("a plugin whose file stays open for writing is reported as that", async () => {
  await using plugins = await createNoopPlugins();
  const path = `${plugins.dir}/a`;
  await Deno.copyFile("/bin/true", path);
  await Deno.chmod(path, 0o755);
  using _file = await Deno.open(path, { write: true });
  const runtime = runtimeOf(plugins, { pluginTimeoutMs: 70 });
  const error = await expectError(
    delNetworkList(runtime, listOf("1.0.0", ["a"]), options),
  );
  assert.equal(error.code, ErrorCode.tryAgainLater);
  assert.equal(error.message, "plugin a is being replaced: text file busy");
});

Deno.test("delNetworkList() stops at the first failure and keeps the cache for the next try", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  await plugins.install("b", { DEL: `if once x; then fail 100 "not yet"; fi` });
  const list = listOf("1.0.0", ["a", "b"]);
  const runtime = runtimeOf(plugins);
  await addNetworkList(runtime, list, options);
  const error = await expectError(delNetworkList(runtime, list, options));
  assert.equal(error.message, "plugin b: not yet");
  assert.equal((await runtime.cache.list()).attachments.length, 1);
  await delNetworkList(runtime, list, options);
  assert.equal((await runtime.cache.list()).attachments.length, 0);
  assert.deepEqual(
    (await plugins.calls()).map(({ command, type }) => `${command} ${type}`),
    ["ADD a", "ADD b", "DEL b", "DEL b", "DEL a"],
  );
});

Deno.test("delNetworkList() goes on without a damaged cache, and tells", async (t) => {
  for (
    const damage of [
      "",
      "{",
      "null",
      `{"kind":"other"}`,
      `{"kind":"cniCacheV1","result":{"ips":7}}`,
      `{"kind":"cniCacheV1","config":"%"}`,
    ]
  ) {
    await t.step(JSON.stringify(damage), async () => {
      await using plugins = await createNoopPlugins();
      await plugins.install("a");
      const told: CniError[] = [];
      const runtime = runtimeOf(plugins, {
        onCacheDamage: (error) => told.push(error),
      });
      const list = listOf("1.0.0", ["a"]);
      await Deno.mkdir(`${plugins.dir}/results`);
      await Deno.writeTextFile(`${plugins.dir}/results/net-a-c1-net1`, damage);
      const error = await expectError(checkNetworkList(runtime, list, options));
      assert.equal(error.code, ErrorCode.decodingFailure);
      await delNetworkList(runtime, list, options);
      assert.equal(told.length, 1);
      assert.deepEqual((await plugins.calls()).map(({ command }) => command), [
        "DEL",
      ]);
      assert.deepEqual((await runtime.cache.list()).unreadable, []);
    });
  }
});

Deno.test("delNetworkList() works for what could never have been added", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  const attachment = { ...ATTACHMENT, containerId: "../../etc", netns: "" };
  await delNetworkList(runtimeOf(plugins), listOf("1.0.0", ["a"]), {
    attachment,
    signal: never,
  });
  const [given] = await plugins.calls();
  assert.equal(given?.env.CNI_NETNS, "");
});

Deno.test("checkNetworkList() does nothing with disableCheck", async () => {
  await using plugins = await createNoopPlugins();
  await checkNetworkList(
    runtimeOf(plugins),
    listOf("1.0.0", ["a"], `,"disableCheck":true`),
    options,
  );
  assert.deepEqual(await plugins.calls(), []);
});

Deno.test("checkNetworkList() passes a plugin's objection on", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a", { CHECK: `fail 101 "Interface net1 is gone"` });
  const error = await expectError(
    checkNetworkList(runtimeOf(plugins), listOf("0.4.0", ["a"]), options),
  );
  assert.deepEqual([error.code, error.message], [
    101,
    "plugin a: Interface net1 is gone",
  ]);
});

Deno.test("statusNetworkList() asks from 1.1.0 on", async (t) => {
  for (const version of SUPPORTED_VERSIONS) {
    await t.step(version, async () => {
      await using plugins = await createNoopPlugins();
      for (const type of ["a", "b"]) await plugins.install(type);
      await statusNetworkList(runtimeOf(plugins), listOf(version, ["a", "b"]), {
        signal: never,
      });
      const calls = await plugins.calls();
      assert.deepEqual(
        calls.map(({ type }) => type),
        version === "1.1.0" ? ["a", "b"] : [],
      );
      for (const { stdin, env } of calls) {
        assert.equal(env.CNI_COMMAND, "STATUS");
        assert.deepEqual(Object.keys(JSON.parse(stdin)), [
          "type",
          "name",
          "cniVersion",
        ]);
      }
    });
  }
});

Deno.test("findPlugins() finds what is missing, and runs nothing", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a");
  const runtime = runtimeOf(plugins);
  await findPlugins(runtime, listOf("1.0.0", ["a", "a"]));
  const error = await expectError(
    findPlugins(runtime, listOf("1.0.0", ["a", "b"])),
  );
  assert.equal(error.code, ErrorCode.invalidNetworkConfig);
  assert.match(error.message, /^plugin b is not installed: /);
  assert.deepEqual(await plugins.calls(), []);
});

Deno.test("addNetworkList() names the card that a plugin does not find", async (t) => {
  await using plugins = await createNoopPlugins();
  const cases = [
    ["Link not found", "", ' (master "eth9")'],
    ["Link not found", "eth9", " (eth9)"],
    ["No port free", "", ""],
  ] as const;
  for (const [msg, details, expected] of cases) {
    await t.step(`${msg}: ${details}`, async () => {
      await plugins.install("a", { ADD: `fail 999 "${msg}" "${details}"` });
      const list = parseConf(
        `{"cniVersion":"1.0.0","name":"n","type":"a","master":"eth9"}`,
      );
      const error = await expectError(
        addNetworkList(runtimeOf(plugins), list, {
          attachment: ATTACHMENT,
          signal: never,
        }),
      );
      assert.equal(error.message, `plugin a: ${msg}${expected}`);
    });
  }
});

Deno.test("statusNetworkList() says when an ADD would not work", async (t) => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a", { STATUS: `fail 51 "no more addresses"` });
  await t.step("by a plugin's word", async () => {
    const error = await expectError(
      statusNetworkList(runtimeOf(plugins), listOf("1.1.0", ["a"]), {
        signal: never,
      }),
    );
    assert.deepEqual([error.code, error.message], [
      51,
      "plugin a: no more addresses",
    ]);
  });
  await t.step("because one is not installed", async () => {
    const error = await expectError(
      statusNetworkList(runtimeOf(plugins), listOf("1.1.0", ["b"]), {
        signal: never,
      }),
    );
    assert.equal(error.code, ErrorCode.pluginNotAvailable);
  });
});

function idOf(containerId: string): AttachmentArgs {
  return { ...ATTACHMENT, containerId };
}

Deno.test("gcNetworkList() deletes what is not valid and tells each plugin what is", async () => {
  await using plugins = await createNoopPlugins();
  for (const type of ["a", "b", "old"]) await plugins.install(type);
  const runtime = runtimeOf(plugins);
  const list = listOf("1.1.0", ["a", "b"]);
  await addNetworkList(runtime, list, {
    attachment: idOf("c1"),
    signal: never,
  });
  await addNetworkList(runtime, listOf("1.0.0", ["old"]), {
    attachment: idOf("c2"),
    signal: never,
  });
  const other = parseConf(
    `{"cniVersion":"1.1.0","name":"net-a-c3","type":"a"}`,
  );
  await addNetworkList(runtime, other, {
    attachment: idOf("c3"),
    signal: never,
  });
  const begun = (await plugins.calls()).length;
  const validAttachments = [{ containerID: "c1", ifname: "net1", more: "x" }];
  await gcNetworkList(runtime, list, { validAttachments, signal: never });
  const calls = (await plugins.calls()).slice(begun);
  assert.deepEqual(
    calls.map(({ command, type, env }) =>
      `${command} ${type} ${env.CNI_CONTAINERID}`
    ),
    ["DEL old c2", "GC a ", "GC b "],
  );
  const [del, gc] = calls;
  assert.equal(del?.env.CNI_ARGS, "IgnoreUnknown=true;K8S_POD_NAME=p");
  assert.equal(
    gc?.stdin,
    `{"type":"a","name":"net-a","cniVersion":"1.1.0","cni.dev/valid-attachments":[{"containerID":"c1","ifname":"net1"}],"cni.dev/attachments":[{"containerID":"c1","ifname":"net1"}]}`,
  );
  const left = (await runtime.cache.list()).attachments.map(({ containerId }) =>
    containerId
  );
  assert.deepEqual(left, ["c1", "c3"]);
});

Deno.test("gcNetworkList() only deletes below 1.1.0, and does nothing with disableGC", async (t) => {
  for (
    const [version, more, expected] of [["1.0.0", "", ["DEL"]], [
      "1.1.0",
      `,"disableGC":true`,
      [],
    ]] as const
  ) {
    await t.step(version, async () => {
      await using plugins = await createNoopPlugins();
      await plugins.install("a");
      const runtime = runtimeOf(plugins);
      const list = listOf(version, ["a"], more);
      await addNetworkList(runtime, list, options);
      await gcNetworkList(runtime, list, {
        validAttachments: [],
        signal: never,
      });
      assert.deepEqual(
        (await plugins.calls()).slice(1).map(({ command }) => command),
        expected,
      );
    });
  }
});

Deno.test("gcNetworkList() does all it can and tells the first errors", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a", {
    DEL: `fail 100 "busy $CNI_CONTAINERID"`,
    GC: `fail 101 "no"`,
  });
  const told: CniError[] = [];
  const runtime = runtimeOf(plugins, {
    onCacheDamage: (error) => told.push(error),
  });
  const list = listOf("1.1.0", ["a"]);
  for (const id of ["c1", "c2", "c3"]) {
    await addNetworkList(runtime, list, {
      attachment: idOf(id),
      signal: never,
    });
  }
  await Deno.writeTextFile(`${plugins.dir}/results/net-a-c4-net1`, "{");
  const error = await expectError(
    gcNetworkList(runtime, list, { validAttachments: [], signal: never }),
  );
  assert.equal(error.code, 100);
  assert.equal(
    error.message,
    "plugin a: busy c1; plugin a: busy c2; plugin a: busy c3; and 1 more",
  );
  assert.equal(told.length, 1);
});

Deno.test("addNetworkList() fails when the result cannot be kept", async () => {
  await using plugins = await createNoopPlugins();
  await plugins.install("a", { ADD: `print '${JSON.stringify(RESULT)}'` });
  await Deno.writeTextFile(
    `${plugins.dir}/results`,
    "a file where the directory should be",
  );
  const error = await expectError(
    addNetworkList(runtimeOf(plugins), listOf("1.0.0", ["a"]), options),
  );
  assert.equal(error.code, ErrorCode.ioFailure);
  assert.match(
    error.message,
    /^Result cache cannot be written \(.*\): .*\/results\/net-a-c1-net1$/,
  );
});
