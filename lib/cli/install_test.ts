import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import type { Profile } from "../grants.ts";
import { checksumAt } from "./install_file.ts";
import { renderLauncher } from "./launcher.ts";
import { runMultusctl } from "./multusctl.ts";
import { formatProfile, PROFILE_NAME } from "./profile.ts";

const FLANNEL = JSON.stringify({
  cniVersion: "1.0.0",
  name: "cbr0",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
});

/** A host's root and a directory of programs, as in the container of the installer. */
class Place implements AsyncDisposable {
  readonly host: string;
  readonly programs: string;
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.host = join(dir, "hostroot");
    this.programs = join(dir, "programs");
  }

  static async create(options: {
    files?: Readonly<Record<string, string>>;
    links?: Readonly<Record<string, string>>;
  } = {}): Promise<Place> {
    const dir = await Deno.realPath(
      await Deno.makeTempDir({ prefix: "multus-install-" }),
    );
    const place = new Place(dir);
    await place.write("/opt/cni/bin/bridge", "bridge", 0o755);
    await place.write("/etc/cni/net.d/10-flannel.conflist", FLANNEL);
    await place.write("/etc/containerd/config.toml", "version = 2\n");
    for (const [path, text] of Object.entries(options.files ?? {})) {
      await place.write(path, text, 0o755);
    }
    for (const [path, target] of Object.entries(options.links ?? {})) {
      await Deno.mkdir(dirname(place.host + path), { recursive: true });
      await Deno.symlink(target, place.host + path);
    }
    await place.#makePrograms();
    return place;
  }

  async #makePrograms(): Promise<void> {
    await Deno.mkdir(join(this.programs, "plugins"), { recursive: true });
    await this.release("one");
    const deno = join(this.programs, "deno");
    await Deno.writeTextFile(deno, "#!/bin/sh\necho deno\n", { mode: 0o755 });
    for (const name of ["ipvlan", "host-local"]) {
      await Deno.writeTextFile(
        join(this.programs, "plugins", name),
        `reference ${name}`,
        { mode: 0o755 },
      );
    }
    await Deno.writeTextFile(
      join(this.programs, PROFILE_NAME),
      formatProfile(this.profile),
    );
  }

  /** Puts another version of the shim beside multusctl. */
  async release(version: string): Promise<void> {
    const launcher = renderLauncher({
      deno: "/elsewhere/deno",
      grants: [{ kind: "env", value: "CNI_COMMAND", why: "" }],
      v8Flags: [],
      source: `// ${version}\n`,
    });
    await Deno.writeTextFile(join(this.programs, "multus-shim"), launcher);
  }

  get profile(): Profile {
    return {
      socketDir: join(this.#dir, "run"),
      hostSocketDir: "/run/multus",
      cniConfDir: join(this.host, "etc/cni/net.d"),
      multusConfDir: "/etc/cni/multus/net.d",
      cniBinDirs: ["/opt/cni/bin"],
      cniStateDir: join(this.host, "var/lib/cni/multus"),
      daemonConfig: "/etc/cni/net.d/multus.d/daemon-config.json",
      hostRoot: this.host,
      libexecDir: join(this.programs, "libexec"),
      plugins: [],
      serviceAccountDir: "/var/run/secrets",
      kubeconfigFiles: [],
      apiServers: ["10.96.0.0/12"],
      podResourcesSocket: "/p.sock",
      deviceCheckpoint: "/c",
      deviceInfoDir: "/d",
      deno: join(this.programs, "deno"),
      hostDeno: "/opt/cni/bin/multus.d/deno",
      programDir: this.programs,
    };
  }

  async write(path: string, text: string, mode = 0o644): Promise<void> {
    const seen = this.host + path;
    await Deno.mkdir(dirname(seen), { recursive: true });
    await Deno.writeTextFile(seen, text, { mode });
  }

  async read(path: string): Promise<string> {
    return await Deno.readTextFile(this.host + path);
  }

  /** Runs multusctl; what it said and its exit code. */
  async run(...args: string[]): Promise<{ code: number; said: string }> {
    let said = "";
    const write = (text: string): void => void (said += text);
    const code = await runMultusctl(args, {
      env: () => undefined,
      stdout: write,
      stdoutBytes: () => {},
      stderr: write,
      isTerminal: false,
      programDir: this.programs,
    });
    return { code, said };
  }

  /** Runs multusctl and expects it to work; what it said. */
  async ok(...args: string[]): Promise<string> {
    const { code, said } = await this.run(...args);
    assert.equal(code, 0, said);
    return said;
  }

  /** Everything on the host: kind, mode, content, modification time. */
  async snapshot(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    const walk = async (dir: string): Promise<void> => {
      for await (const { name } of Deno.readDir(this.host + dir)) {
        const path = `${dir}/${name}`;
        const info = await Deno.lstat(this.host + path);
        const mode = ((info.mode ?? 0) & 0o7777).toString(8);
        if (info.isDirectory) await walk(path);
        found[path] = info.isSymlink
          ? `link ${await Deno.readLink(this.host + path)}`
          : info.isDirectory
          ? `dir ${mode}`
          : `file ${mode} ${info.mtime?.getTime()} ${await checksumAt(
            this.host + path,
          )}`;
      }
    };
    await walk("");
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#dir, { recursive: true });
  }
}

