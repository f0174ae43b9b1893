/**
 * `multusctl install` as a program, with exactly its grants, on a node where
 * the shim is being executed, and where the power may fail.
 */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import {
  bundleAll,
  type Bundles,
  writeLaunchers,
} from "../deployments/build.ts";
import { parseProfile } from "../lib/cli/profile.ts";
import { checksumAt } from "../lib/cli/install_file.ts";
import type { Profile } from "../lib/grants.ts";
import { createResultCache } from "../lib/cni/result_cache.ts";
import { createRecords } from "../lib/daemon/records.ts";
import { auditEnv, collect, summarize } from "./audit.ts";
import { installNoopPlugin, readCalls } from "./noop_plugin.ts";
import { BUNDLES, type Ran, runProgram } from "./node.ts";
import { nodeTest } from "./on_node.ts";

/** As many shims are executed at once as a node starts pods after a reboot. */
const SHIMS = 50;

const decoder = new TextDecoder();

/** A node in a directory, and the programs that are to be installed on it. */
/** A child that is being started holds a file for a millisecond or two; a try takes as long. */
const BUSY_TRIES_MAX = 50;

class InstallPlace implements AsyncDisposable {
  readonly dir: string;
  readonly profile: Profile;
  readonly bundles: Bundles;

  private constructor(dir: string, bundles: Bundles) {
    this.dir = dir;
    this.bundles = bundles;
    this.profile = parseProfile("{}", {
      socketDir: join(dir, "run"),
      hostSocketDir: join(dir, "run"),
      cniConfDir: join(dir, "net.d"),
      multusConfDir: join(dir, "multus.net.d"),
      cniBinDirs: [join(dir, "bin")],
      cniStateDir: join(dir, "lib", "multus"),
      daemonConfig: join(dir, "daemon-config.json"),
      libexecDir: join(dir, "programs", "libexec"),
      plugins: [],
      serviceAccountDir: join(dir, "serviceaccount"),
      kubeconfigFiles: [],
      apiServers: ["127.0.0.1:6443"],
      podResourcesSocket: join(dir, "kubelet.sock"),
      deviceCheckpoint: join(dir, "checkpoint"),
      deviceInfoDir: join(dir, "devinfo"),
      deno: join(dir, "deno"),
      hostDeno: join(dir, "elsewhere", "deno"),
      programDir: join(dir, "programs"),
    });
  }

  static async create(): Promise<InstallPlace> {
    const dir = await Deno.realPath(
      await Deno.makeTempDir({ prefix: "multus-install-" }),
    );
    const given = Deno.env.get(BUNDLES) ?? "";
    const made = join(dir, "bundles");
    if (given === "") await Deno.mkdir(made);
    const bundles = given === "" ? await bundleAll(made, () => {}) : {
      "multus-shim": join(given, "multus-shim.js"),
      "multus-daemon": join(given, "multus-daemon.js"),
      "multusctl": join(given, "multusctl.js"),
    };
    const place = new InstallPlace(dir, bundles);
    await Deno.mkdir(place.bin);
    await Deno.mkdir(place.profile.cniConfDir);
    await Deno.copyFile(Deno.execPath(), place.profile.deno);
    await writeLaunchers(bundles, {
      profile: place.profile,
      target: place.profile.programDir,
      say: () => {},
    });
    return place;
  }

  get bin(): string {
    return this.profile.cniBinDirs[0] ?? "";
  }

  get shim(): string {
    return join(this.bin, "multus-shim");
  }

  /** Puts another release beside multusctl: other bytes of shim and deno that do the same. */
  async release(name: string): Promise<void> {
    const shim = join(this.profile.programDir, "multus-shim");
    await Deno.writeTextFile(shim, `// ${name}\n`, { append: true });
    await Deno.remove(this.profile.deno);
    await Deno.copyFile(Deno.execPath(), this.profile.deno);
    await Deno.writeTextFile(this.profile.deno, name, { append: true });
  }

  /** The command line of an install; the directories are not those of this machine. */
  get command(): [string, ...string[]] {
    return [
      join(this.profile.programDir, "multusctl"),
      "install",
      "--cni-bin-dir",
      this.bin,
      "--cni-conf-dir",
      this.profile.cniConfDir,
    ];
  }

