import assert from "node:assert/strict";
import { basename, join } from "node:path";
import fc from "fast-check";
import { waitUntil } from "../../tests/api_server/wait.ts";
import {
  type AutoConfig,
  type AutoConfigEvent,
  type AutoConfigOptions,
  OWN_FILE,
  ownFileOf,
  startAutoConfig,
} from "./auto_config.ts";
import { type DaemonConf, parseDaemonConf } from "./configuration.ts";
import { NO_FLAGS } from "./daemon_flags.ts";

/** What is promised: everything is noticed and put right within this. */
const NOTICED_MS = 2_000;

/** Where a test looks at what comes in the end, not at how long it takes. */
const QUICK = { lookMs: 100, settleMs: 5, graceMs: 50, minMs: 20, maxMs: 100 };

const HALF = '{"cniVersion":"1.0.0","name":"p","plugins":[{"type":"brid';

function list(name: string, ...capabilities: string[]): string {
  const on = Object.fromEntries(capabilities.map((key) => [key, true]));
  const plugins = [{ type: "bridge", capabilities: on }, { type: "portmap" }];
  return JSON.stringify({ cniVersion: "1.0.0", name, plugins });
}

function multus(name: string): string {
  const clusterNetwork = "/etc/cni/net.d/gone.conf";
  return JSON.stringify({ name, type: "multus-shim", clusterNetwork });
}

/** A directory as runtimes have it, and at most one keeper of it. */
class Node implements AsyncDisposable {
  readonly dir: string;
  events: AutoConfigEvent[] = [];
  #members: Record<string, unknown> = {};
  #keeper: AutoConfig | undefined;

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async create(files: Record<string, string> = {}): Promise<Node> {
    const node = new Node(await Deno.makeTempDir({ prefix: "auto-config-" }));
    await Deno.mkdir(join(node.dir, "net.d"));
    for (const [name, text] of Object.entries(files)) {
      await node.write(name, text);
    }
    return node;
  }

  conf(members: Record<string, unknown> = this.#members): DaemonConf {
    const text = JSON.stringify({
      multusConfigFile: "auto",
      cniConfigDir: this.path(),
      ...members,
    });
    return parseDaemonConf(text, { path: "config.json", flags: NO_FLAGS });
  }

