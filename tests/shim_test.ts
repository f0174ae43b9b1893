import { deepEqual, equal, match, ok } from "node:assert/strict";
import { SUPPORTED_VERSIONS } from "../lib/cni/version.ts";
import { createSpool, drainSpool } from "../lib/daemon/spool.ts";
import { encodeResult } from "../lib/wire/answer.ts";
import { type CniRequest, decodeRequest } from "../lib/wire/request.ts";
import { goOn } from "../lib/wire/shim_program.ts";
import { SPOOL_COUNT_MAX } from "../lib/wire/spool_file.ts";
import { run } from "../shim.ts";
import {
  type Asked,
  formatAnswer,
  leaveStaleSocket,
  type Script,
  startScriptedDaemon,
} from "./scripted_daemon.ts";

interface Node extends Disposable {
  readonly socketDir: string;
  readonly socketPath: string;
  readonly cniDir: string;
  readonly spoolDir: string;
}

function makeNode(): Node {
  const dir = Deno.makeTempDirSync({ prefix: "shim" });
  Deno.mkdirSync(`${dir}/run`);
  return {
    socketDir: `${dir}/run`,
    socketPath: `${dir}/run/multus.sock`,
    cniDir: `${dir}/state`,
    spoolDir: `${dir}/state/spool`,
    [Symbol.dispose]: () => Deno.removeSync(dir, { recursive: true }),
  };
}

function confOf(
  node: Node,
  conf: Record<string, unknown>,
): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: "net",
    type: "multus-shim",
    daemonSocketDir: node.socketDir,
    cniDir: node.cniDir,
    ...conf,
  };
}

const CALL = {
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/var/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "K8S_POD_NAME=p",
  CNI_PATH: "/opt/cni/bin",
};

interface Given {
  readonly command?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: unknown;
  readonly args?: readonly string[];
  readonly programName?: string;
  readonly isTerminal?: boolean;
  /** A variable that is no text. */
  readonly unreadable?: string;
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly bytesRead: number;
}

/** Runs the shim inside this process, or a part of it; a stdin that is not text is written as JSON. */
async function call(given: Given, main = run): Promise<Outcome> {
  const { args = [], programName = "multus-shim", isTerminal = false } = given;
  const env: Given["env"] = {
    ...CALL,
    CNI_COMMAND: given.command,
    ...given.env,
  };
  const written = { stdout: "", stderr: "" };
  const stdin = createStdin(given.stdin);
  const code = await main({
    args,
    programName,
    env: (name): string | undefined => {
      if (name === given.unreadable) throw new TypeError("Invalid unicode");
      return env[name];
    },
    stdin: { readSync: stdin.readSync, isTerminal: () => isTerminal },
    stdout: { writeSync: (bytes) => append("stdout", bytes) },
    stderr: { writeSync: (bytes) => append("stderr", bytes) },
  });
  return { code, ...written, bytesRead: stdin.bytesRead() };

  function append(to: keyof typeof written, bytes: Uint8Array): number {
    // A pipe may take a part only.
    const part = bytes.subarray(0, 100);
    written[to] += new TextDecoder().decode(part);
    return part.length;
  }
}

function createStdin(content: unknown): {
  readSync(buffer: Uint8Array): number | null;
  bytesRead(): number;
} {
  const bytes = content instanceof Uint8Array
    ? content
    : new TextEncoder().encode(
      typeof content === "string" ? content : JSON.stringify(content ?? {}),
    );
  let at = 0;
  return {
    readSync(buffer): number | null {
      if (at === bytes.length) return null;
      const part = bytes.subarray(at, at + Math.min(buffer.length, 5000));
      buffer.set(part);
      at += part.length;
      return part.length;
    },
    bytesRead: () => at,
  };
}

