/** The script `delegate-exec`, attacked from the place of a daemon that somebody else has taken over. */
import assert from "node:assert/strict";
import { createHostRoot, type HostRoot } from "../../tests/host_root.ts";
import { processesGone } from "../../tests/process_group.ts";

const PLUGIN = "/opt/cni/bin/good";

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** By way of `env`, because Deno itself would refuse LD_*; the shell is the script's own, or another. */
async function run(
  host: HostRoot,
  args: readonly string[],
  { env = {}, shell = [] }: {
    env?: Readonly<Record<string, string>>;
    shell?: readonly string[];
  } = {},
): Promise<Outcome> {
  const variables = Object.entries(env).map(([name, value]) =>
    `${name}=${value}`
  );
  const { code, stdout, stderr } = await new Deno.Command("/usr/bin/env", {
    args: ["-i", ...variables, ...shell, host.delegateExec, ...args],
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

async function hasRun(host: HostRoot): Promise<boolean> {
  return await Deno.lstat(`${host.path}/ran`).then(() => true, () => false);
}

/** A root in which everything that must not be run leaves a mark when it is. */
async function createTraps(): Promise<HostRoot> {
  const host = await createHostRoot();
  const mark = "#!/bin/sh\n: >/ran\n";
  await host.write(
    PLUGIN,
    '#!/bin/sh\nprintf \'cwd=%s 0=%s\\n\' "$(pwd)" "$0"\nexport -p\n',
    0o755,
  );
  await host.write("/opt/cni/bin/.hidden", mark, 0o755);
  await host.write("/opt/cni/bin/-option", mark, 0o755);
  await host.write("/opt/cni/bin/a b", mark, 0o755);
  await host.write("/opt/cni/bin/sub/nested", mark, 0o755);
  await host.write("/opt/cni/bin/data", mark, 0o644);
  await host.write("/opt/cni/evil", mark, 0o755);
  await host.write("/opt/cni/bin:/x/evil", mark, 0o755);
  await host.write("/usr/bin/tool", mark, 0o755);
  await host.write("/usr/local/sbin/tool", mark, 0o755);
  const links = [
    ["/usr/bin/tool", "absolute"],
    ["../../../usr/bin/tool", "relative"],
    ["/opt/cni/bin/absolute", "twice"],
    ["/opt/tools/tool", "roundabout"],
    ["/usr/local/sbin/tool", "local"],
    ["../../../../../../../../../../../usr/bin/tool", "above"],
    ["circle", "circle"],
    ["/nowhere", "broken"],
    ["/opt/cni/bin/data", "nofile"],
    ["/opt/cni", "directory"],
  ] as const;
  for (const [target, name] of links) {
    await host.link(target, `/opt/cni/bin/${name}`);
  }
  await host.link("/usr/bin", "/opt/tools");
  return host;
}

Deno.test("delegate-exec runs a plugin in the host's root, under its own name", async () => {
  await using host = await createTraps();
  const { code, stdout, stderr } = await run(host, [PLUGIN]);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^cwd=\/ 0=\/opt\/cni\/bin\/good\n/);
});

Deno.test("delegate-exec follows links inside the host's root as on k3s, and keeps the name", async () => {
  await using host = await createTraps();
  const data = "/var/lib/rancher/k3s/data";
  await host.write(
    `${data}/abc/bin/cni`,
    "#!/bin/sh\nprintf '%s' \"$0\"\n",
    0o755,
  );
  await host.link(`${data}/abc`, `${data}/current`);
  await host.link(`${data}/current/bin/cni`, "/opt/cni/bin/bridge");
  await host.link("bridge", "/opt/cni/bin/flannel");
  for (const name of ["bridge", "flannel"]) {
    const { code, stdout } = await run(host, [`/opt/cni/bin/${name}`]);
    assert.deepEqual([code, stdout], [0, `/opt/cni/bin/${name}`]);
  }
});

Deno.test("delegate-exec works when the plugin directory itself is a link", async () => {
  await using host = await createHostRoot({ pluginDirs: ["/opt/linked"] });
  await host.write("/srv/plugins/good", "#!/bin/sh\nprintf ok\n", 0o755);
  await host.link("/srv/plugins", "/opt/linked");
  assert.equal((await run(host, ["/opt/linked/good"])).stdout, "ok");
});

const REFUSED: readonly (readonly [name: string, args: readonly string[]])[] = [
  ["no argument", []],
  ["an empty argument", [""]],
  ["two arguments", [PLUGIN, PLUGIN]],
  ["a plugin's arguments", [PLUGIN, "-c", "id"]],
  ["a name alone", ["good"]],
  ["a shell", ["/bin/sh"]],
  ["another directory", ["/opt/cni/evil"]],
  ["a way up", ["/opt/cni/bin/../evil"]],
  ["a way up by a plugin", [`${PLUGIN}/../../evil`]],
  ["only a way up", ["/opt/cni/bin/.."]],
  ["the directory", ["/opt/cni/bin"]],
  ["the directory with a slash", ["/opt/cni/bin/"]],
  ["a double slash", ["/opt/cni//bin/good"]],
  ["a slash in front", ["//opt/cni/bin/good"]],
  ["a dot", ["/opt/cni/./bin/good"]],
  ["a subdirectory", ["/opt/cni/bin/sub/nested"]],
  ["a hidden file", ["/opt/cni/bin/.hidden"]],
  ["an option for a name", ["/opt/cni/bin/-option"]],
  ["an option", ["--help"]],
  ["an option of chroot", ["--userspec=0:0"]],
  ["a space", ["/opt/cni/bin/a b"]],
  ["a line end behind", [`${PLUGIN}\n`]],
  ["a line end and more", [`${PLUGIN}\n/bin/sh`]],
  ["a line end in front", [`\n${PLUGIN}`]],
  ["a command", [`${PLUGIN};/bin/sh`]],
  ["a substitution", ["/opt/cni/bin/$(/bin/sh)"]],
  ["back quotes", ["/opt/cni/bin/`id`"]],
  ["a glob", ["/opt/cni/bin/g*"]],
  ["a glob for the directory", ["/opt/*/bin/good"]],
  ["a variable for env", ["/opt/cni/bin/A=B"]],
  ["a list of directories", ["/opt/cni/bin:/x/evil"]],
  ["an empty directory", ["/good"]],
  ["what is not executable", ["/opt/cni/bin/data"]],
  ["what is not there", ["/opt/cni/bin/none"]],
  ["a link to a command", ["/opt/cni/bin/absolute"]],
  ["a relative link to a command", ["/opt/cni/bin/relative"]],
  ["a link to a link to a command", ["/opt/cni/bin/twice"]],
  ["a link by way of a linked directory", ["/opt/cni/bin/roundabout"]],
  ["a link to a local command", ["/opt/cni/bin/local"]],
  ["a link above the root", ["/opt/cni/bin/above"]],
  ["a link in a circle", ["/opt/cni/bin/circle"]],
  ["a broken link", ["/opt/cni/bin/broken"]],
  ["a link to what is not executable", ["/opt/cni/bin/nofile"]],
  ["a link to a directory", ["/opt/cni/bin/directory"]],
  ["a file under a linked directory", ["/opt/cni/bin/directory/evil"]],
];

Deno.test("delegate-exec refuses everything but a plugin", async (t) => {
  await using host = await createTraps();
  for (const [name, args] of REFUSED) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await run(host, args);
      assert.equal(code, 1);
      assert.equal(stdout, "");
      assert.match(stderr, /^delegate-exec: .+\n/);
      assert.ok(!(await hasRun(host)));
    });
  }
});