  async start(
    members: Record<string, unknown> = {},
    options: Partial<AutoConfigOptions> = {},
  ): Promise<AutoConfig> {
    this.#members = members;
    this.#keeper = await startAutoConfig({
      conf: this.conf(),
      onEvent: (event) => this.events.push(event),
      ...options,
    });
    return this.#keeper;
  }

  async stop(): Promise<void> {
    await this.#keeper?.[Symbol.asyncDispose]();
    this.#keeper = undefined;
  }

  get keeper(): AutoConfig {
    assert.ok(this.#keeper);
    return this.#keeper;
  }

  path(...names: string[]): string {
    return join(this.dir, "net.d", ...names);
  }

  get file(): string {
    return ownFileOf(this.conf());
  }

  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(this.path(name), text);
  }

  async rename(from: string, to: string): Promise<void> {
    await Deno.rename(this.path(from), this.path(to));
  }

  async remove(name: string): Promise<void> {
    await Deno.remove(this.path(name));
  }

  async read(): Promise<string | undefined> {
    try {
      return await Deno.readTextFile(this.file);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /** The default network that our file names on disk. */
  async chosen(): Promise<string> {
    const text = await this.read();
    return text === undefined ? "" : basename(JSON.parse(text).clusterNetwork);
  }

  kinds(): string[] {
    return this.events.map(({ kind }) => kind);
  }

  async converge(
    expected: string,
    timeoutMs: number = NOTICED_MS,
  ): Promise<void> {
    const isThere = async (): Promise<boolean> =>
      await this.chosen() === expected && this.keeper.probe().ok;
    await waitUntil(isThere, { what: `${expected} chosen`, timeoutMs })
      .catch((error) => {
        assert.fail(`${error.message}; ${JSON.stringify(this.keeper.state())}`);
      });
  }

  async waitForProblem(
    reason: RegExp,
    timeoutMs: number = NOTICED_MS,
  ): Promise<void> {
    const hasIt = (): boolean => {
      const { ok, reason: given } = this.keeper.probe();
      return !ok && reason.test(given);
    };
    await waitUntil(hasIt, { what: `not ready: ${reason}`, timeoutMs })
      .catch((error) => {
        assert.fail(`${error.message}; ${this.keeper.probe().reason}`);
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Deno.remove(this.dir, { recursive: true });
  }
}

type Step = (node: Node) => Promise<void>;

/** Replaces by removing first, as careless writers do. */
function replace(name: string, text: string): Step {
  return async (node) => {
    await node.remove(name);
    await node.write(name, text);
  };
}

Deno.test("startAutoConfig() writes the configuration around the first one that is there", async () => {
  await using node = await Node.create({
    "10-a.conflist": list("a", "ips", "mac"),
    "20-b.conflist": list("b"),
    "README": "not a configuration",
  });
  const keeper = await node.start({ logLevel: "debug" });
  const text = await node.read() ?? "";
  assert.deepEqual(JSON.parse(text), {
    cniVersion: "1.0.0",
    name: "multus-cni-network",
    type: "multus-shim",
    clusterNetwork: node.path("10-a.conflist"),
    capabilities: { ips: true, mac: true },
    daemonSocketDir: "/run/multus",
    logLevel: "debug",
  });
  const { mode } = await Deno.stat(node.file);
  assert.equal((mode ?? 0) & 0o777, 0o600);
  assert.deepEqual(node.kinds(), ["chosen", "written"]);
  const { sha256, changedAt, ...state } = keeper.state();
  assert.match(sha256 ?? "", /^[0-9a-f]{64}$/);
  assert.ok(Math.abs(Date.now() - (changedAt ?? 0)) < 60_000);
  const chosen = node.path("10-a.conflist");
  const reason =
    `Default network is ${chosen}: lexically first CNI configuration of ${node.path()}`;
  assert.deepEqual(state, {
    mode: "auto",
    file: node.path(OWN_FILE),
    effective: true,
    chosen,
    reason,
    problems: [],
    repairs: 0,
  });
});

Deno.test("startAutoConfig() follows the files within 2 s, however they come and go", async () => {
  const a = list("a");
  const b = list("b");
  type Row = [what: string, steps: Step[], expected: string];
  const table: Row[] = [
    ["the better one first", [
      (node) => node.write("05-a.conflist", a),
      (node) => node.write("10-b.conflist", b),
    ], "05-a.conflist"],
    ["the better one last", [
      (node) => node.write("10-b.conflist", b),
      (node) => node.converge("10-b.conflist"),
      (node) => node.write("05-a.conflist", a),
    ], "05-a.conflist"],
    ["renamed", [
      (node) => node.write("05-a.conflist", a),
      (node) => node.converge("05-a.conflist"),
      (node) => node.rename("05-a.conflist", "07-c.conflist"),
    ], "07-c.conflist"],
    ["renamed away", [
      (node) => node.write("05-a.conflist", a),
      (node) => node.write("10-b.conflist", b),
      (node) => node.converge("05-a.conflist"),
      (node) => node.rename("05-a.conflist", "05-a.conflist.bak"),
    ], "10-b.conflist"],
    ["deleted", [
      (node) => node.write("05-a.conflist", a),
      (node) => node.write("10-b.conflist", b),
      (node) => node.converge("05-a.conflist"),
      (node) => node.remove("05-a.conflist"),
    ], "10-b.conflist"],
    ["deleted, and back", [
      (node) => node.write("05-a.conflist", a),
      (node) => node.converge("05-a.conflist"),
      (node) => node.remove("05-a.conflist"),
      (node) => node.waitForProblem(/No CNI configuration for the default/),
      (node) => node.write("05-a.conflist", a),
    ], "05-a.conflist"],
    ["half-written, then whole", [
      (node) => node.write("10-b.conflist", b),
      (node) => node.converge("10-b.conflist"),
      (node) => node.write("05-a.conflist", HALF),
      (node) => node.write("05-a.conflist", a),
    ], "05-a.conflist"],
    ["half-written for good", [
      (node) => node.write("05-a.conflist", a),
      (node) => node.write("10-b.conflist", b),
      (node) => node.converge("05-a.conflist"),
      (node) => node.write("05-a.conflist", HALF),
    ], "10-b.conflist"],
    ["empty and invalid ones first", [
      (node) => node.write("01-empty.conf", ""),
      (node) => node.write("02-list.conf", a),
      (node) => node.write("03-number.json", "7"),
      (node) => node.write("04-typeless.conf", '{"name":"x"}'),
      (node) => node.write("10-b.conf", '{"name":"b","type":"bridge"}'),
    ], "10-b.conf"],
    ["a .json", [
      (node) => node.write("10-b.json", '{"name":"b","type":"bridge"}'),
    ], "10-b.json"],
    ["replaced by removing", [
      (node) => node.write("05-a.conflist", a),
      (node) => node.write("10-b.conflist", b),
      (node) => node.converge("05-a.conflist"),
      replace("05-a.conflist", list("c")),
    ], "05-a.conflist"],
    ["ours under other names", [
      (node) =>
        node.write(
          "05-x.conflist",
          '{"name":"x","plugins":[{"type":"multus-shim"}]}',
        ),
      (node) => node.write("06-x.conf", multus("x")),
      (node) =>
        node.write(
          "07-x.conf",
          '{"name":"x","type":"y","delegates":[{"type":"multus"}]}',
        ),
      (node) => node.write("10-b.conflist", b),
    ], "10-b.conflist"],
  ];
  for (const [what, steps, expected] of table) {
    await using node = await Node.create();
    await node.start();
    for (const step of steps) await step(node);
    await node.converge(expected).catch((error) => {
      assert.fail(`${what}: ${error.message}`);
    });
  }
});

Deno.test("startAutoConfig() rewrites the configuration when the default network can do more", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  const keeper = await node.start();
  const before = keeper.state().sha256;
  await node.write("10-a.conflist", list("a", "bandwidth"));
  await waitUntil(
    async () => (await node.read() ?? "").includes('"bandwidth": true'),
    { what: "the new capability", timeoutMs: NOTICED_MS },
  );
  await waitUntil(() => keeper.state().sha256 !== before, { what: "its sum" });
  assert.deepEqual(node.kinds(), ["chosen", "written", "written"]);
});

Deno.test("startAutoConfig() counts what the list's sub-directory adds", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  await Deno.mkdir(node.path("a"));
  await node.write(
    "a/50-bw.conf",
    '{"type":"bandwidth","capabilities":{"bandwidth":true}}',
  );
  await node.start();
  assert.match(await node.read() ?? "", /"bandwidth": true/);
});

Deno.test("startAutoConfig() leaves identical content alone over 20 restarts", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a", "mac") });
  await node.start();
  await node.stop();
  const before = await Deno.stat(node.file);
  const text = await node.read();
  for (let restart = 0; restart < 20; restart++) {
    node.events = [];
    const keeper = await node.start();
    assert.deepEqual(node.kinds(), ["chosen"]);
    assert.equal(keeper.state().changedAt, before.mtime?.getTime());
    await node.stop();
  }
  const after = await Deno.stat(node.file);
  assert.equal(await node.read(), text);
  assert.deepEqual([after.mtime, after.ino], [before.mtime, before.ino]);
});

