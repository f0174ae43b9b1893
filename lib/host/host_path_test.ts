import assert from "node:assert/strict";
import fc from "fast-check";
import { resolveInRoot } from "./host_path.ts";

/** A host's root with the links that hosts have. */
async function makeRoot(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.realPath(await Deno.makeTempDir({ prefix: "root" }));
  const dirs = [
    "run/netns",
    "var/lib/rancher/k3s/data/abc/bin",
    "var/lib/rancher/k3s/data/cni",
    "opt/cni",
    "etc",
  ];
  for (const dir of dirs) {
    await Deno.mkdir(`${path}/${dir}`, { recursive: true });
  }
  const links = [
    ["/run", "var/run"],
    ["/var/lib/rancher/k3s/data/cni", "opt/cni/bin"],
    [
      "/var/lib/rancher/k3s/data/abc/bin/cni",
      "var/lib/rancher/k3s/data/cni/bridge",
    ],
    ["../../../../../etc", "opt/up"],
    ["../../../../../../../../etc/shadow", "opt/shadow"],
    ["circle", "opt/circle"],
    ["/opt/b", "opt/a"],
    ["/opt/a/x", "opt/b"],
    ["run", "relative"],
    ["/", "etc/root"],
    ["/proc/1/ns/net", "run/netns/linked"],
  ] as const;
  for (const [target, link] of links) {
    await Deno.symlink(target, `${path}/${link}`);
  }
  await Deno.writeTextFile(`${path}/var/lib/rancher/k3s/data/abc/bin/cni`, "");
  return {
    path,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

const PATHS = [
  ["/", ""],
  ["/etc", "/etc"],
  ["//etc///", "/etc"],
  ["/etc/./x", "/etc/x"],
  ["/not/there/at/all", "/not/there/at/all"],
  ["/not/../etc", "/etc"],
  ["/var/run/netns/pod", "/run/netns/pod"],
  ["/opt/cni/bin", "/var/lib/rancher/k3s/data/cni"],
  ["/opt/cni/bin/bridge", "/var/lib/rancher/k3s/data/abc/bin/cni"],
  ["/opt/cni/bin/..", "/var/lib/rancher/k3s/data"],
  ["/relative/netns", "/run/netns"],
  ["/opt/up/passwd", "/etc/passwd"],
  ["/opt/shadow", "/etc/shadow"],
  ["/../../../etc/passwd", "/etc/passwd"],
  ["/etc/root/etc/root/run", "/run"],
  ["/run/netns/linked", "/proc/1/ns/net"],
  ["/proc/1/ns/net", "/proc/1/ns/net"],
  ["/etc/x/../../../..", ""],
] as const;

for (const [path, expected] of PATHS) {
  Deno.test(`resolveInRoot() finds ${path} as if chrooted`, async () => {
    await using root = await makeRoot();
    assert.equal(await resolveInRoot(root.path, path), root.path + expected);
    assert.equal(
      await resolveInRoot(`${root.path}/`, path),
      root.path + expected,
    );
  });
}

Deno.test("resolveInRoot() gives up on links in a circle", async (t) => {
  await using root = await makeRoot();
  for (const path of ["/opt/circle", "/opt/circle/x", "/opt/a", "/opt/b/c"]) {
    await t.step(path, async () => {
      await assert.rejects(
        resolveInRoot(root.path, path),
        Deno.errors.FilesystemLoop,
      );
    });
  }
});

Deno.test("resolveInRoot() refuses paths that are not absolute", async (t) => {
  for (
    const [root, path] of [["host", "/etc"], ["/host", "etc"], [
      "/host",
      "",
    ]] as const
  ) {
    await t.step(`${root} ${path}`, async () => {
      await assert.rejects(resolveInRoot(root, path), TypeError);
    });
  }
});

Deno.test("resolveInRoot() works in this process' own root", async () => {
  await using root = await makeRoot();
  assert.equal(
    await resolveInRoot("/", `${root.path}/relative`),
    `${root.path}/run`,
  );
  assert.equal(await resolveInRoot("", `${root.path}/etc`), `${root.path}/etc`);
  assert.equal(await resolveInRoot("/", "/"), "/");
});

Deno.test("resolveInRoot() never leads out of the root", async () => {
  await using root = await makeRoot();
  const parts = fc.constantFrom(
    "..",
    ".",
    "",
    "opt",
    "up",
    "cni",
    "bin",
    "bridge",
    "etc",
    "root",
    "shadow",
    "relative",
    "var",
    "run",
    "circle",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(parts, { maxLength: 12 }), async (names) => {
      try {
        const found = await resolveInRoot(root.path, `/${names.join("/")}`);
        assert.ok(found === root.path || found.startsWith(`${root.path}/`));
        assert.ok(!found.split("/").includes(".."));
        assert.equal(
          await resolveInRoot(root.path, found.slice(root.path.length) || "/"),
          found,
        );
      } catch (error) {
        assert.ok(error instanceof Deno.errors.FilesystemLoop);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test({
  name: "resolveInRoot() says when a part is not granted",
  permissions: { read: ["/nonexistent/opt"] },
  fn: async () => {
    assert.equal(await resolveInRoot("/", "/proc/1/ns/net"), "/proc/1/ns/net");
    await assert.rejects(
      resolveInRoot("/nonexistent", "/etc"),
      Deno.errors.NotCapable,
    );
  },
});