const HOSTILE = {
  PATH: "/opt/cni/bin/sub:/tmp",
  IFS: "/",
  ENV: "/opt/cni/evil",
  BASH_ENV: "/opt/cni/evil",
  SHELLOPTS: "xtrace",
  PS4: "$(:>/tmp/multus-ps4)",
  BASHOPTS: "extdebug",
  "BASH_FUNC_test%%": "() { echo function; }",
  "BASH_FUNC_[%%": "() { echo function; }",
  "BASH_FUNC_exec%%": "() { echo function; }",
  "BASH_FUNC_printf%%": "() { echo function; }",
  LD_PRELOAD: "/nonexistent/evil.so",
  LD_LIBRARY_PATH: "/nonexistent",
  LD_AUDIT: "/nonexistent/evil.so",
  GCONV_PATH: "/nonexistent",
  XTABLES_LIBDIR: "/nonexistent",
  HOST_ROOT: "/",
  PLUGIN_DIRS: "/bin:/opt/cni",
  PASSED: "LD_PRELOAD PATH",
  allowed: "/x",
  found: "/bin/sh",
  HOME: "/root",
  KUBECONFIG: "/x",
};

for (const shell of ["/bin/sh", "/bin/bash"]) {
  Deno.test(`delegate-exec gives a plugin the CNI variables and nothing of what else it has, in ${shell}`, async () => {
    await using host = await createTraps();
    const cni = {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/var/run/netns/a b",
      CNI_IFNAME: "eth0",
      CNI_ARGS: "K=$(id);L='q' \"r\"\nexport X=1",
      CNI_NETNS_OVERRIDE: "",
      TRACEPARENT: "00-a",
      TRACESTATE: "s",
      BAGGAGE: "b=%20",
    };
    const env = {
      ...HOSTILE,
      ...cni,
      CNI_PATH: "/evil:/opt/cni/bin:*::/opt/cni/bin/../../evil:/opt/cni/bin/",
    };
    await host.write(PLUGIN, "#!/bin/sh\nexport -p\n", 0o755);
    // ld.so speaks of the libraries it cannot preload into the shell itself; that is not the script's.
    const { code, stdout } = await run(host, [PLUGIN], {
      env,
      shell: shell === "/bin/sh" ? [] : [shell, "--posix", "-p"],
    });
    assert.equal(code, 0);
    const given = new Map(
      [...stdout.matchAll(/^export ([A-Z_a-z0-9]+)=(.*)$/gm)].map((
        [, name, value],
      ) => [name, value]),
    );
    for (const name of ["OLDPWD", "PWD", "SHLVL", "_", "X"]) given.delete(name); // the shell's own, and one quoted
    assert.deepEqual(
      [...given.keys()].sort(),
      [...Object.keys(cni), "CNI_PATH", "PATH"].sort(),
    );
    assert.equal(given.get("CNI_PATH"), "'/opt/cni/bin:/opt/cni/bin'");
    assert.equal(
      given.get("PATH"),
      "'/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'",
    );
    assert.ok(stdout.includes("$(id)"));
    assert.ok(!(await hasRun(host)));
    await assert.rejects(Deno.lstat("/tmp/multus-ps4"), Deno.errors.NotFound);
  });
}

