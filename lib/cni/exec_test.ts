import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { createNoopPlugins } from "../../tests/noop_plugin.ts";
import {
  isThere,
  processesGone,
  processesWith,
} from "../../tests/process_group.ts";
import { CniError, ErrorCode } from "./error.ts";
import { createDirectExec, PluginBusyError, type PluginCall } from "./exec.ts";

const DELEGATE_EXEC = fileURLToPath(
  new URL("../../deployments/libexec/delegate-exec", import.meta.url),
);
const never = new AbortController().signal;

function call(path: string, over: Partial<PluginCall> = {}): PluginCall {
  return {
    path,
    env: { CNI_COMMAND: "ADD" },
    stdin: "{}",
    signal: never,
    ...over,
  };
}

Deno.test("findInPath() takes the first regular executable file of the directories", async (t) => {
  const root = await Deno.makeTempDir();
  const exec = createDirectExec({});
  for (const dir of ["a", "b", "c"]) await Deno.mkdir(`${root}/${dir}`);
  const dirs = ["none", "a", "b", "c"].map((dir) => `${root}/${dir}`);
  await Deno.mkdir(`${root}/a/bridge`); // a directory of that name
  await Deno.writeTextFile(`${root}/b/bridge`, "", { mode: 0o644 }); // not executable
  await Deno.writeTextFile(`${root}/c/bridge`, "", { mode: 0o755 });
  await Deno.symlink(`${root}/c/bridge`, `${root}/a/linked`);
  await Deno.symlink(`${root}/nowhere`, `${root}/a/broken`);
  await Deno.symlink(`${root}/a/circle`, `${root}/a/circle`);
  try {
    await t.step("skips what is no executable file", async () => {
      assert.equal(await exec.findInPath("bridge", dirs), `${root}/c/bridge`);
    });
    await t.step(
      "gives a link by its own name, because that is what is granted",
      async () => {
        assert.equal(await exec.findInPath("linked", dirs), `${root}/a/linked`);
      },
    );
    for (const type of ["broken", "circle", "absent", "..", "."]) {
      await t.step(`names type and directories: ${type}`, async () => {
        await assert.rejects(exec.findInPath(type, dirs), {
          code: ErrorCode.invalidNetworkConfig,
          message:
            `plugin ${type} is not installed: no such executable file in ${
              dirs.join(", ")
            }`,
        });
      });
    }
    for (const type of ["", "a/bridge", "/bin/sh", "../c/bridge", "x\0"]) {
      await t.step(
        `refuses what is no file name: ${JSON.stringify(type)}`,
        async () => {
          await assert.rejects(exec.findInPath(type, dirs), {
            code: ErrorCode.invalidNetworkConfig,
            message: `plugin type is not a file name: ${JSON.stringify(type)}`,
          });
        },
      );
    }
    await t.step("says when there is no directory to look in", async () => {
      await assert.rejects(
        exec.findInPath("bridge", []),
        /in an empty CNI_PATH$/,
      );
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("run() gives input and environment and takes what the plugin says", async () => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p", {
    ADD: `print '{"a":"ä"}'; say log; exit 3`,
  });
  const stdin = `{"big":9007199254740993,"umlaut":"ü","pad":"${
    "x".repeat(200_000)
  }"}`;
  const outcome = await createDirectExec({}).run(
    call(path, { stdin, env: { CNI_COMMAND: "ADD", CNI_ARGS: "A=é" } }),
  );
  assert.deepEqual(outcome, {
    code: 3,
    signal: null,
    stdout: '{"a":"ä"}',
    stderr: "log\n",
  });
  const [given] = await plugins.calls();
  assert.equal(given?.stdin, stdin);
  assert.equal(given?.env.CNI_ARGS, "A=é");
});

Deno.test("run() tells the signal that ended a plugin", async (t) => {
  await using plugins = await createNoopPlugins();
  for (const signal of ["KILL", "SEGV", "ABRT"]) {
    await t.step(signal, async () => {
      const path = await plugins.install("p", { ADD: `crash ${signal}` });
      const outcome = await createDirectExec({}).run(call(path));
      assert.equal(outcome.signal, `SIG${signal}`);
    });
  }
});

Deno.test("run() does not mind a plugin that does not read its input", async () => {
  const stdin = "x".repeat(1_000_000); // more than a pipe holds
  const outcome = await createDirectExec({}).run(call("/bin/true", { stdin }));
  assert.equal(outcome.code, 0);
});

Deno.test("run() keeps the end of a long log", async () => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p", {
    ADD: "flood_log 3; say last; print ok",
  });
  const outcome = await createDirectExec({ stderrBytesMax: 100 }).run(
    call(path),
  );
  assert.equal(outcome.stdout, "ok");
  assert.equal(outcome.stderr.length, 100);
  assert.ok(outcome.stderr.endsWith("last\n"));
});

Deno.test("run() ends a plugin that prints more than a result can be", async () => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p", { ADD: "flood 10" });
  await assert.rejects(createDirectExec({}).run(call(path)), {
    code: ErrorCode.decodingFailure,
    message: "plugin p printed more than 1048576 bytes and was ended",
  });
});

