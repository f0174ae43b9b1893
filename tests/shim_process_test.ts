import { deepEqual, equal, match, ok } from "node:assert/strict";
import daemonset from "../deployments/profiles/daemonset.json" with {
  type: "json",
};
import { bundle } from "../deployments/build.ts";
import { encodeResult } from "../lib/wire/answer.ts";
import { decodeRequest } from "../lib/wire/request.ts";
import { grantsOf, permissionFlags } from "../lib/grants.ts";
import {
  type Asked,
  formatAnswer,
  startScriptedDaemon,
} from "./scripted_daemon.ts";

const SHIM = new URL("../shim.ts", import.meta.url);

/** As the launchers start it: nothing is looked for, nothing is written outside the grants. */
const FLAGS = [
  "--no-config",
  "--no-lock",
  "--no-remote",
  "--no-npm",
  "--no-code-cache",
  "--cached-only",
];

/** Deno keeps caches in this directory, else in the home directory of the user; it does without. */
const NO_CACHE = { DENO_DIR: "/dev/null" };

/** Read, compiled and run on every call: the floor for size is set by what it does, this is what it may take. */
const BUNDLE_BYTES_MAX = 30_000;

interface Installed extends Disposable {
  readonly dir: string;
  readonly program: string;
  readonly flags: readonly string[];
  readonly conf: Record<string, unknown>;
  readonly socketPath: string;
  readonly spoolDir: string;
}

/** The bundled shim in a directory of its own, and the flags that grant it what the table says. */
async function install(name = "multus-shim.js"): Promise<Installed> {
  const dir = await Deno.makeTempDir({ prefix: "shim" });
  const program = `${dir}/${name}`;
  await bundle("multus-shim", program);
  const socketDir = `${dir}/run`;
  const cniDir = `${dir}/state`;
  await Deno.mkdir(socketDir);
  const profile = {
    ...daemonset,
    hostSocketDir: socketDir,
    cniStateDir: cniDir,
    deno: Deno.execPath(),
    hostDeno: Deno.execPath(),
    programDir: dir,
  };
  return {
    dir,
    program,
    flags: [...FLAGS, ...permissionFlags(grantsOf("multus-shim", profile))],
    conf: { cniVersion: "1.0.0", daemonSocketDir: socketDir, cniDir },
    socketPath: `${socketDir}/multus.sock`,
    spoolDir: `${cniDir}/spool`,
    [Symbol.dispose]: () => Deno.removeSync(dir, { recursive: true }),
  };
}

const CALL = {
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/var/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin",
};

interface Given {
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: unknown;
}

function spawn(installed: Installed, given: Given): Deno.ChildProcess {
  const { flags, program } = installed;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, program],
    clearEnv: true,
    env: { ...NO_CACHE, ...given.env },
    cwd: "/",
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function execute(installed: Installed, given: Given): Promise<Outcome> {
  const child = spawn(installed, given);
  await feed(child, given.stdin);
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

async function feed(child: Deno.ChildProcess, stdin: unknown): Promise<void> {
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(stdin)));
  await writer.close();
}

Deno.test("shim.ts imports lib/wire and the pure parts of lib/cni, and nothing else", async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", SHIM.pathname],
  }).output();
  const { modules, redirects } = JSON.parse(new TextDecoder().decode(stdout));
  const root = new URL("..", import.meta.url).href;
  const specifiers = modules.map((it: { specifier: string }) => it.specifier);
  const pure = [
    "args",
    "decode",
    "error",
    "ip",
    "json_text",
    "result",
    "version",
  ];
  for (const specifier of specifiers) {
    ok(specifier.startsWith(root), specifier);
    const path = specifier.slice(root.length);
    const [, name = ""] = /^lib\/cni\/(\w+)\.ts$/.exec(path) ?? [];
    const isAllowed = path === "shim.ts" || path.startsWith("lib/wire/") ||
      pure.includes(name);
    ok(isAllowed, path);
  }
  deepEqual(redirects, {});
  ok(specifiers.length > 10);
});

Deno.test("shim.ts is small when bundled", async () => {
  using installed = await install();
  const { size } = await Deno.stat(installed.program);
  ok(size <= BUNDLE_BYTES_MAX, `${size} bytes`);
});

Deno.test("shim works without HOME and PATH, and writes nothing to a home directory", async () => {
  using installed = await install();
  const home = `${installed.dir}/home`;
  await Deno.mkdir(home);
  for (const env of [{}, { HOME: "" }, { HOME: home }]) {
    const outcome = await execute(installed, {
      env: { ...env, CNI_COMMAND: "VERSION" },
      stdin: { cniVersion: "0.4.0" },
    });
    deepEqual([outcome.code, outcome.stderr], [0, ""]);
    equal(JSON.parse(outcome.stdout).cniVersion, "0.4.0");
  }
  deepEqual(await Array.fromAsync(Deno.readDir(home)), []);
});

