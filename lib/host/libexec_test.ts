import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { renderDefaultRoute, renderDelegateExec } from "./libexec.ts";

const LIBEXEC = fileURLToPath(
  new URL("../../deployments/libexec", import.meta.url),
);
const delegateExec = await Deno.readTextFile(`${LIBEXEC}/delegate-exec`);
const defaultRoute = await Deno.readTextFile(`${LIBEXEC}/default-route`);

Deno.test("renderDelegateExec() writes root and directories in, and changes nothing else", () => {
  const text = renderDelegateExec(delegateExec, {
    hostRoot: "/hostroot",
    pluginDirs: ["/opt/cni/bin", "/usr/lib/cni"],
  });
  const lines = delegateExec.split("\n");
  const changed = text.split("\n").filter((line, index) =>
    line !== lines[index]
  );
  assert.deepEqual(changed, [
    "HOST_ROOT='/hostroot'",
    "PLUGIN_DIRS='/opt/cni/bin:/usr/lib/cni'",
  ]);
});

Deno.test("renderDelegateExec() leaves the root empty without one", () => {
  for (const hostRoot of ["/", ""]) {
    const text = renderDelegateExec(delegateExec, {
      hostRoot,
      pluginDirs: ["/opt/cni/bin"],
    });
    assert.match(text, /^HOST_ROOT=''$/m);
  }
});

Deno.test("renderDefaultRoute() writes root and program in", () => {
  const text = renderDefaultRoute(defaultRoute, {
    hostRoot: "/hostroot",
    ipProgram: "/sbin/ip",
  });
  assert.match(text, /^HOST_ROOT='\/hostroot'$/m);
  assert.match(text, /^IP_PROGRAM='\/sbin\/ip'$/m);
  assert.match(
    renderDefaultRoute(text, { hostRoot: "/" }),
    /^IP_PROGRAM='\/usr\/sbin\/ip'$/m,
  );
});

const BAD_PATHS = [
  "relative",
  "",
  "/a b",
  "/a'b",
  "/a\nb",
  "/a:b",
  "/$(id)",
  "/a/../b",
  "/./a",
  "/a//b",
  "/a/",
  "/a;b",
  "/ä",
];

for (const path of BAD_PATHS) {
  Deno.test(`the scripts are not written with the path ${JSON.stringify(path)}`, () => {
    assert.throws(
      () =>
        renderDelegateExec(delegateExec, { hostRoot: "/", pluginDirs: [path] }),
      RangeError,
    );
    assert.throws(
      () =>
        renderDefaultRoute(defaultRoute, { hostRoot: "/", ipProgram: path }),
      RangeError,
    );
    if (path === "") return;
    assert.throws(
      () =>
        renderDelegateExec(delegateExec, {
          hostRoot: path,
          pluginDirs: ["/opt/cni/bin"],
        }),
      RangeError,
    );
    assert.throws(
      () => renderDefaultRoute(defaultRoute, { hostRoot: path }),
      RangeError,
    );
  });
}

Deno.test("renderDelegateExec() refuses directories of the system's commands", async (t) => {
  for (
    const dir of [
      "/",
      "/bin",
      "/sbin",
      "/usr/bin",
      "/usr/sbin",
      "/usr/local/bin",
      "/usr/local/sbin/cni",
    ]
  ) {
    await t.step(dir, () => {
      assert.throws(
        () =>
          renderDelegateExec(delegateExec, {
            hostRoot: "/",
            pluginDirs: ["/opt/cni/bin", dir],
          }),
        {
          name: "RangeError",
          message: `Directory of commands cannot be a plugin directory: ${dir}`,
        },
      );
    });
  }
  assert.throws(
    () => renderDelegateExec(delegateExec, { hostRoot: "/", pluginDirs: [] }),
    RangeError,
  );
});

Deno.test("the scripts are only written from a text that has their variables once", () => {
  const place = { hostRoot: "/", pluginDirs: ["/opt/cni/bin"] };
  assert.throws(() => renderDelegateExec("#!/bin/sh\n", place), SyntaxError);
  assert.throws(
    () => renderDelegateExec(`${delegateExec}\nHOST_ROOT=/`, place),
    SyntaxError,
  );
});

for (
  const [name, text] of [["delegate-exec", delegateExec], [
    "default-route",
    defaultRoute,
  ]] as const
) {
  Deno.test(`${name} has under 60 lines and is executable`, async () => {
    assert.ok(text.trimEnd().split("\n").length < 60);
    assert.equal(
      ((await Deno.stat(`${LIBEXEC}/${name}`)).mode ?? 0) & 0o777,
      0o755,
    );
  });
}

Deno.test({
  name: "the scripts are clean in the eyes of shellcheck",
  ignore: !(await isThere("/usr/bin/shellcheck")), // Prerequisites bring it; without it there is nobody to ask.
  fn: async () => {
    const noop = fileURLToPath(
      new URL("../../tests/noop_plugin", import.meta.url),
    );
    const { stdout, success } = await new Deno.Command("/usr/bin/shellcheck", {
      args: [
        "--shell=sh",
        `${LIBEXEC}/delegate-exec`,
        `${LIBEXEC}/default-route`,
        noop,
      ],
    }).output();
    assert.ok(success, new TextDecoder().decode(stdout));
  },
});

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