Deno.test("install puts the shim under its names, and the deno that it starts", async () => {
  await using place = await Place.create();
  const said = await place.ok("install");
  const shim = await place.read("/opt/cni/bin/multus-shim");
  assert.match(shim, /exec .*\/opt\/cni\/bin\/multus\.d\/deno run /);
  assert.match(shim, /--allow-env=CNI_COMMAND/);
  for (const name of ["multus", "passthru"]) {
    assert.equal(await place.read(`/opt/cni/bin/${name}`), shim);
  }
  assert.match(await place.read("/opt/cni/bin/multus.d/deno"), /echo deno/);
  assert.match(said, /Programs go to \/opt\/cni\/bin$/m);
  assert.match(said, /^multus-shim: installed$/m);
});

Deno.test("install done twice changes nothing", async () => {
  await using place = await Place.create();
  const args = ["install", "--multus-conf-file=auto", "--plugins=ipvlan"];
  await place.ok(...args);
  const before = await place.snapshot();
  const said = await place.ok(...args);
  assert.deepEqual(await place.snapshot(), before);
  assert.match(said, /^multus-shim: unchanged$/m);
  assert.match(said, /^00-multus\.conf: unchanged;/m);
});

Deno.test("install finds the directories of the distribution, or takes a named one", async (t) => {
  const k3s = {
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml":
      "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [\"/var/lib/rancher/k3s/data/cni\"]\n",
    "/var/lib/rancher/k3s/data/cni/bridge": "bridge",
  };
  const cases = [
    { name: "found", files: k3s, args: [] },
    { name: "named", files: {}, args: ["--profile", "k3s"] },
  ];
  for (const { name, files, args } of cases) {
    await t.step(name, async () => {
      await using place = await Place.create({ files });
      await place.ok("install", ...args);
      const shim = "/var/lib/rancher/k3s/data/cni/multus-shim";
      assert.match(
        await place.read(shim),
        /exec .*\/var\/lib\/rancher\/k3s\/data\/cni\/multus\.d\/deno run /,
      );
    });
  }
});

Deno.test("install warns when the runtime looks elsewhere than it was told", async () => {
  await using place = await Place.create();
  const said = await place.ok(
    "install",
    "--cni-bin-dir",
    join(place.host, "srv/cni"),
  );
  assert.match(
    said,
    /^Warning: The runtime does not look for plugins in \/srv\/cni, but in \/opt\/cni\/bin/m,
  );
});

