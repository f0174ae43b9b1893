import assert from "node:assert/strict";
import { createHostRoot, type HostRoot } from "../../tests/host_root.ts";
import {
  installNoopPlugin,
  readCalls,
  waitForFile,
} from "../../tests/noop_plugin.ts";
import { groupGone, membersOf } from "../../tests/process_group.ts";
import { parseConf } from "../cni/conf.ts";
import { ErrorCode } from "../cni/error.ts";
import { type Exec, PluginBusyError, type PluginCall } from "../cni/exec.ts";
import { addNetworkList } from "../cni/list.ts";
import { createResultCache } from "../cni/result_cache.ts";
import { createHostRootExec } from "./host_root_exec.ts";

const DIRS = ["/opt/none", "/opt/cni/bin"];
const never = new AbortController().signal;

async function makeHost(): Promise<
  { host: HostRoot; bin: string; exec: Exec }
> {
  const host = await createHostRoot();
  const bin = `${host.path}/opt/cni/bin`;
  await Deno.mkdir(`${bin}/calls`, { recursive: true });
  const { path: hostRoot, delegateExec } = host;
  return { host, bin, exec: createHostRootExec({ hostRoot, delegateExec }) };
}

function call(path: string, over: Partial<PluginCall> = {}): PluginCall {
  const env = { CNI_COMMAND: "ADD", CNI_IFNAME: "net1" };
  return { path, env, stdin: "{}", signal: never, ...over };
}

Deno.test("findInPath() finds plugins of the host by the host's names", async (t) => {
  const { host, exec } = await makeHost();
  await using _host = host;
  const data = "/var/lib/rancher/k3s/data";
  await host.write(`${data}/abc/bin/cni`, "", 0o755);
  await host.link(`${data}/abc/bin/cni`, "/opt/cni/bin/bridge");
  await host.write("/opt/cni/bin/plain", "", 0o755);
  await host.write("/opt/cni/bin/data", "", 0o644);
  await host.link("/bin/nothing", "/opt/cni/bin/broken");
  await host.link(data, "/opt/cni/bin/directory");
  await host.link("circle", "/opt/cni/bin/circle");
  for (const type of ["bridge", "plain"]) {
    await t.step(type, async () => {
      assert.equal(await exec.findInPath(type, DIRS), `/opt/cni/bin/${type}`);
    });
  }
  for (const type of ["data", "broken", "directory", "circle", "none"]) {
    await t.step(`not ${type}`, async () => {
      await assert.rejects(exec.findInPath(type, DIRS), {
        code: ErrorCode.invalidNetworkConfig,
        message:
          `plugin ${type} is not installed: no such executable file in /opt/none, /opt/cni/bin`,
      });
    });
  }
  await t.step("in a directory that is an absolute link itself", async () => {
    await host.link("/opt/cni/bin", "/opt/linked");
    assert.equal(
      await exec.findInPath("bridge", ["/opt/linked"]),
      "/opt/linked/bridge",
    );
  });
});

Deno.test("findInPath() needs no more than the plugin directory granted", async () => {
  const { host, bin, exec: _ } = await makeHost();
  await using _host = host;
  await host.write("/opt/cni/bin/plain", "", 0o755);
  await host.write("/opt/cni/bin/data", "", 0o644);
  await host.link("/srv/elsewhere", "/opt/cni/bin/linked");
  const module = new URL("./host_root_exec.ts", import.meta.url).href;
  const script = `${host.path}/find.ts`;
  await Deno.writeTextFile(
    script,
    `
    const { createHostRootExec } = await import("${module}");
    const exec = createHostRootExec({ hostRoot: "${host.path}", delegateExec: "/none" });
    const found = [];
    for (const type of ["plain", "linked", "data", "none"]) {
      found.push(await exec.findInPath(type, ["/opt/cni/bin"]).catch((error) => error.code));
    }
    Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(found)));
  `,
  );
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-config",
      "--no-lock",
      "--no-prompt",
      `--allow-read=${bin}`,
      script,
    ],
  }).output();
  const decoder = new TextDecoder();
  assert.deepEqual(
    JSON.parse(decoder.decode(stdout) || decoder.decode(stderr)),
    [
      "/opt/cni/bin/plain",
      "/opt/cni/bin/linked",
      ErrorCode.invalidNetworkConfig,
      ErrorCode.invalidNetworkConfig,
    ],
  );
});