Deno.test("delegate-exec refuses the same with a hostile environment", async () => {
  await using host = await createTraps();
  const { code } = await run(host, ["/opt/cni/evil"], { env: HOSTILE });
  assert.equal(code, 1);
  assert.ok(!(await hasRun(host)));
});

Deno.test("delegate-exec ends only children of its caller's", async (t) => {
  await using host = await createHostRoot();
  const parent = new Deno.Command("/bin/sh", {
    args: ["-c", "sleep 1000 & echo $!; setsid sleep 1000 & echo $!; wait"],
    stdout: "piped",
  }).spawn();
  const [grandchild = "", leader = ""] = await readLines(parent.stdout, 2);
  const cases = [
    "",
    "0",
    "1",
    "-1",
    "01",
    "x",
    "1;id",
    "99999999",
    "4194305",
    " 5",
    "5\n",
    String(Deno.pid),
    grandchild,
    leader,
  ];
  for (const pid of cases) {
    await t.step(JSON.stringify(pid), async () => {
      const { code, stderr } = await run(host, ["end", pid]);
      assert.equal(code, 1);
      assert.match(
        stderr,
        /^delegate-exec: not a (?:process number|child of the caller)/,
      );
    });
  }
  await t.step("nor with a parent told by the environment", async () => {
    const { code } = await run(host, ["end", grandchild], {
      env: { PPID: String(parent.pid) },
    });
    assert.equal(code, 1);
  });
  for (const pid of [grandchild, leader]) Deno.kill(Number(pid), "SIGKILL"); // They live until here: kill throws for one that has ended.
  await parent.status;
});