Deno.test("install leaves the node's own plugins, and replaces those that cannot run", async (t) => {
  const cases = [
    { name: "missing", before: {}, outcome: "installed" },
    {
      name: "a program of the node",
      before: { files: { "/opt/cni/bin/host-local": "theirs" } },
      outcome: "left as it is: the node has its own",
    },
    {
      name: "an absolute link to the node's program",
      before: {
        files: { "/var/lib/k3s/cni": "all in one" },
        links: { "/opt/cni/bin/host-local": "/var/lib/k3s/cni" },
      },
      outcome: "left as it is: the node has its own",
    },
    {
      name: "a link that leads nowhere",
      before: { links: { "/opt/cni/bin/host-local": "/var/lib/k3s/cni" } },
      outcome: "replaced",
    },
  ];
  for (const { name, before, outcome } of cases) {
    await t.step(name, async () => {
      await using place = await Place.create(before);
      const untouched = await place.snapshot();
      const said = await place.ok(
        "install",
        "--plugins",
        "host-local,passthru",
      );
      assert.ok(said.includes(`host-local: ${outcome}\n`), said);
      await place.ok("uninstall");
      assert.deepEqual(await place.snapshot(), untouched);
    });
  }
});

Deno.test("install, update, downgrade, uninstall leave the host as it was", async (t) => {
  const cases: readonly { name: string; files: Record<string, string> }[] = [
    { name: "a node without Multus", files: {} },
    {
      name: "a node with the Go Multus",
      files: {
        "/opt/cni/bin/multus-shim": "the Go shim",
        "/opt/cni/bin/multus": "the Go plugin",
      },
    },
  ];
  for (const { name, files } of cases) {
    await t.step(name, async () => {
      await using place = await Place.create({ files });
      const untouched = await place.snapshot();
      for (const version of ["one", "two", "one"]) {
        await place.release(version);
        await place.ok("install", "--plugins=ipvlan,host-local");
        const shim = await place.read("/opt/cni/bin/multus-shim");
        assert.ok(shim.includes(`// ${version}`));
      }
      await place.ok("uninstall");
      assert.deepEqual(await place.snapshot(), untouched);
    });
  }
});

Deno.test("install --multus-conf-file=auto writes a configuration with what was asked for", async () => {
  await using place = await Place.create();
  await place.ok(
    "install",
    "--multus-conf-file=auto",
    "--cni-version=0.4.0",
    "--multus-kubeconfig-file-host=/etc/cni/net.d/multus.d/multus.kubeconfig",
    "--multus-log-level=verbose",
    "--multus-log-file=/var/log/multus.log",
    "--namespace-isolation=true",
    "--global-namespaces=default,foo",
    "--additional-bin-dir=/opt/multus/bin",
    "--readiness-indicator-file=/run/flannel/subnet.env",
    "--override-network-name=true",
  );
  const path = "/etc/cni/net.d/00-multus.conf";
  assert.deepEqual(JSON.parse(await place.read(path)), {
    cniVersion: "1.0.0",
    name: "cbr0",
    type: "multus-shim",
    clusterNetwork: join(place.host, "etc/cni/net.d/10-flannel.conflist"),
    capabilities: { portMappings: true },
    daemonSocketDir: "/run/multus",
    kubeconfig: "/etc/cni/net.d/multus.d/multus.kubeconfig",
    logLevel: "verbose",
    logFile: "/var/log/multus.log",
    namespaceIsolation: true,
    globalNamespaces: "default,foo",
    binDir: "/opt/multus/bin",
    readinessindicatorfile: "/run/flannel/subnet.env",
  });
  assert.equal(
    ((await Deno.stat(place.host + path)).mode ?? 0) & 0o777,
    0o600,
  );
});

Deno.test("install takes the pinned default network, and no other", async () => {
  await using place = await Place.create({
    files: { "/etc/cni/net.d/05-other.conflist": FLANNEL },
  });
  const args = ["install", "--multus-conf-file=auto"];
  const pinned = await place.ok(
    ...args,
    "--multus-master-cni-file-name=10-flannel.conflist",
  );
  assert.match(pinned, /the default network is 10-flannel\.conflist/);
  const missing = await place.run(
    ...args,
    "--multus-master-cni-file-name=20-absent.conflist",
  );
  assert.equal(missing.code, 1);
  assert.match(missing.said, /20-absent\.conflist/);
});