interface Failure {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

function failureOf(outcome: Outcome): Failure {
  equal(outcome.code, 1, outcome.stdout);
  ok(new TextEncoder().encode(outcome.stdout).length <= 1000);
  return JSON.parse(outcome.stdout);
}

function listSpool(node: Node): string[] {
  try {
    return [...Deno.readDirSync(node.spoolDir)].map((entry) => entry.name);
  } catch {
    return []; // there is none yet
  }
}

const RESULT = {
  cniVersion: "1.1.0",
  interfaces: [
    { name: "eth0", mac: "02:00:00:00:00:01", mtu: 1500, sandbox: "/ns" },
  ],
  ips: [
    { address: "10.0.0.5/24", gateway: "10.0.0.1", interface: 0 },
    { address: "fd00::5/64", interface: 0 },
  ],
  routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1", mtu: 1400 }],
  dns: { nameservers: ["10.0.0.2"] },
};

const OLD_RESULT = {
  ip4: {
    ip: "10.0.0.5/24",
    gateway: "10.0.0.1",
    routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }],
  },
  ip6: { ip: "fd00::5/64" },
  dns: { nameservers: ["10.0.0.2"] },
};

const MIDDLE_RESULT = {
  interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/ns" }],
  ips: [
    {
      version: "4",
      address: "10.0.0.5/24",
      gateway: "10.0.0.1",
      interface: 0,
    },
    { version: "6", address: "fd00::5/64", interface: 0 },
  ],
  routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }],
  dns: { nameservers: ["10.0.0.2"] },
};

/** The result as it looks in each version. */
const RESULTS: Readonly<Record<string, unknown>> = {
  "0.1.0": OLD_RESULT,
  "0.2.0": OLD_RESULT,
  "0.3.0": MIDDLE_RESULT,
  "0.3.1": MIDDLE_RESULT,
  "0.4.0": MIDDLE_RESULT,
  "1.0.0": {
    ...MIDDLE_RESULT,
    ips: RESULT.ips,
  },
  "1.1.0": RESULT,
};

Deno.test("run() prints an ADD's result in the configuration's version", async (t) => {
  using node = makeNode();
  await using _daemon = startScriptedDaemon(node.socketPath, () => [
    formatAnswer(200, encodeResult(RESULT)),
  ]);
  for (const cniVersion of SUPPORTED_VERSIONS) {
    await t.step(cniVersion, async () => {
      const stdin = confOf(node, { cniVersion });
      const { code, stdout } = await call({ command: "ADD", stdin });
      equal(code, 0, stdout);
      const expected = { ...RESULTS[cniVersion] as object, cniVersion };
      deepEqual(JSON.parse(stdout), expected);
    });
  }
  await t.step("none, which means 0.1.0", async () => {
    const stdin = confOf(node, { cniVersion: undefined });
    const { stdout } = await call({ command: "ADD", stdin });
    deepEqual(JSON.parse(stdout), { ...OLD_RESULT, cniVersion: "0.1.0" });
  });
});

Deno.test("run() reads the result of a daemon that speaks an older version", async () => {
  using node = makeNode();
  const older = { ...RESULTS["1.0.0"] as object, cniVersion: "1.0.0" };
  await using _daemon = startScriptedDaemon(node.socketPath, () => [
    formatAnswer(200, `{"Result":${JSON.stringify(older)}}`),
  ]);
  const stdin = confOf(node, { cniVersion: "0.4.0" });
  const { stdout } = await call({ command: "ADD", stdin });
  deepEqual(JSON.parse(stdout), { ...MIDDLE_RESULT, cniVersion: "0.4.0" });
});

Deno.test("run() hands the environment and the bytes of stdin to the daemon", async (t) => {
  using node = makeNode();
  await using daemon = startScriptedDaemon(node.socketPath, () => [
    formatAnswer(200, ""),
  ]);
  const conf = JSON.stringify(confOf(node, {}));
  const stdin = `\n ${conf.slice(0, -1)} ,"big":9007199254740993,"x":1.0 }\n`;
  const trace = { TRACEPARENT: "00-1", TRACESTATE: "a=b", BAGGAGE: "c=d" };
  for (const command of ["DEL", "CHECK", "GC", "STATUS"]) {
    await t.step(command, async () => {
      const env = { ...trace, HOME: "/root", CNI_OTHER: "x" };
      const outcome = await call({ command, stdin, env });
      equal(outcome.code, 0, outcome.stdout);
      equal(outcome.stdout, "");
      const asked = daemon.asked.at(-1) as Asked;
      equal(asked.route, "/cni");
      const request = decodeRequest(asked.body);
      deepEqual(request.env, { ...CALL, ...trace, CNI_COMMAND: command });
      equal(atob(request.config), stdin);
    });
  }
  await t.step("without what is not set", async () => {
    const env = { CNI_ARGS: undefined, CNI_NETNS: "" };
    await call({ command: "DEL", stdin, env });
    const { CNI_ARGS: _, ...rest } = CALL;
    const asked = daemon.asked.at(-1) as Asked;
    const expected = { ...rest, CNI_NETNS: "", CNI_COMMAND: "DEL" };
    deepEqual(decodeRequest(asked.body).env, expected);
  });
});