/** The first lines of a child's output, which goes on. */
async function readLines(
  output: ReadableStream<Uint8Array>,
  count: number,
): Promise<string[]> {
  const decoder = new TextDecoder();
  const reader = output.getReader();
  let text = "";
  while (text.split("\n").length <= count) {
    const { value } = await reader.read();
    if (value === undefined) break;
    text += decoder.decode(value, { stream: true });
  }
  await reader.cancel();
  return text.split("\n").slice(0, count);
}

Deno.test("delegate-exec ends a child of the caller's with all that descends from it", async () => {
  await using host = await createHostRoot();
  const script = `${host.path}/tree`;
  const stay = "trap '' TERM; while :; do sleep 1000 & wait $!; done";
  await Deno.writeTextFile(
    script,
    `#!/bin/sh\n(${stay}) & (( ${stay}) & echo up; ${stay}) & ${stay}\n`,
    { mode: 0o755 },
  );
  const child = new Deno.Command(script, { stdout: "piped" }).spawn();
  assert.deepEqual(await readLines(child.stdout, 1), ["up"]);
  const { code } = await new Deno.Command(host.delegateExec, {
    args: ["end", String(child.pid)],
  }).output();
  assert.equal(code, 0);
  assert.equal((await child.status).signal, "SIGKILL");
  await processesGone(script);
});

Deno.test("delegate-exec leaves alone what has another parent by the time it is to be ended", async () => {
  await using host = await createHostRoot();
  const sleep = (): Deno.ChildProcess =>
    new Deno.Command("/bin/sleep", { args: ["1000"] }).spawn();
  const [child, bystander] = [sleep(), sleep()];
  // A number that is given again between two looks, as a list of children that is out of date.
  await host.write("/children", `#!/bin/sh\necho ${bystander.pid}\n`, 0o755);
  const text = await Deno.readTextFile(host.delegateExec);
  assert.ok(text.includes("/bin/cat"));
  await Deno.writeTextFile(
    host.delegateExec,
    text.replaceAll("/bin/cat", `${host.path}/children`),
  );
  const { code } = await new Deno.Command(host.delegateExec, {
    args: ["end", String(child.pid)],
  }).output();
  assert.equal(code, 0);
  assert.equal((await child.status).signal, "SIGKILL");
  const { stdout } = await new Deno.Command("/bin/cat", {
    args: [`/proc/${bystander.pid}/stat`],
  }).output();
  const stat = new TextDecoder().decode(stdout);
  assert.match(stat, /\) S /, "neither stopped nor ended");
  bystander.kill("SIGKILL");
  await bystander.status;
});

for (const detached of [true, false]) {
  const kind = detached ? "leads a group" : "is in the caller's group";
  Deno.test(`delegate-exec ends a child that ${kind} and has a name made to mislead`, async () => {
    await using host = await createHostRoot();
    const path = `${host.path}/a) S 1 1 (`;
    await Deno.copyFile("/bin/sleep", path);
    await Deno.chmod(path, 0o755);
    const child = new Deno.Command(path, { args: ["1000"], detached })
      .spawn();
    const { code } = await new Deno.Command(host.delegateExec, {
      args: ["end", String(child.pid)],
    }).output();
    assert.equal(code, 0);
    assert.equal((await child.status).signal, "SIGKILL");
  });

  Deno.test(`delegate-exec ends a child that ${kind} and has a line end in its name`, async () => {
    await using host = await createHostRoot();
    const path = `${host.path}/a\n1 1`;
    await Deno.copyFile("/bin/sleep", path);
    await Deno.chmod(path, 0o755);
    const child = new Deno.Command(path, { args: ["1000"], detached })
      .spawn();
    const { code } = await new Deno.Command(host.delegateExec, {
      args: ["end", String(child.pid)],
    }).output();
    assert.equal(code, 0);
    assert.equal((await child.status).signal, "SIGKILL");
  });
}