Deno.test("startAutoConfig() replaces what an earlier Multus wrote, at start and only then", async () => {
  const first = ["", HALF, multus("old"), '{"name":"x","type":"bridge"}'];
  for (const text of first) {
    await using node = await Node.create({
      [OWN_FILE]: text,
      "10-a.conflist": list("a"),
    });
    await Deno.chmod(node.path(OWN_FILE), 0o644);
    const keeper = await node.start();
    assert.equal(await node.chosen(), "10-a.conflist");
    assert.deepEqual(node.kinds(), ["chosen", "written"], text);
    assert.equal(keeper.state().repairs, 0);
    const { mode } = await Deno.stat(node.file);
    assert.equal((mode ?? 0) & 0o777, 0o600);
  }
});

Deno.test("startAutoConfig() keeps the last good configuration when nothing is to be chosen", async () => {
  await using node = await Node.create({ [OWN_FILE]: multus("old") });
  const keeper = await node.start();
  assert.equal(await node.read(), multus("old"));
  assert.ok(!keeper.probe().ok);
  assert.match(
    keeper.probe().reason,
    /^No CNI configuration for the default network .*; the last good configuration is kept$/,
  );
  assert.ok(keeper.state().effective);
  assert.deepEqual(node.kinds(), ["primary-missing"]);
  await node.write("10-a.conflist", list("a"));
  await node.converge("10-a.conflist");
  await node.write("10-a.conflist", "");
  await node.waitForProblem(
    /No CNI configuration .*"10-a.conflist" \(.*not JSON/,
  );
  assert.equal(await node.chosen(), "10-a.conflist");
});

Deno.test("startAutoConfig() is not ready, and writes nothing, where there is nothing", async () => {
  await using node = await Node.create({ "10-a.conflist": HALF });
  const keeper = await node.start();
  assert.equal(await node.read(), undefined);
  assert.ok(!keeper.state().effective);
  assert.equal(keeper.state().sha256, undefined);
  assert.deepEqual(node.kinds(), ["primary-missing", "not-effective"]);
  node.events = [];
  await node.write("10-a.conflist", list("a"));
  await node.converge("10-a.conflist");
  const told = ["chosen", "written", "primary-back", "effective"];
  assert.deepEqual(node.kinds(), told);
});

Deno.test("startAutoConfig() waits for directories that are not there yet", async () => {
  await using node = await Node.create();
  await Deno.remove(node.path());
  const autoDir = join(node.dir, "auto.d");
  await node.start({ multusAutoconfigDir: autoDir });
  assert.ok(!node.keeper.probe().ok);
  await Deno.mkdir(node.path());
  await Deno.mkdir(autoDir);
  await Deno.writeTextFile(join(autoDir, "10-a.conflist"), list("a"));
  await node.converge("10-a.conflist");
  // What is watched is gone and made anew: the timer finds out.
  await Deno.remove(autoDir, { recursive: true });
  await Deno.mkdir(autoDir);
  await Deno.writeTextFile(join(autoDir, "05-b.conflist"), list("b"));
  await node.converge("05-b.conflist");
});

Deno.test("startAutoConfig() with a pinned file takes that one or none", async () => {
  await using node = await Node.create({ "05-a.conflist": list("a") });
  const keeper = await node.start({ multusMasterCNI: "10-b.conflist" });
  assert.equal(await node.read(), undefined);
  assert.match(
    keeper.probe().reason,
    /^The default network's file is not there/,
  );
  await node.write("10-b.conflist", list("b"));
  await node.converge("10-b.conflist");
  await node.remove("10-b.conflist");
  await node.waitForProblem(/multusMasterCNI allows no other: "10-b.conflist"/);
  assert.equal(await node.chosen(), "10-b.conflist");
});

Deno.test("startAutoConfig() reads a pinned file whatever its name ends in, but no path", async () => {
  await using node = await Node.create({ "calico.bak": list("a") });
  await node.start({ multusMasterCNI: "calico.bak" });
  assert.equal(await node.chosen(), "calico.bak");
  await node.stop();
  const keeper = await node.start({ multusMasterCNI: "../net.d/calico.bak" });
  assert.ok(!keeper.probe().ok);
});

Deno.test("startAutoConfig() notices within 2 s what another agent does, and puts it right", async () => {
  const table: [what: string, step: Step, told: RegExp][] = [
    [
      "renamed",
      (node) => node.rename(OWN_FILE, `${OWN_FILE}.cilium_bak`),
      /renamed "00-multus.conf" to "00-multus.conf.cilium_bak"/,
    ],
    ["deleted", (node) => node.remove(OWN_FILE), /deleted "00-multus.conf"/],
    ["emptied", (node) => node.write(OWN_FILE, ""), /changed "00-multus.conf"/],
    [
      "changed",
      (node) => node.write(OWN_FILE, multus("x")),
      /changed "00-multus.conf"/,
    ],
    ["replaced by a link", async (node) => {
      await node.remove(OWN_FILE);
      await Deno.symlink(node.path("10-a.conflist"), node.path(OWN_FILE));
    }, /changed "00-multus.conf"|deleted/],
  ];
  for (const [what, step, told] of table) {
    await using node = await Node.create({ "10-a.conflist": list("a") });
    const keeper = await node.start();
    const text = await node.read();
    node.events = [];
    await step(node);
    await waitUntil(() => keeper.state().repairs > 0, {
      what: `${what}: repaired`,
      timeoutMs: NOTICED_MS,
    });
    assert.equal(await node.read(), text, what);
    const { isFile } = await Deno.lstat(node.file);
    assert.ok(isFile, what);
    assert.deepEqual(node.kinds().slice(0, 2), ["not-effective", "repaired"]);
    assert.match(node.events[0]?.message ?? "", told);
    assert.ok(keeper.state().effective);
  }
});

Deno.test("startAutoConfig() repairs ever more rarely, and says who is at it", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  const timing = { ...QUICK, minMs: 80, maxMs: 600_000 };
  const keeper = await node.start({}, { timing });
  const takeAway = async (): Promise<void> => {
    await node.rename(OWN_FILE, "own.bak");
  };
  for (let times = 1; times <= 4; times++) {
    await takeAway();
    await waitUntil(() => keeper.state().repairs === times, {
      what: `repair ${times}`,
    });
  }
  // The next one is due 640 ms after the last.
  node.events = [];
  await takeAway();
  await node.waitForProblem(
    /to "own.bak"; another agent keeps renaming us: repaired 4 times/,
  );
  assert.ok(!keeper.state().effective);
  await waitUntil(() => keeper.state().repairs === 5, { what: "repair 5" });
  assert.deepEqual(node.kinds(), ["not-effective", "repaired", "effective"]);
  assert.ok(keeper.probe().ok);
});