Deno.test("install writes no configuration when there is no default network", async () => {
  await using place = await Place.create();
  await Deno.remove(join(place.host, "etc/cni/net.d/10-flannel.conflist"));
  const { code, said } = await place.run("install", "--multus-conf-file=auto");
  assert.equal(code, 1);
  assert.match(said, /multusctl: No CNI configuration for the default network/);
  await assert.rejects(place.read("/etc/cni/net.d/00-multus.conf"));
});

Deno.test("install copies a configuration, if it is one of Multus", async () => {
  await using place = await Place.create();
  const source = join(place.programs, "70-multus.conf");
  const write = (conf: unknown): Promise<void> =>
    Deno.writeTextFile(source, JSON.stringify(conf));
  const args = ["install", `--multus-conf-file=${source}`];
  await write({ name: "x", type: "bridge" });
  const refused = await place.run(...args);
  assert.equal(refused.code, 1);
  assert.match(refused.said, /not a configuration of Multus/);
  await write({ name: "x", type: "multus-shim", clusterNetwork: "/a.conf" });
  const said = await place.ok(...args);
  assert.match(said, /^70-multus\.conf: written$/m);
  assert.match(
    said,
    /^Warning: 10-flannel\.conflist comes before 70-multus\.conf/m,
  );
  assert.equal(
    await place.read("/etc/cni/net.d/70-multus.conf"),
    await Deno.readTextFile(source),
  );
});

Deno.test("install --rename-conf-file takes the file's content over, again and again, and uninstall gives it back", async () => {
  await using place = await Place.create();
  const untouched = await place.snapshot();
  const args = ["install", "--multus-conf-file=auto", "--rename-conf-file"];
  for (let round = 0; round < 3; round++) {
    await place.ok(...args);
    const conf = JSON.parse(await place.read("/etc/cni/net.d/00-multus.conf"));
    assert.equal(conf.clusterNetwork, undefined);
    assert.deepEqual(conf.delegates, [JSON.parse(FLANNEL)]);
    assert.equal(
      await place.read("/etc/cni/net.d/10-flannel.conflist.old"),
      FLANNEL,
    );
    await assert.rejects(place.read("/etc/cni/net.d/10-flannel.conflist"));
  }
  await place.ok("uninstall");
  assert.deepEqual(await place.snapshot(), untouched);
});

Deno.test("install --daemon-config tells the daemon, and keeps what an operator wrote", async () => {
  await using place = await Place.create();
  const path = "/etc/cni/net.d/multus.d/daemon-config.json";
  await place.write(
    path,
    '{ "own": 9007199254740993,\n  "logLevel": "error" }',
  );
  const args = [
    "install",
    `--daemon-config=${place.host}${path}`,
    "--multus-conf-file=auto",
    "--multus-log-level=debug",
    "--cleanup-config-on-exit",
  ];
  await place.ok(...args);
  const text = await place.read(path);
  assert.match(text, /"own": 9007199254740993,\n/);
  const { own: _, ...conf } = JSON.parse(text);
  assert.deepEqual(conf, {
    logLevel: "debug",
    multusConfigFile: "auto",
    cleanupConfigOnExit: true,
  });
  await assert.rejects(place.read("/etc/cni/net.d/00-multus.conf"));
  assert.match(await place.ok(...args), /daemon-config\.json: unchanged$/m);
});

Deno.test("install --skip-multus-binary-copy leaves the CNI directory alone", async () => {
  await using place = await Place.create();
  await place.ok(
    "install",
    "--skip-multus-binary-copy",
    "--multus-conf-file=auto",
  );
  const paths = Object.keys(await place.snapshot()).filter((path) =>
    path.startsWith("/opt/cni/bin/")
  );
  assert.deepEqual(paths, ["/opt/cni/bin/bridge"]);
  assert.ok(await place.read("/etc/cni/net.d/00-multus.conf"));
});

Deno.test("install --multus-bin-file installs that file as the shim", async () => {
  await using place = await Place.create();
  const file = join(place.programs, "compiled");
  await Deno.writeFile(file, new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 1, 2]));
  const said = await place.ok("install", `--multus-bin-file=${file}`);
  assert.equal(
    await checksumAt(`${place.host}/opt/cni/bin/multus-shim`),
    await checksumAt(file),
  );
  assert.doesNotMatch(said, /multus\.d\/deno/);
});