Deno.test("run() runs a list's plugins inside the host's root", async () => {
  const { host, bin, exec } = await makeHost();
  await using _host = host;
  for (const type of ["a", "b"]) await installNoopPlugin(bin, type, {});
  const list = parseConf(
    `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a","x":1.0},{"type":"b"}]}`,
  );
  const runtime = {
    exec,
    pluginDirs: DIRS,
    cache: createResultCache(host.path),
    pluginTimeoutMs: 30_000,
    env: { TRACEPARENT: "00-1" },
  };
  const attachment = {
    containerId: "c",
    netns: "/var/run/netns/n",
    ifname: "net1",
    cniArgs: [],
    capabilityArgs: {},
  };
  const result = await addNetworkList(runtime, list, {
    attachment,
    signal: never,
  });
  assert.equal(result.interfaces[0]?.sandbox, "/var/run/netns/n");
  const calls = await readCalls(bin);
  assert.deepEqual(calls.map(({ type }) => type), ["a", "b"]);
  assert.equal(
    calls[0]?.stdin,
    `{"type":"a","x":1.0,"name":"n","cniVersion":"1.0.0"}`,
  );
  assert.deepEqual(calls[0]?.env, {
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c",
    CNI_NETNS: "/var/run/netns/n",
    CNI_IFNAME: "net1",
    CNI_ARGS: "",
    CNI_PATH: "/opt/cni/bin", // what is not allowed to be run from is left out
    TRACEPARENT: "00-1",
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  });
});

Deno.test("run() tells how a plugin ended, through the scripts in between", async (t) => {
  const { host, bin, exec } = await makeHost();
  await using _host = host;
  await t.step("its status, output and log", async () => {
    await installNoopPlugin(bin, "a", { ADD: "print out; say log; exit 7" });
    assert.deepEqual(await exec.run(call("/opt/cni/bin/a")), {
      code: 7,
      signal: null,
      stdout: "out",
      stderr: "log\n",
    });
  });
  await t.step("its signal", async () => {
    await installNoopPlugin(bin, "a", { ADD: "crash SEGV" });
    assert.equal((await exec.run(call("/opt/cni/bin/a"))).signal, "SIGSEGV");
  });
  await t.step("a refusal", async () => {
    const { code, stdout, stderr } = await exec.run(call("/bin/sh"));
    assert.deepEqual([code, stdout, stderr], [
      1,
      "",
      "delegate-exec: not in a plugin directory: /bin/sh\n",
    ]);
  });
});

Deno.test("run() says that a plugin's file is being replaced", async () => {
  const { host, bin, exec } = await makeHost();
  await using _host = host;
  await Deno.copyFile("/bin/true", `${bin}/a`);
  await Deno.chmod(`${bin}/a`, 0o755);
  using _file = await Deno.open(`${bin}/a`, { write: true });
  await assert.rejects(exec.run(call("/opt/cni/bin/a")), (error) => {
    assert.ok(error instanceof PluginBusyError);
    assert.equal(error.message, "plugin a is being replaced: text file busy");
    return true;
  });
});

Deno.test("run() ends a plugin with all its children, through the scripts in between", async () => {
  const { host, bin, exec } = await makeHost();
  await using _host = host;
  await installNoopPlugin(bin, "a", { ADD: "brood; mark up; hang" });
  const controller = new AbortController();
  const running = exec.run(
    call("/opt/cni/bin/a", { signal: controller.signal }),
  );
  for (const name of ["child", "grandchild", "up"]) {
    await waitForFile(`${bin}/a.mark.${name}`);
  }
  const [given] = await readCalls(bin);
  assert.ok(given);
  assert.ok((await membersOf(given.pid)).length >= 3);
  controller.abort();
  await assert.rejects(running, { name: "AbortError" });
  await groupGone(given.pid);
});

Deno.test("run() names the plugin when the script is not there", async () => {
  const { host } = await makeHost();
  await using _host = host;
  const exec = createHostRootExec({
    hostRoot: host.path,
    delegateExec: `${host.path}/none`,
  });
  await assert.rejects(exec.run(call("/opt/cni/bin/a")), {
    code: ErrorCode.ioFailure,
    message: /^plugin a could not be started: No such file or directory/,
  });
});
