/**
 * What a compromised dependency can do: in a copy of the tree one module is
 * replaced by one that tries to break out, from inside the daemon and from
 * inside the shim, each with exactly its grants. Deno must refuse every
 * attempt, and the daemon must go on serving.
 */
import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import { ALLOCATOR, grantsOf, V8_FLAGS } from "../lib/grants.ts";
import { renderLauncher } from "../lib/cli/launcher.ts";
import { isOnTestNode, runProgram, TestNode } from "./node.ts";

const ROOT = resolve(import.meta.dirname ?? ".", "..");

/** Each attempt by name; what it gives when it is refused. */
const ATTEMPTS = [
  "read /etc/shadow",
  "read another token",
  "write a plugin",
  "replace delegate-exec",
  "run a shell",
  "run a shell by node:child_process",
  "connect to another host",
  "connect to another port",
  "fetch elsewhere",
  "listen on the network",
  "read HOME",
  "read the whole environment",
  "load a library",
  "import from the network",
  "ask for permission",
  "link a secret into the state directory",
  "change the process' user",
] as const;

/** The module that attacks, once, when it is loaded; it says on stderr how each attempt went. */
function attackSource(
  target: { binDir: string; libexecDir: string; stateDir: string },
): string {
  const at = JSON.stringify;
  return `
const tries = {
  "read /etc/shadow": () => Deno.readTextFileSync("/etc/shadow"),
  "read another token": () => Deno.readTextFileSync("/var/run/secrets/other.example/serviceaccount/token"),
  "write a plugin": () => Deno.writeTextFileSync(${
    at(join(target.binDir, "evil"))
  }, "x"),
  "replace delegate-exec": () => Deno.writeTextFileSync(${
    at(join(target.libexecDir, "delegate-exec"))
  }, "x"),
  "run a shell": () => new Deno.Command("/bin/sh", { args: ["-c", "true"] }).outputSync(),
  "run a shell by node:child_process": async () => { const { error, status } = (await import("node:child_process")).spawnSync("/bin/sh", ["-c", "true"]); if (error) throw error; if (status !== 0) throw new Deno.errors.NotCapable("status " + status); },
  "connect to another host": () => Deno.connect({ hostname: "192.0.2.1", port: 443 }),
  "connect to another port": () => Deno.connect({ hostname: "127.0.0.1", port: 1 }),
  "fetch elsewhere": () => fetch("http://192.0.2.1/"),
  "listen on the network": () => Deno.listen({ port: 0 }),
  "read HOME": () => { if (Deno.env.get("HOME") === undefined) throw new Deno.errors.NotCapable("reads as not set"); },
  "read the whole environment": () => { if (Object.keys(Deno.env.toObject()).includes("HOME")) return; throw new Deno.errors.NotCapable("reads as not set"); },
  "load a library": () => Deno.dlopen("libc.so.6", {}),
  "import from the network": () => import(["https:", "", "192.0.2.1", "x.js"].join("/")),
  "ask for permission": () => { const got = Deno.permissions.requestSync({ name: "run" }); if (got.state !== "granted") throw new Deno.errors.NotCapable(got.state); },
  "link a secret into the state directory": () => Deno.symlinkSync("/etc/shadow", ${
    at(join(target.stateDir, "shadow"))
  }),
  "change the process' user": async () => (await import("node:process")).default.setuid(1),
};
for (const [name, attempt] of Object.entries(tries)) {
  let outcome = "done";
  try {
    await attempt();
  } catch (error) {
    outcome = error.name === "NotCapable" || /Requires .* access/.test(error.message) || /NotCapable/.test(error.message) ? "refused" : error.name + ": " + error.message;
  }
  Deno.stderr.writeSync(new TextEncoder().encode("ATTACK " + JSON.stringify([name, outcome]) + "\\n"));
}
`;
}

/** A bundle of a copy of the tree in which `replaced` also attacks. */
async function bundleAttacked(
  dir: string,
  entry: string,
  options: { replaced: string; source: string },
): Promise<string> {
  const copy = join(dir, `copy-${entry}`);
  const copied = await runProgram([
    "sh",
    "-c",
    `mkdir ${copy} && cd ${ROOT} && cp -r deno.json deno.lock main.ts shim.ts lib ${copy}/ && mkdir ${copy}/tests && cp tests/lint.ts ${copy}/tests/`,
  ]);
  assert.equal(copied.code, 0, copied.stderr);
  const path = join(copy, options.replaced);
  await Deno.writeTextFile(
    path,
    `${await Deno.readTextFile(path)}\n${options.source}`,
  );
  const output = join(dir, `${entry}.js`);
  const bundled = await new Deno.Command(Deno.execPath(), {
    args: [
      "bundle",
      "--quiet",
      "--platform",
      "deno",
      "--output",
      output,
      join(copy, `${entry}.ts`),
    ],
    cwd: copy,
    stderr: "piped",
  }).output();
  assert.equal(bundled.code, 0, new TextDecoder().decode(bundled.stderr));
  return output;
}

function readOutcomes(stderr: string): Map<string, string> {
  const lines = stderr.split("\n").filter((line) => line.startsWith("ATTACK "));
  return new Map(
    lines.map((line) =>
      JSON.parse(line.slice("ATTACK ".length)) as [string, string]
    ),
  );
}