Deno.test("install says in one line what is missing", async () => {
  await using place = await Place.create();
  const { code, said } = await place.run("install", "--plugins=absent");
  assert.equal(code, 1);
  assert.match(said, /multusctl: .*plugins\/absent/);
});

Deno.test("install refuses a wrong command line before it does anything", async () => {
  await using place = await Place.create();
  const before = await place.snapshot();
  const { code, said } = await place.run("install", "--skip-tls-verify");
  assert.equal(code, 2);
  assert.match(said, /certificate is always verified/);
  assert.deepEqual(await place.snapshot(), before);
});

Deno.test("uninstall makes the primary configuration effective and restores what was there", async () => {
  await using place = await Place.create();
  const untouched = await place.snapshot();
  await place.ok("install", "--multus-conf-file=auto");
  const said = await place.ok("uninstall");
  assert.match(said, /^00-multus\.conf: removed$/m);
  assert.match(said, /^10-flannel\.conflist: now used for pods that start$/m);
  assert.deepEqual(await place.snapshot(), untouched);
  assert.match(
    await place.ok("uninstall"),
    /No program in \/opt\/cni\/bin that multusctl installed/,
  );
  assert.deepEqual(await place.snapshot(), untouched);
});

Deno.test("uninstall does nothing when the node would be left without a configuration, unless forced", async () => {
  await using place = await Place.create();
  await place.ok("install", "--multus-conf-file=auto");
  await Deno.remove(join(place.host, "etc/cni/net.d/10-flannel.conflist"));
  const before = await place.snapshot();
  const { code, said } = await place.run("uninstall");
  assert.equal(code, 1);
  assert.match(said, /without it no pod can start on this node \(--force/);
  assert.deepEqual(await place.snapshot(), before);
  await place.ok("uninstall", "--force");
  await assert.rejects(place.read("/etc/cni/net.d/00-multus.conf"));
  await assert.rejects(place.read("/opt/cni/bin/multus-shim"));
});

Deno.test("uninstall leaves configurations of Multus that no runtime uses", async () => {
  await using place = await Place.create({
    files: {
      "/etc/cni/net.d/70-multus.conf": JSON.stringify({
        name: "x",
        type: "multus",
        clusterNetwork: "/a",
      }),
    },
  });
  const said = await place.ok("uninstall");
  assert.match(said, /^70-multus\.conf: left, no runtime uses it after 10-/m);
  assert.ok(await place.read("/etc/cni/net.d/70-multus.conf"));
});

Deno.test("uninstall refuses while a daemon serves the node", async () => {
  await using place = await Place.create();
  await place.ok("install", "--multus-conf-file=auto");
  const { socketDir } = place.profile;
  await Deno.mkdir(socketDir);
  const path = join(socketDir, "multus.sock");
  const server = Deno.serve(
    { path, onListen: () => {} },
    () => new Response("ok"),
  );
  const before = await place.snapshot();
  const { code, said } = await place.run("uninstall");
  await server.shutdown();
  assert.equal(code, 1);
  assert.match(said, /delete the DaemonSet first/);
  assert.deepEqual(await place.snapshot(), before);
  await place.ok("uninstall");
});

Deno.test("uninstall removes the socket of a daemon that was killed", async () => {
  await using place = await Place.create();
  await place.ok("install");
  const { socketDir } = place.profile;
  await Deno.mkdir(socketDir);
  await Deno.writeTextFile(join(socketDir, "boot-id"), "x");
  const path = join(socketDir, "multus.sock");
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `Deno.listen({ transport: "unix", path: ${
        JSON.stringify(path)
      } }); Deno.kill(Deno.pid, "SIGKILL");`,
    ],
  });
  await child.output();
  assert.ok((await Deno.lstat(path)).isSocket);
  await place.ok("uninstall");
  await assert.rejects(Deno.lstat(socketDir), Deno.errors.NotFound);
});