Deno.test("run() sends a large configuration and prints a large result", async () => {
  using node = makeNode();
  const ips = Array.from({ length: 5000 }, (_, index) => {
    return { address: `10.0.${index >> 8}.${index & 255}/16` };
  });
  const body = encodeResult({ cniVersion: "1.1.0", ips });
  const pieces = Array.from(
    { length: Math.ceil(body.length / 2048) },
    (_, index) => body.slice(index * 2048, (index + 1) * 2048),
  );
  await using daemon = startScriptedDaemon(node.socketPath, () => [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ...pieces.map((it) => `${it.length.toString(16)}\r\n${it}\r\n`),
    "0\r\n\r\n",
  ]);
  const stdin = confOf(node, { more: "x".repeat(900_000) });
  const { code, stdout } = await call({ command: "ADD", stdin });
  equal(code, 0, stdout.slice(0, 1000));
  deepEqual(JSON.parse(stdout).ips, ips);
  const { config } = decodeRequest((daemon.asked[0] as Asked).body);
  equal(atob(config), JSON.stringify(stdin));
});

const ERROR = { cniVersion: "1.1.0", code: 107, msg: "Link not found" };

const ANSWERS: readonly [
  name: string,
  answer: string,
  code: number,
  msg: string,
][] = [
  [
    "an error document",
    formatAnswer(400, JSON.stringify(ERROR)),
    107,
    "Link not found",
  ],
  ["an error as text", formatAnswer(400, "no such net\n"), 999, "no such net"],
  [
    "nothing",
    formatAnswer(400, ""),
    999,
    "The daemon answered with status 400",
  ],
  [
    "a status of its own",
    formatAnswer(404, "404 page not found\n"),
    999,
    "404 page not found",
  ],
  ["too many", formatAnswer(429, ""), 11, "The daemon has too much to do"],
  [
    "no envelope",
    formatAnswer(200, "{}"),
    6,
    "The daemon's answer to ADD is not a result",
  ],
  [
    "text",
    formatAnswer(200, "ok"),
    6,
    "The daemon's answer to ADD is not a result",
  ],
  [
    "half an answer",
    formatAnswer(200, "{}").slice(0, -1),
    11,
    "The daemon went away before it had answered on SOCKET: its log on this node says why",
  ],
  [
    "no HTTP",
    "hello\n",
    5,
    "Cannot talk to the daemon on SOCKET: Answer of the daemon is not HTTP/1.1",
  ],
  [
    "too much",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
    5,
    "Cannot talk to the daemon on SOCKET: Answer of the daemon is larger than 1048576 bytes",
  ],
  [
    "not ready",
    formatAnswer(503, "Waiting for the default network\n"),
    11,
    "The daemon on SOCKET is not ready: Waiting for the default network",
  ],
];

Deno.test("run() prints a CNI error when the daemon answers an ADD with less than a result", async (t) => {
  for (const [name, answer, code, msg] of ANSWERS) {
    await t.step(name, async () => {
      using node = makeNode();
      await using _daemon = startScriptedDaemon(node.socketPath, () => [
        answer,
      ]);
      const stdin = confOf(node, { cniVersion: "0.4.0", shimWaitSeconds: 0 });
      const failure = failureOf(await call({ command: "ADD", stdin }));
      equal(failure.cniVersion, "0.4.0");
      equal(failure.code, code);
      equal(failure.msg, msg.replace("SOCKET", node.socketPath));
    });
  }
});

