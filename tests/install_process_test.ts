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
import { BUNDLES, type Ran, runProgram } from "./node.ts";

/** As many shims are executed at once as a node starts pods after a reboot. */
const SHIMS = 50;

const decoder = new TextDecoder();

/** A node in a directory, and the programs that are to be installed on it. */
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
    const ran = await runProgram(this.command, { clearEnv: true });
    assert.equal(ran.code, 0, ran.stderr);
    return ran;
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