Deno.test("startAutoConfig() is not ready while a file sorts before ours, and touches it not", async () => {
  for (
    const text of [list("x"), '{"name":"x","plugins":[{"type":"multus"}]}']
  ) {
    await using node = await Node.create({ "10-a.conflist": list("a") });
    const keeper = await node.start();
    await node.write("00-aaa.conflist", text);
    await node.waitForProblem(
      /"00-aaa.conflist" sorts before "00-multus.conf"/,
    );
    assert.ok(!keeper.state().effective);
    assert.equal(keeper.state().repairs, 0);
    assert.equal(await Deno.readTextFile(node.path("00-aaa.conflist")), text);
    assert.ok(node.kinds().includes("not-effective"));
    await node.remove("00-aaa.conflist");
    await node.converge("10-a.conflist");
    assert.ok(node.kinds().includes("effective"));
  }
});

Deno.test("startAutoConfig() says when it cannot write, and goes on trying", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  await Deno.mkdir(node.path(OWN_FILE));
  const keeper = await node.start({}, { timing: QUICK });
  assert.match(keeper.probe().reason, /^Cannot keep .*00-multus.conf: /);
  // A second try fails like the first, and is not told again.
  await node.write("90-z.conf", "");
  await node.write("05-a.conflist", list("a"));
  await waitUntil(() => keeper.state().chosen === node.path("05-a.conflist"), {
    what: "another look",
  });
  await node.remove("90-z.conf");
  await node.remove("05-a.conflist");
  const told = node.kinds().filter((kind) => kind === "not-effective");
  assert.equal(told.length, 1);
  assert.ok(!keeper.state().effective);
  await Deno.remove(node.path(OWN_FILE));
  await node.converge("10-a.conflist");
  const names = await Array.fromAsync(Deno.readDir(node.path()));
  assert.deepEqual(names.map(({ name }) => name).sort(), [
    OWN_FILE,
    "10-a.conflist",
  ]);
});