Deno.test("run() keeps the details of the daemon's error", async () => {
  using node = makeNode();
  const error = JSON.stringify({ ...ERROR, details: "master eth9" });
  await using _daemon = startScriptedDaemon(node.socketPath, () => [
    formatAnswer(400, error),
  ]);
  const stdin = confOf(node, { cniVersion: "1.0.0" });
  deepEqual(failureOf(await call({ command: "ADD", stdin })), {
    ...ERROR,
    cniVersion: "1.0.0",
    details: "master eth9",
  });
});

Deno.test("run() says who is missing when no daemon is there", async (t) => {
  const codes = { ADD: 11, CHECK: 11, GC: 11, STATUS: 50 };
  for (const [command, code] of Object.entries(codes)) {
    await t.step(command, async () => {
      using node = makeNode();
      if (command === "ADD") await leaveStaleSocket(node.socketPath);
      const stdin = confOf(node, { shimWaitSeconds: 0.1 });
      const failure = failureOf(await call({ command, stdin }));
      equal(failure.code, code);
      equal(
        failure.msg,
        `The daemon does not answer on ${node.socketPath}: ` +
          "is the multus DaemonSet running on this node?",
      );
    });
  }
});

Deno.test("run() waits with an ADD until the daemon takes it", async () => {
  using node = makeNode();
  await leaveStaleSocket(node.socketPath);
  const outcome = call({ command: "ADD", stdin: confOf(node, {}) });
  await Deno.remove(node.socketPath);
  await using daemon = startScriptedDaemon(node.socketPath, () => {
    const isReady = daemon.asked.length > 2;
    const body = isReady ? encodeResult(RESULT) : "starting";
    return [formatAnswer(isReady ? 200 : 503, body)];
  });
  const { code, stdout } = await outcome;
  equal(code, 0, stdout);
  deepEqual(JSON.parse(stdout), RESULT);
  equal(daemon.asked.length, 3);
});

Deno.test("run() answers STATUS within a second when the daemon says nothing", async () => {
  using node = makeNode();
  await using daemon = startScriptedDaemon(
    node.socketPath,
    ({ gone }) => [gone],
  );
  const start = performance.now();
  const stdin = confOf(node, {});
  const failure = failureOf(await call({ command: "STATUS", stdin }));
  ok(performance.now() - start < 1000);
  equal(failure.code, 50);
  match(failure.msg, /^The daemon did not answer in time on /);
  await daemon.asked[0]?.gone;
});

/** What can happen to a DEL that the daemon does not take; undefined: nobody listens. */
const UNTAKEN: readonly [string, Script | undefined][] = [
  ["nobody listens", undefined],
  ["the daemon is not ready", () => [formatAnswer(503, "stopping")]],
  ["the connection is cut", () => ["HTTP/1.1 200"]],
  ["rubbish comes", () => ["hello\n"]],
];

Deno.test("run() leaves a DEL for the daemon when it is not taken", async (t) => {
  for (const [name, script] of UNTAKEN) {
    await t.step(name, async () => {
      using node = makeNode();
      await using _daemon = script &&
        startScriptedDaemon(node.socketPath, script);
      const stdin = JSON.stringify(confOf(node, { cniVersion: "0.4.0" }));
      const given = { command: "DEL", stdin, env: { TRACEPARENT: "00-1" } };
      const { code, stdout } = await call(given);
      equal(code, 0, stdout);
      equal(stdout, "");
      await call({ ...given, env: { TRACEPARENT: "00-2" } });
      const [file = "", ...others] = listSpool(node);
      deepEqual(others, []);
      match(file, /^c1@[0-9a-f]{32}\.json$/);
      const text = await Deno.readTextFile(`${node.spoolDir}/${file}`);
      const { env, config } = decodeRequest(text);
      deepEqual(env, { ...CALL, CNI_COMMAND: "DEL" });
      equal(atob(config), stdin);
    });
  }
});

const SECOND_ANSWERS = [
  ["done", formatAnswer(200, ""), 0],
  ["failed", formatAnswer(400, JSON.stringify(ERROR)), 1],
] as const;