Deno.test("run() takes output up to the limit and nothing above it", async (t) => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p", { ADD: "print 12345678" });
  await t.step("exactly", async () => {
    const outcome = await createDirectExec({ stdoutBytesMax: 8 }).run(
      call(path),
    );
    assert.equal(outcome.stdout, "12345678");
  });
  await t.step("one more", async () => {
    await assert.rejects(
      createDirectExec({ stdoutBytesMax: 7 }).run(call(path)),
      CniError,
    );
  });
});

Deno.test("run() does not wait for a child that holds the pipes", async () => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p", {
    ADD: 'leave 1000; print "$!"',
  });
  const exec = createDirectExec({ endDelegate: DELEGATE_EXEC });
  const started = performance.now();
  const outcome = await exec.run(call(path));
  assert.ok(performance.now() - started < 15_000);
  const left = Number(outcome.stdout);
  assert.ok(await isThere(left)); // It goes on: a plugin may start a daemon.
  Deno.kill(left, "SIGKILL");
});

for (const name of ["direct", "by the delegate"] as const) {
  Deno.test(`run() ends a plugin that hangs when its signal comes, ${name}`, async () => {
    await using plugins = await createNoopPlugins();
    const path = await plugins.install("p", {
      ADD: "mark up; exec /bin/sleep 1000",
    });
    const exec = createDirectExec(
      name === "direct" ? {} : { endDelegate: DELEGATE_EXEC },
    );
    const controller = new AbortController();
    const reason = new DOMException("Enough", "TimeoutError");
    const running = exec.run(call(path, { signal: controller.signal }));
    await plugins.marked("p", "up");
    controller.abort(reason);
    await assert.rejects(running, (error) => error === reason);
    const [given] = await plugins.calls();
    assert.ok(given);
    assert.ok(!(await isThere(given.pid)));
  });
}

Deno.test("run() ends children that ignore SIGTERM with their plugin", async () => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p", { ADD: "brood; mark up; hang" });
  const controller = new AbortController();
  const running = createDirectExec({ endDelegate: DELEGATE_EXEC }).run(
    call(path, { signal: controller.signal }),
  );
  for (const name of ["child", "grandchild", "up"]) {
    await plugins.marked("p", name);
  }
  assert.ok((await processesWith(plugins.dir)).length >= 3);
  controller.abort();
  await assert.rejects(running, { name: "AbortError" });
  await processesGone(plugins.dir);
});

Deno.test("run() starts nothing when its signal has come already", async () => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p");
  const signal = AbortSignal.abort(new RangeError("Too late"));
  await assert.rejects(
    createDirectExec({}).run(call(path, { signal })),
    RangeError,
  );
  assert.deepEqual(await plugins.calls(), []);
});

Deno.test("run() says that a plugin's file is being replaced", async () => {
  const dir = await Deno.makeTempDir();
  const path = `${dir}/bridge`;
  await Deno.copyFile("/bin/true", path);
  const file = await Deno.open(path, { write: true });
  try {
    await assert.rejects(createDirectExec({}).run(call(path)), (error) => {
      assert.ok(error instanceof PluginBusyError);
      assert.equal(error.code, ErrorCode.tryAgainLater);
      assert.equal(
        error.message,
        "plugin bridge is being replaced: text file busy",
      );
      return true;
    });
  } finally {
    file.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("run() says why a plugin could not be started", async (t) => {
  const dir = await Deno.makeTempDir();
  await Deno.writeTextFile(`${dir}/orphan`, "#!/no/such/interpreter\n", {
    mode: 0o755,
  });
  await Deno.writeTextFile(`${dir}/plain`, "", { mode: 0o644 });
  const cases = [
    [
      "orphan",
      /^plugin orphan could not be started: No such file or directory/,
    ],
    ["plain", /^plugin plain could not be started: Permission denied/],
    ["gone", /^plugin gone could not be started: No such file or directory/],
  ] as const;
  for (const [name, message] of cases) {
    await t.step(name, async () => {
      await assert.rejects(createDirectExec({}).run(call(`${dir}/${name}`)), {
        name: "CniError",
        code: ErrorCode.ioFailure,
        message,
      });
    });
  }
  await Deno.remove(dir, { recursive: true });
});

Deno.test({
  name: "run() says that a plugin is not granted",
  permissions: { run: ["/bin/true"], read: true },
  fn: async () => {
    const exec = createDirectExec({});
    assert.equal((await exec.run(call("/bin/true"))).code, 0);
    await assert.rejects(exec.run(call("/bin/false")), {
      code: ErrorCode.internal,
      message:
        "plugin false is not among the programs granted to this process: /bin/false",
    });
  },
});

Deno.test("run() works many times at once", async () => {
  await using plugins = await createNoopPlugins();
  const path = await plugins.install("p", { ADD: 'print "$CNI_CONTAINERID"' });
  const exec = createDirectExec({});
  const ids = Array.from({ length: 40 }, (_, index) => `id-${index}`);
  const outcomes = await Promise.all(
    ids.map((id) =>
      exec.run(call(path, { env: { CNI_COMMAND: "ADD", CNI_CONTAINERID: id } }))
    ),
  );
  assert.deepEqual(outcomes.map(({ stdout }) => stdout), ids);
});