Deno.test("startAutoConfig() never shows a part of a configuration while the default network is torn", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  await node.start({}, { timing: QUICK });
  const texts = [HALF, "", "{}", list("a", "mac"), list("b"), list("a", "ips")];
  let reads = 0;
  for (let round = 0; round < 60; round++) {
    await node.write("10-a.conflist", texts[round % texts.length] ?? "");
    for (let read = 0; read < 20; read++) {
      const { type, clusterNetwork } = JSON.parse(await node.read() ?? "");
      assert.equal(type, "multus-shim");
      assert.equal(basename(clusterNetwork), "10-a.conflist");
      reads++;
    }
  }
  assert.equal(reads, 1_200);
  await node.write("10-a.conflist", list("a", "mac"));
  await waitUntil(
    async () => (await node.read() ?? "").includes('"mac": true'),
    { what: "the last one" },
  );
});

Deno.test("startAutoConfig() is not ready without the readiness indicator, and changes no file", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  const readinessindicatorfile = join(node.dir, "ready");
  for (const multusConfigFile of ["auto", ""]) {
    const keeper = await node.start(
      { readinessindicatorfile, multusConfigFile },
      { timing: QUICK },
    );
    assert.ok(!keeper.probe().ok);
    await Deno.writeTextFile(readinessindicatorfile, "");
    await waitUntil(() => keeper.probe().ok, {
      what: "ready",
      timeoutMs: NOTICED_MS,
    });
    await Deno.remove(readinessindicatorfile);
    await node.waitForProblem(/readiness indicator is not there: .*\/ready$/);
    assert.equal(await node.chosen(), "10-a.conflist");
    assert.ok(keeper.state().effective);
    const told = node.kinds().filter((kind) => kind.startsWith("indicator"));
    assert.deepEqual(told, [
      "indicator-missing",
      "indicator-back",
      "indicator-missing",
    ]);
    await node.stop();
    node.events = [];
  }
});