Deno.test("run() takes a left DEL back when the daemon comes in that moment", async (t) => {
  for (const [name, second, expected] of SECOND_ANSWERS) {
    await t.step(name, async () => {
      using node = makeNode();
      const spooled: number[] = [];
      await using daemon = startScriptedDaemon(node.socketPath, () => {
        spooled.push(listSpool(node).length);
        const isFirst = daemon.asked.length === 1;
        return [isFirst ? formatAnswer(503, "starting") : second];
      });
      const outcome = await call({ command: "DEL", stdin: confOf(node, {}) });
      equal(outcome.code, expected, outcome.stdout);
      deepEqual(spooled, [0, 1]);
      deepEqual(listSpool(node), []);
    });
  }
});

Deno.test("run() reports the daemon's failure of a DEL and leaves nothing", async () => {
  using node = makeNode();
  await using _daemon = startScriptedDaemon(node.socketPath, () => [
    formatAnswer(400, JSON.stringify(ERROR)),
  ]);
  const stdin = confOf(node, {});
  equal(failureOf(await call({ command: "DEL", stdin })).code, 107);
  deepEqual(listSpool(node), []);
});

Deno.test("run() fails a DEL with code 11 when it can neither be done nor kept", async () => {
  using node = makeNode();
  await Deno.writeTextFile(node.cniDir, "not a directory");
  const stdin = confOf(node, {});
  const failure = failureOf(await call({ command: "DEL", stdin }));
  equal(failure.code, 11);
  match(
    failure.msg,
    /^The DEL cannot be kept in .* \(.*\), and nobody takes it: The daemon does not answer on .*: is the multus DaemonSet running on this node\?$/,
  );
});

Deno.test("run() says what fills the spool, and who empties it", async () => {
  using node = makeNode();
  const spool = node.spoolDir;
  await Deno.mkdir(spool, { recursive: true });
  for (let index = 0; index < SPOOL_COUNT_MAX; index++) {
    await Deno.writeTextFile(`${spool}/${index}`, "");
  }
  const stdin = confOf(node, {});
  const failure = failureOf(await call({ command: "DEL", stdin }));
  equal(failure.code, 11);
  ok(failure.msg.startsWith(`The DEL cannot be kept in ${spool} (It is full`));
  ok(failure.msg.includes("works them off as soon as it runs), and nobody"));
});

Deno.test("run() loses no DEL when the daemon starts in the middle of many", async () => {
  for (let round = 0; round < 10; round++) {
    using node = makeNode();
    const ids = Array.from({ length: 40 }, (_, index) => `c${index}`);
    const handled = new Set<string>();
    const take = (request: CniRequest): Promise<void> => {
      handled.add(request.env.CNI_CONTAINERID ?? "");
      return Promise.resolve();
    };
    const calls = ids.map((CNI_CONTAINERID) => {
      const stdin = confOf(node, {});
      return call({ command: "DEL", env: { CNI_CONTAINERID }, stdin });
    });
    // The daemon comes after some have been left, and before others are.
    await Promise.race(calls.slice(round));
    await using _daemon = startScriptedDaemon(node.socketPath, ({ body }) => {
      take(decodeRequest(body));
      return [formatAnswer(200, "")];
    });
    const { signal } = new AbortController();
    await drainSpool(createSpool(node.spoolDir), take, { signal });
    for (const { code } of await Promise.all(calls)) equal(code, 0);
    deepEqual([...handled].sort(), ids.sort());
  }
});

Deno.test("run() answers VERSION by itself", async (t) => {
  for (const cniVersion of SUPPORTED_VERSIONS) {
    await t.step(cniVersion, async () => {
      const stdin = { cniVersion };
      const { code, stdout } = await call({ command: "VERSION", stdin });
      equal(code, 0);
      const supportedVersions = SUPPORTED_VERSIONS;
      deepEqual(JSON.parse(stdout), { cniVersion, supportedVersions });
    });
  }
  const others = [["{}", "0.1.0"], ["", "1.1.0"], ["rubbish", "1.1.0"], [
    '{"cniVersion":"9.9.9"}',
    "1.1.0",
  ]] as const;
  for (const [stdin, expected] of others) {
    await t.step(JSON.stringify(stdin), async () => {
      const { code, stdout } = await call({ command: "VERSION", stdin });
      equal(code, 0);
      equal(JSON.parse(stdout).cniVersion, expected);
    });
  }
});