/** What an attacker gets who may read and write what the program itself needs is not in the list. */
function assertAllRefused(outcomes: Map<string, string>): void {
  const expected = new Map(ATTEMPTS.map((name) => [name as string, "refused"]));
  assert.deepEqual(outcomes, expected);
}

async function replaceProgram(
  node: TestNode,
  name: "multus-daemon" | "multus-shim",
  bundle: string,
): Promise<void> {
  const text = renderLauncher({
    deno: Deno.execPath(),
    grants: grantsOf(name, node.profile),
    v8Flags: V8_FLAGS[name],
    allocator: ALLOCATOR[name],
    source: await Deno.readTextFile(bundle),
  });
  await Deno.writeTextFile(node.program(name), text);
}

function targetsOf(
  node: TestNode,
): { binDir: string; libexecDir: string; stateDir: string } {
  return {
    binDir: node.binDir,
    libexecDir: node.profile.libexecDir,
    stateDir: node.profile.cniStateDir,
  };
}

Deno.test({
  name:
    "a compromised dependency of the daemon is refused everything, and the daemon serves on",
  ignore: !isOnTestNode(),
  async fn(): Promise<void> {
    await using node = await TestNode.create({
      isAudited: false,
      objects: [{
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "p", namespace: "default" },
        spec: { nodeName: "node-a" },
      }],
    });
    const source = attackSource(targetsOf(node));
    const bundle = await bundleAttacked(node.dir, "main", {
      replaced: "lib/daemon/limits.ts",
      source,
    });
    await replaceProgram(node, "multus-daemon", bundle);
    await node.startDaemon();
    assertAllRefused(readOutcomes(node.daemonLog));
    const conf = { cniVersion: "1.0.0", name: "net", type: "loopback" };
    await Deno.writeTextFile(
      join(node.profile.cniConfDir, "10-lo.conf"),
      JSON.stringify(conf),
    );
    node.runtimeConf["clusterNetwork"] = join(
      node.profile.cniConfDir,
      "10-lo.conf",
    );
    const uid = String(node.api.get("Pod", "p", "default").metadata.uid);
    const sandbox = await node.createSandbox({ name: "p", uid });
    const added = await node.cni("ADD", sandbox);
    assert.equal(added.code, 0, added.stdout);
    assert.equal((await node.cni("DEL", sandbox)).code, 0);
  },
});

/** One that each call needs, and one that is loaded for what is out of the ordinary. */
const SHIM_MODULES = [
  { replaced: "lib/cni/version.ts", args: [] },
  { replaced: "lib/cni/args.ts", args: ["--as-passthru"] },
];

Deno.test({
  name: "a compromised module of the shim is refused everything",
  ignore: !isOnTestNode(),
  async fn(t): Promise<void> {
    for (const { replaced, args } of SHIM_MODULES) {
      await t.step(replaced, async () => {
        await using node = await TestNode.create({ isAudited: false });
        const source = attackSource(targetsOf(node));
        const bundle = await bundleAttacked(node.dir, "shim", {
          replaced,
          source,
        });
        await replaceProgram(node, "multus-shim", bundle);
        const ran = await runProgram([node.program("multus-shim"), ...args], {
          stdin: '{"cniVersion":"1.0.0"}',
          env: { CNI_COMMAND: "VERSION", HOME: "/root" },
          clearEnv: true,
        });
        assertAllRefused(readOutcomes(ran.stderr));
        assert.equal(ran.code, 0, ran.stderr);
        assert.match(ran.stdout, /supportedVersions/);
      });
    }
  },
});

Deno.test({
  name: "the shim's owner cannot have a program of its own run by a plugin",
  ignore: !isOnTestNode(),
  async fn(): Promise<void> {
    await using node = await TestNode.create({
      isAudited: false,
      objects: [{
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "p", namespace: "default" },
        spec: { nodeName: "node-a" },
      }],
    });
    await node.startDaemon();
    const taken = join(node.profile.cniStateDir, "spool", "taken");
    const proof = join(node.dir, "proof");
    await Deno.mkdir(taken, { recursive: true });
    await Deno.writeTextFile(
      join(taken, "evilipam"),
      `#!/bin/sh\nid >${proof}\n`,
      { mode: 0o755 },
    );
    const uid = String(node.api.get("Pod", "p", "default").metadata.uid);
    const sandbox = await node.createSandbox({ name: "p", uid });
    const delegate = {
      cniVersion: "1.0.0",
      name: "x",
      type: "ptp",
      ipam: { type: "evilipam" },
    };
    const added = await node.cni("ADD", sandbox, {
      conf: JSON.stringify({
        ...node.runtimeConf,
        clusterNetwork: undefined,
        delegates: [delegate],
      }),
      env: { CNI_PATH: [...node.profile.cniBinDirs, taken].join(":") },
    });
    assert.equal(added.code, 1, added.stdout);
    assert.match(added.stdout, /failed to find plugin .*evilipam/);
    await assert.rejects(Deno.lstat(proof), Deno.errors.NotFound);
  },
});