Deno.test("startAutoConfig() leaves its file when it stops, unless it is to clean up", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  for (const cleanupConfigOnExit of [false, true]) {
    await node.start({ cleanupConfigOnExit });
    await node.stop();
    assert.equal(
      await node.chosen(),
      cleanupConfigOnExit ? "" : "10-a.conflist",
    );
  }
});

Deno.test("startAutoConfig() without multusConfigFile writes nothing and is ready", async () => {
  await using node = await Node.create({ "10-a.conflist": list("a") });
  const keeper = await node.start({
    multusConfigFile: "",
    cleanupConfigOnExit: true,
  });
  assert.equal(await node.read(), undefined);
  assert.deepEqual(keeper.probe(), {
    name: "configuration",
    ok: true,
    reason: "No configuration is written for runtimes",
  });
  assert.equal(keeper.state().mode, "off");
  assert.equal(keeper.state().file, undefined);
});

Deno.test("startAutoConfig() copies a file when it is whole, and whenever it changes", async () => {
  for (const name of ["00-multus.conf", "05-mine.conf", "from-config-map"]) {
    await using node = await Node.create({ "10-a.conflist": list("a") });
    const source = join(node.dir, name);
    await Deno.writeTextFile(source, HALF);
    const keeper = await node.start({ multusConfigFile: source }, {
      timing: QUICK,
    });
    const expected = name.endsWith(".conf") ? name : OWN_FILE;
    assert.equal(node.file, node.path(expected));
    assert.ok(!keeper.probe().ok);
    assert.match(keeper.probe().reason, /is not JSON/);
    assert.equal(await node.read(), undefined);
    for (const text of [multus("a"), `${multus("b")}\n\n`]) {
      await Deno.writeTextFile(source, text);
      await waitUntil(async () => await node.read() === text, {
        what: "the copy",
        timeoutMs: NOTICED_MS,
      });
    }
    assert.equal(keeper.state().mode, "copy");
    await Deno.remove(source);
    await node.waitForProblem(
      /^Cannot read .*; the last good configuration is kept$/,
    );
    assert.equal(await node.read(), `${multus("b")}\n\n`);
    await Deno.writeTextFile(source, list("not ours"));
    await node.waitForProblem(/This is a list|not a configuration of Multus/);
    assert.equal(await node.read(), `${multus("b")}\n\n`);
  }
});