const BAD_CALLS: readonly [
  name: string,
  given: Given,
  code: number,
  msg: RegExp,
][] = [
  ["no command", { stdin: {} }, 4, /CNI_COMMAND/],
  ["an unknown command", { command: "PLAY" }, 4, /CNI_COMMAND.*"PLAY"/],
  [
    "no variables",
    { command: "ADD", env: { CNI_IFNAME: "", CNI_NETNS: "" } },
    4,
    /CNI_NETNS is missing.*CNI_IFNAME is missing/,
  ],
  [
    "a container id that is a path",
    { command: "DEL", env: { CNI_CONTAINERID: "../x" } },
    4,
    /CNI_CONTAINERID.*"\.\.\/x"/,
  ],
  ["empty stdin", { command: "ADD", stdin: "" }, 6, /stdin is empty/],
  ["no JSON", { command: "ADD", stdin: "{" }, 6, /is not JSON/],
  ["a list", { command: "DEL", stdin: "[]" }, 6, /is not a JSON object/],
  [
    "no text",
    { command: "ADD", stdin: new Uint8Array([0x7b, 0xff, 0x7d]) },
    6,
    /is not UTF-8/,
  ],
  [
    "too much",
    { command: "ADD", stdin: " ".repeat(1024 * 1024 + 1) },
    7,
    /is larger than 1048576 bytes/,
  ],
  [
    "a relative directory",
    { command: "ADD", stdin: { daemonSocketDir: "run" } },
    7,
    /daemonSocketDir .*: "run"/,
  ],
  [
    "an unknown version",
    { command: "ADD", stdin: { cniVersion: "9.9.9" } },
    1,
    /"9\.9\.9"/,
  ],
  [
    "CHECK before it existed",
    { command: "CHECK", stdin: { cniVersion: "0.3.1" } },
    1,
    /CHECK.*0\.3\.1/,
  ],
  [
    "GC before it existed",
    { command: "GC", stdin: { cniVersion: "1.0.0" } },
    1,
    /GC.*1\.0\.0/,
  ],
  [
    "STATUS before it existed",
    { command: "STATUS", stdin: { cniVersion: "1.0.0" } },
    1,
    /STATUS.*1\.0\.0/,
  ],
];

Deno.test("run() prints a CNI error when it is called wrongly", async (t) => {
  for (const [name, given, code, msg] of BAD_CALLS) {
    await t.step(name, async () => {
      const outcome = await call(given);
      const failure = failureOf(outcome);
      equal(failure.code, code);
      match(failure.msg, msg);
      ok(SUPPORTED_VERSIONS.includes(failure.cniVersion));
      equal(outcome.stderr, "");
    });
  }
});

Deno.test("run() does not wait for stdin, and hints, when a person starts it", async () => {
  const outcome = await call({ isTerminal: true, stdin: "typed" });
  equal(failureOf(outcome).code, 4);
  equal(outcome.bytesRead, 0);
  match(outcome.stderr, /--help/);
});

Deno.test("run() prints version and help when asked", async () => {
  const version = await call({ args: ["--version"] });
  match(version.stdout, /^multus-shim \d+\.\d+\.\d+\n$/);
  const help = await call({ args: ["--help"] });
  match(help.stdout, /CNI_COMMAND=VERSION/);
  deepEqual([version.code, help.code], [0, 0]);
});

const AS_PASSTHRU: readonly [string, Given, Record<string, unknown>][] = [
  ["by name", { programName: "passthru" }, { type: "x" }],
  ["by name of a file", { programName: "passthru.js" }, {}],
  ["by argument", { args: ["--as-passthru"] }, {}],
  ["by configuration", {}, { type: "passthru" }],
];