Deno.test("shim prints the result of an ADD with no more than its grants", async () => {
  using installed = await install();
  const ips = [{ address: "10.0.0.5/24" }];
  await using daemon = startScriptedDaemon(installed.socketPath, () => [
    formatAnswer(200, encodeResult({ cniVersion: "1.1.0", ips })),
  ]);
  const env = { ...CALL, CNI_COMMAND: "ADD", TRACEPARENT: "00-1" };
  const outcome = await execute(installed, { env, stdin: installed.conf });
  deepEqual([outcome.code, outcome.stderr], [0, ""], outcome.stdout);
  deepEqual(JSON.parse(outcome.stdout), { cniVersion: "1.0.0", ips });
  const request = decodeRequest(daemon.asked[0]?.body ?? "");
  deepEqual(request.env, env);
  equal(atob(request.config), JSON.stringify(installed.conf));
});

Deno.test("shim exits with 1 and a CNI error when the daemon refuses", async () => {
  using installed = await install();
  const error = { code: 7, msg: "No such network" };
  await using _daemon = startScriptedDaemon(installed.socketPath, () => [
    formatAnswer(400, JSON.stringify(error)),
  ]);
  const env = { ...CALL, CNI_COMMAND: "ADD" };
  const outcome = await execute(installed, { env, stdin: installed.conf });
  deepEqual([outcome.code, outcome.stderr], [1, ""]);
  deepEqual(JSON.parse(outcome.stdout), { cniVersion: "1.0.0", ...error });
});

Deno.test("shim leaves a DEL in the spool directory with no more than its grants", async () => {
  using installed = await install();
  const env = { ...CALL, CNI_COMMAND: "DEL" };
  const outcome = await execute(installed, { env, stdin: installed.conf });
  deepEqual(outcome, { code: 0, stdout: "", stderr: "" });
  const left = Deno.readDir(installed.spoolDir);
  const [file, ...others] = await Array.fromAsync(left);
  deepEqual(others, []);
  const text = await Deno.readTextFile(`${installed.spoolDir}/${file?.name}`);
  deepEqual(decodeRequest(text).env, env);
});

Deno.test("shim says that a socket is not its own when it has no grant for it", async () => {
  using installed = await install();
  const stdin = { ...installed.conf, daemonSocketDir: "/run/elsewhere" };
  const env = { ...CALL, CNI_COMMAND: "ADD" };
  const outcome = await execute(installed, { env, stdin });
  equal(outcome.code, 1);
  const { code, msg } = JSON.parse(outcome.stdout);
  equal(code, 7);
  equal(
    msg,
    "This shim was installed for another socket than /run/elsewhere/multus.sock: set daemonSocketDir to its directory, or install it again",
  );
});

Deno.test("shim's end is seen by the daemon while it works", async (t) => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await t.step(signal, async () => {
      using installed = await install();
      const taken = Promise.withResolvers<Asked>();
      await using _daemon = startScriptedDaemon(
        installed.socketPath,
        (asked) => {
          taken.resolve(asked);
          return [asked.gone];
        },
      );
      const env = { ...CALL, CNI_COMMAND: "ADD" };
      const child = spawn(installed, { env, stdin: installed.conf });
      await feed(child, installed.conf);
      const { gone } = await taken.promise;
      child.kill(signal);
      const { stdout, ...status } = await child.output();
      await gone;
      equal(status.signal, signal);
      equal(stdout.length, 0);
    });
  }
});

/** The numbers of `lib/wire/patience.ts` as the bundle has them, for which no test can wait. */
const LONG_PATIENCE = /totalMs:(?:22e4|11e4)/g;

Deno.test("shim ends when a daemon takes its request and never answers", async (t) => {
  using installed = await install();
  const text = await Deno.readTextFile(installed.program);
  ok((text.match(LONG_PATIENCE) ?? []).length >= 4);
  const hasty = text.replaceAll(LONG_PATIENCE, "totalMs:700");
  await Deno.writeTextFile(installed.program, hasty);
  await using daemon = startScriptedDaemon(
    installed.socketPath,
    (asked) => [asked.gone],
  );
  for (const command of ["ADD", "DEL", "CHECK"]) {
    await t.step(command, async () => {
      const env = { ...CALL, CNI_COMMAND: command };
      const start = performance.now();
      const outcome = await execute(installed, { env, stdin: installed.conf });
      ok(performance.now() - start >= 700);
      if (command === "DEL") {
        deepEqual([outcome.code, outcome.stdout], [0, ""]);
        const left = await Array.fromAsync(Deno.readDir(installed.spoolDir));
        equal(left.length, 1);
        return;
      }
      const { code, msg } = JSON.parse(outcome.stdout);
      deepEqual([outcome.code, code], [1, 11]);
      match(msg, /did not answer in time/);
    });
  }
  ok(daemon.asked.length >= 3);
});

Deno.test("shim is passthru when installed under that name", async () => {
  using installed = await install("passthru.js");
  const prevResult = { cniVersion: "1.0.0", ips: [{ address: "10.0.0.5/24" }] };
  const env = { ...CALL, CNI_COMMAND: "ADD" };
  const stdin = { ...installed.conf, prevResult };
  const outcome = await execute(installed, { env, stdin });
  deepEqual([outcome.code, outcome.stderr], [0, ""], outcome.stdout);
  deepEqual(JSON.parse(outcome.stdout), prevResult);
});

Deno.test("shim prints its version when asked", async () => {
  using installed = await install();
  const args = ["run", ...installed.flags, installed.program, "--version"];
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args,
    clearEnv: true,
  }).output();
  equal(code, 0);
  match(new TextDecoder().decode(stdout), /^multus-shim \d+\.\d+\.\d+\n$/);
});