Deno.test("reconfigure() goes on with another configuration at once, without a trace of the old", async () => {
  await using node = await Node.create({
    "10-a.conflist": list("a"),
    "20-b.conflist": list("b"),
  });
  const keeper = await node.start();
  await keeper.reconfigure(node.conf({ multusMasterCNI: "20-b.conflist" }));
  assert.equal(await node.chosen(), "20-b.conflist");
  const source = join(node.dir, "05-mine.conf");
  await Deno.writeTextFile(source, multus("mine"));
  await keeper.reconfigure(node.conf({ multusConfigFile: source }));
  assert.equal(
    await Deno.readTextFile(node.path("05-mine.conf")),
    multus("mine"),
  );
  assert.equal(await node.read(), undefined);
  assert.ok(keeper.probe().ok, keeper.probe().reason);
  await keeper.reconfigure(node.conf({ multusConfigFile: "" }));
  assert.equal(keeper.state().mode, "off");
  assert.equal(keeper.state().chosen, undefined);
  await node.remove("05-mine.conf");
  await keeper.reconfigure(node.conf({}));
  assert.equal(await node.chosen(), "10-a.conflist");
  assert.equal(keeper.state().repairs, 0);
});

Deno.test("startAutoConfig() removes what a crash left half-written, and nothing fresh", async () => {
  await using node = await Node.create({
    "10-a.conflist": list("a"),
    ".tmp-old": HALF,
    ".tmp-fresh": HALF,
    "tmp-other": HALF,
  });
  const longAgo = new Date(Date.now() - 3_600_000);
  await Deno.utime(node.path(".tmp-old"), longAgo, longAgo);
  await Deno.utime(node.path("tmp-other"), longAgo, longAgo);
  await node.start();
  const entries = await Array.fromAsync(Deno.readDir(node.path()));
  assert.deepEqual(entries.map(({ name }) => name).sort(), [
    ".tmp-fresh",
    OWN_FILE,
    "10-a.conflist",
    "tmp-other",
  ]);
});

Deno.test("startAutoConfig() chooses as the model does, whatever is done to the directory", async () => {
  const names = ["03-c.conf", "05-a.conf", "10-b.conf", "20-d.conf"];
  const texts: Record<string, string> = {
    good: '{"name":"a","type":"bridge"}',
    own: multus("x"),
    nested: '{"name":"a","type":"x","delegates":[{"type":"multus-shim"}]}',
    half: HALF,
    empty: "",
    gone: "",
  };
  const change = fc.record({
    name: fc.constantFrom(...names),
    kind: fc.constantFrom(...Object.keys(texts)),
  });
  const changes = fc.array(change, { minLength: 1, maxLength: 12 });
  const property = fc.asyncProperty(changes, async (changes) => {
    await using node = await Node.create();
    await node.start({}, { timing: QUICK });
    const model = new Map<string, string>();
    let last = "";
    for (const { name, kind } of changes) {
      model.set(name, kind);
      if (kind === "gone") {
        await Deno.remove(node.path(name)).catch(() => {});
      } else await node.write(name, texts[kind] ?? "");
      last = await node.chosen();
    }
    const [first] = [...model].filter(([, kind]) => kind === "good")
      .map(([name]) => name).sort();
    if (first !== undefined) return await node.converge(first);
    await node.waitForProblem(/^No CNI configuration for the default network/);
    // What was good once is kept.
    if (last !== "") assert.ok(names.includes(await node.chosen()));
  });
  await fc.assert(property, { numRuns: 25 });
});