Deno.test("run() hands on prevResult when it is passthru", async (t) => {
  using node = makeNode();
  for (const [name, given, conf] of AS_PASSTHRU) {
    for (const cniVersion of SUPPORTED_VERSIONS) {
      await t.step(`${name}, ${cniVersion}`, async () => {
        const prevResult = { ...RESULTS[cniVersion] as object, cniVersion };
        const stdin = confOf(node, { ...conf, cniVersion, prevResult });
        const { code, stdout } = await call({
          ...given,
          command: "ADD",
          stdin,
        });
        equal(code, 0, stdout);
        deepEqual(JSON.parse(stdout), prevResult);
      });
    }
  }
});

Deno.test("run() has an empty result, and no complaint, when passthru gets no prevResult", async (t) => {
  using node = makeNode();
  for (const cniVersion of SUPPORTED_VERSIONS) {
    await t.step(cniVersion, async () => {
      const stdin = confOf(node, { type: "passthru", cniVersion });
      const { code, stdout } = await call({ command: "ADD", stdin });
      equal(code, 0, stdout);
      deepEqual(JSON.parse(stdout), { cniVersion });
    });
  }
  for (const command of ["DEL", "CHECK", "STATUS", "GC"]) {
    await t.step(command, async () => {
      const stdin = confOf(node, { type: "passthru" });
      const outcome = await call({ command, stdin });
      deepEqual([outcome.code, outcome.stdout], [0, ""]);
    });
  }
  deepEqual(listSpool(node), []);
});

/** Calls and answers that are usual, that just are not, and that are none. */
function listVariations(node: Node): Readonly<Record<string, Given[]>> {
  const conf = confOf(node, {});
  const withEnv = (name: string, values: string[]): Given[] =>
    values.map((value) => ({ env: { [name]: value }, stdin: conf }));
  const withConf = (key: string, values: unknown[]): Given[] =>
    values.map((value) => ({ stdin: confOf(node, { [key]: value }) }));
  const long = "c".repeat(300);
  return {
    "a container's id": withEnv("CNI_CONTAINERID", [
      ...["c1", "C_1.x-y", "9", long, "-c", ".c", "_c", "c/d", "c d", "", "ä"],
      ...["c\u0010", "@", "[", "c`", "c{", "c:"],
    ]),
    "an interface's name": withEnv("CNI_IFNAME", [
      ...["e", "e".repeat(15), "e".repeat(16), "e:0", "e/0", "e 0", "..", "."],
      ...["_e", "-e", "é", "e\u0085", ""],
    ]),
    "a namespace": withEnv("CNI_NETNS", ["", "x"]),
    "a path": withEnv("CNI_PATH", ["", "/a:/b"]),
    "a version": withConf("cniVersion", [
      ...[...SUPPORTED_VERSIONS, "", null, undefined, 7, "1.1", "9.9.9", []],
    ]),
    "a socket's directory": withConf("daemonSocketDir", [
      ...[`${node.socketDir}/`, `${node.socketDir}//`, "run", 7, "/\0"],
    ]),
    "a state directory": withConf("cniDir", [
      ...["", null, "/", "/x/", "state", 7, {}, "/\0"],
    ]),
    "a time to wait": withConf("shimWaitSeconds", [0, 1, null, -1, "1", 1e9]),
    "a type": withConf("type", ["passthru", "x", null, 7]),
    "what is no configuration": ["", " ", "null", "[]", "7", '"x"', "{", "{}x"]
      .map((stdin) => ({ stdin })),
    "what is no text": [
      { stdin: new Uint8Array([0x7b, 0xff, 0x7d]) },
      { stdin: confOf(node, { x: "\uFFFD" }) },
    ],
    "a large configuration": [10, 16, 17, 100]
      .map((kB) => ({ stdin: { ...conf, x: "x".repeat(kB * 1024) } })),
    "a trace": withEnv("TRACEPARENT", ["", "x"]),
    "a variable that is no text": [
      "CNI_COMMAND",
      "CNI_ARGS",
      "TRACEPARENT",
    ].map((unreadable) => ({ unreadable, stdin: conf })),
    "an argument": [{ args: ["x"], stdin: conf }],
    "a name": [{ programName: "passthru", stdin: conf }],
  };
}