  async install(): Promise<Ran> {
    // The deno that was copied for this test may still be open for writing in a child that another test is starting.
    for (let tries = 0;; tries++) {
      const ran = await runProgram(this.command, { clearEnv: true });
      if (tries < BUSY_TRIES_MAX && ran.stderr.includes("Text file busy")) {
        continue;
      }
      assert.equal(ran.code, 0, ran.stderr);
      return ran;
    }
  }

  async version(): Promise<void> {
    const { code, stdout } = await runProgram([this.shim], {
      stdin: '{"cniVersion":"1.0.0"}',
      env: { CNI_COMMAND: "VERSION" },
      clearEnv: true,
    });
    assert.equal(code, 0, stdout);
    assert.equal(JSON.parse(stdout).cniVersion, "1.0.0");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

interface RunningShim {
  readonly child: Deno.ChildProcess;
  /** Ends its input; what it printed. */
  finish(): Promise<unknown>;
}

/** A shim that executes until its input ends. */
function startShim(path: string): RunningShim {
  const child = new Deno.Command(path, {
    env: { CNI_COMMAND: "VERSION" },
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return {
    child,
    finish: async () => {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode('{"cniVersion":"1.0.0"}'));
      await writer.close();
      const { code, stdout, stderr } = await child.output();
      assert.equal(code, 0, decoder.decode(stderr));
      return JSON.parse(decoder.decode(stdout));
    },
  };
}

Deno.test("install as a program puts a shim there that works, with no more than its grants", async () => {
  await using place = await InstallPlace.create();
  const { stdout } = await place.install();
  assert.match(stdout, /^multus\.d\/deno: installed$/m);
  await place.version();
  assert.equal(
    await checksumAt(join(place.bin, "multus.d", "deno")),
    await checksumAt(Deno.execPath()),
  );
  const passthru = await runProgram([join(place.bin, "passthru")], {
    stdin:
      '{"cniVersion":"1.0.0","name":"x","type":"passthru","prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/24"}]}}',
    env: {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "a",
      CNI_NETNS: "/run/netns/a",
      CNI_IFNAME: "eth0",
      CNI_PATH: place.bin,
    },
    clearEnv: true,
  });
  assert.equal(passthru.code, 0, passthru.stdout);
  assert.equal(JSON.parse(passthru.stdout).ips[0].address, "10.0.0.1/24");
  const uninstalled = await runProgram(
    [place.command[0], "uninstall", ...place.command.slice(2)],
    { clearEnv: true },
  );
  assert.equal(uninstalled.code, 0, uninstalled.stderr);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(place.bin)), []);
});

Deno.test(`install updates while ${SHIMS} shims are executed: none fails, none is cut off`, async () => {
  await using place = await InstallPlace.create();
  await place.install();
  const shims = Array.from({ length: SHIMS }, () => startShim(place.shim));
  let isUpdating = true;
  const others = (async () => {
    // Shims that begin in the middle of it.
    while (isUpdating) await place.version();
  })();
  try {
    for (const name of ["two", "three"]) {
      await place.release(name);
      const { stdout } = await place.install();
      assert.match(stdout, /^multus\.d\/deno: updated$/m);
      assert.match(stdout, /^multus-shim: updated$/m);
    }
  } finally {
    isUpdating = false;
    await others;
    const answers = await Promise.all(shims.map((shim) => shim.finish()));
    assert.equal(answers.length, SHIMS);
  }
  await place.version();
});

/** Waits until an unfinished file of some size is there: the write is under way, the rename to come. */
async function unfinishedFile(dirs: readonly string[]): Promise<string> {
  const signal = AbortSignal.timeout(60_000);
  while (!signal.aborted) {
    for (const dir of dirs) {
      for await (const { name } of Deno.readDir(dir)) {
        const path = join(dir, name);
        if (!name.startsWith(".tmp-")) continue;
        const info = await Deno.lstat(path).catch(() => undefined);
        if ((info?.size ?? 0) > 1_000_000) return path;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Deno.errors.TimedOut("No file was being written");
}

Deno.test("install that ends between write and rename leaves a shim that works, and the next one puts all right", async () => {
  await using place = await InstallPlace.create();
  await place.install();
  const deno = join(place.bin, "multus.d", "deno");
  const before = await checksumAt(deno);
  await place.release("two");
  const [program, ...args] = place.command;
  const installer = new Deno.Command(program, {
    args,
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const left = await unfinishedFile([dirname(deno)]);
  installer.kill("SIGKILL");
  await installer.status;
  assert.equal(await checksumAt(deno), before);
  assert.ok((await Deno.lstat(left)).isFile);
  await place.version();
  await place.install();
  assert.equal(await checksumAt(deno), await checksumAt(place.profile.deno));
  await assert.rejects(Deno.lstat(left), Deno.errors.NotFound);
  await place.version();
});

/** A pod that Multus attached to two networks, with a device. */
async function recordPod(
  { profile }: InstallPlace,
  containerId: string,
): Promise<void> {
  const records = createRecords({ dir: profile.cniStateDir, bootId: "boot" });
  const attachments = ["primary", "secondary"].map((name, index) => ({
    config: JSON.stringify({ cniVersion: "1.0.0", name, type: "noop" }),
    name,
    ifname: index === 0 ? "eth0" : "net1",
    isDefault: index === 0,
    deviceInfoFile: join(profile.deviceInfoDir, "cni", name),
  }));
  const netns = `/run/netns/${containerId}`;
  using handle = await records.begin({ containerId, netns, attachments });
  for (const [index, { name, config, ifname }] of attachments.entries()) {
    await handle.update(index, { state: "done" });
    await createResultCache(profile.cniStateDir).write({
      networkName: name,
      containerId,
      ifname,
      netns,
      cniArgs: [],
      capabilityArgs: {},
      config,
      result: '{"cniVersion":"1.0.0"}',
    });
  }
}

nodeTest(
  "install and uninstall ask for nothing outside their grants, and use all of them",
  async () => {
    await using place = await InstallPlace.create();
    const { profile } = place;
    const audit = join(place.dir, "audit");
    await Deno.mkdir(audit);
    const multusctl = async (...args: string[]): Promise<Ran> => {
      const [program] = place.command;
      const profileFile = join(profile.programDir, "profile.json");
      return await runProgram([program, ...args, "--profile", profileFile], {
        env: auditEnv("multusctl", audit),
        clearEnv: true,
      });
    };
    await Deno.writeTextFile(
      join(profile.cniConfDir, "10-primary.conf"),
      '{"cniVersion":"1.0.0","name":"primary","type":"noop"}',
    );
    await Deno.mkdir(join(place.bin, "calls"));
    await installNoopPlugin(place.bin, "noop", {});
    await Deno.mkdir(profile.socketDir);
    await Deno.writeTextFile(join(profile.socketDir, "boot-id"), "boot");

    const installed = await multusctl("install", "--multus-conf-file=auto");
    assert.equal(installed.code, 0, installed.stderr);
    await Deno.mkdir(profile.cniStateDir, { recursive: true });
    for (const pod of ["gone", "runs"]) await recordPod(place, pod);
    await Deno.writeTextFile("/run/netns/runs", "");
    try {
      const first = await multusctl("uninstall");
      assert.equal(first.code, 1, first.stdout + first.stderr);
      assert.match(first.stdout, /^Container runs: runs with net1/m);
    } finally {
      await Deno.remove("/run/netns/runs");
    }
    const second = await multusctl("uninstall");
    assert.equal(second.code, 0, second.stdout + second.stderr);
    const calls = await readCalls(place.bin);
    assert.deepEqual(
      calls.map(({ command, env }) => `${command} ${env.CNI_CONTAINERID}`),
      ["DEL gone", "DEL gone", "DEL runs", "DEL runs"],
    );
    for await (const { name } of Deno.readDir(audit)) {
      const text = await Deno.readTextFile(join(audit, name));
      assert.deepEqual(summarize("multusctl", profile, text).outside, []);
    }
    await collect(profile, audit);
  },
);