Deno.test("run() does what the whole program does, whether a call is a usual one or not", async (t) => {
  using node = makeNode();
  await using daemon = startScriptedDaemon(node.socketPath, () => [
    formatAnswer(200, encodeResult(RESULT)),
  ]);
  const asked = (from: number): unknown[] =>
    daemon.asked.slice(from).map(({ method, route, body }) => [
      method,
      route,
      body,
    ]);
  for (const [what, calls] of Object.entries(listVariations(node))) {
    await t.step(what, async () => {
      for (const given of calls) {
        for (const command of ["ADD", "DEL", "CHECK", "VERSION"]) {
          const start = daemon.asked.length;
          const outcome = await call({ ...given, command });
          const between = daemon.asked.length;
          const whole = await call(
            { ...given, command },
            (world) => goOn(world, {}),
          );
          const shown = `${command} ${JSON.stringify(given).slice(0, 300)}`;
          deepEqual(outcome, whole, shown);
          deepEqual(asked(start).slice(0, between - start), asked(between));
          ok(between - start <= 1, shown);
        }
      }
    });
  }
});

/** Answers to an ADD, as they come over the socket. */
function listAnswers(): Readonly<
  Record<string, readonly (string | Promise<void>)[]>
> {
  const body = encodeResult(RESULT);
  const usual = formatAnswer(200, body);
  const started = (headers: string): string =>
    `HTTP/1.1 200 OK\r\n${headers}\r\n\r\n`;
  const sized = (length: number): string =>
    started(`Content-Length: ${length}`) + body;
  const pause = (): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, 5));
  return {
    "at once": [usual],
    "in two pieces": [usual.slice(0, 50), pause(), usual.slice(50)],
    "head and body": [usual.slice(0, -body.length), pause(), body],
    "with names in lower case": [usual.replace("Content-L", "content-l")],
    "of HTTP/1.0": [usual.replace("HTTP/1.1", "HTTP/1.0")],
    "too short": [sized(body.length + 1)],
    "too long": [sized(body.length - 1)],
    "with two lengths": [
      started(`Content-Length: 5\r\nContent-Length: ${body.length}`) + body,
    ],
    "with the length twice": [
      started(
        `Content-Length: ${body.length}\r\ncontent-length: ${body.length}`,
      ) + body,
    ],
    "without length": [started("X: y") + body],
    "in chunks": [
      started("Transfer-Encoding: chunked") +
      `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
    ],
    "with chunks and length": [
      started(
        `Transfer-Encoding: chunked\r\nContent-Length: ${body.length}`,
      ) + body,
    ],
    "in another version": [
      formatAnswer(200, encodeResult({ ...RESULT, cniVersion: "1.0.0" })),
    ],
    "of none": [formatAnswer(200, encodeResult({}))],
    "with more than ASCII": [
      formatAnswer(
        200,
        encodeResult({ ...RESULT, dns: { domain: "kühl.example" } }),
      ),
    ],
    "empty": [formatAnswer(200, "")],
    "no result": [formatAnswer(200, "{}")],
    "no JSON": [formatAnswer(200, "{")],
    "an error": [formatAnswer(400, JSON.stringify({ code: 7, msg: "No" }))],
    "no content": ["HTTP/1.1 204 No Content\r\n\r\n"],
    "rubbish": ["rubbish"],
    "nothing": [],
  };
}

Deno.test("run() reads an answer as the whole program does, and asks once", async (t) => {
  for (const [what, pieces] of Object.entries(listAnswers())) {
    await t.step(what, async () => {
      for (const command of ["ADD", "CHECK"]) {
        using node = makeNode();
        await using daemon = startScriptedDaemon(node.socketPath, () => pieces);
        const given = { command, stdin: confOf(node, {}) };
        const outcome = await call(given);
        equal(daemon.asked.length, 1);
        const whole = await call(given, (world) => goOn(world, {}));
        const text = (stdout: string): string =>
          stdout.replaceAll(node.socketDir, "");
        equal(text(outcome.stdout), text(whole.stdout));
        equal(outcome.code, whole.code);
      }
    });
  }
});
