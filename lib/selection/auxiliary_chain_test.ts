import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { join } from "node:path";
import { CniError } from "../cni/error.ts";
import { SUPPORTED_VERSIONS } from "../cni/version.ts";
import { auxiliaryParentDir, loadAuxiliaryChain } from "./auxiliary_chain.ts";

async function inDir(
  files: Readonly<Record<string, string>>,
  test: (parentDir: string) => Promise<void>,
): Promise<void> {
  const parentDir = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.mkdir(join(parentDir, "aux"), { recursive: true });
      await Deno.writeTextFile(join(parentDir, "aux", name), text);
    }
    await test(parentDir);
  } finally {
    await Deno.remove(parentDir, { recursive: true });
  }
}

Deno.test("loadAuxiliaryChain() puts passthru before the directory's plugins, in lexical order, to the byte", async () => {
  const files = {
    "20-b.conf": `{"type":"b", "big": 9007199254740993}\n`,
    "10-a.conf": `{"type":"a"}`,
    "30-c.conflist": `{"name":"c","plugins":[{"type":"c"}]}`,
    "40-d.json": `{"type":"d"}`,
  };
  await inDir(files, async (parentDir) => {
    const options = { parentDir, cniVersion: "1.0.0" };
    const chain = await loadAuxiliaryChain("aux", options);
    equal(chain?.name, "aux");
    equal(chain?.cniVersion, "1.0.0");
    deepEqual(chain?.plugins.map(({ type }) => type), ["passthru", "a", "b"]);
    match(chain?.text ?? "", /\{"type":"b", "big": 9007199254740993\}/);
  });
});

Deno.test("loadAuxiliaryChain() speaks the default network's version, from the first that can be without address", async () => {
  await inDir({ "a.conf": `{"type":"a"}` }, async (parentDir) => {
    for (const cniVersion of SUPPORTED_VERSIONS) {
      const chain = await loadAuxiliaryChain("aux", { parentDir, cniVersion });
      const expected = ["0.1.0", "0.2.0"].includes(cniVersion)
        ? "0.3.0"
        : cniVersion;
      equal(chain?.cniVersion, expected, cniVersion);
    }
  });
});

Deno.test("loadAuxiliaryChain() is nothing without a plugin", async (t) => {
  const cases = {
    "no directory": {},
    "a directory with other files": { "readme.txt": "", "a.conf.bak": "{}" },
  };
  for (const [name, files] of Object.entries(cases)) {
    await t.step(name, () =>
      inDir(files, async (parentDir) => {
        const options = { parentDir, cniVersion: "1.0.0" };
        equal(await loadAuxiliaryChain("aux", options), undefined);
      }));
  }
});

Deno.test("loadAuxiliaryChain() names key and file of what cannot be used", async (t) => {
  const cases: readonly [string, string, string, RegExp][] = [
    [
      "not JSON",
      "aux",
      "{",
      /^auxiliaryCNIChainName: .*\(in .*aux\/x\.conf\)$/,
    ],
    ["no type", "aux", "{}", /^auxiliaryCNIChainName: .*type.*x\.conf\)$/],
    ["a path", "../aux", "{}", /^auxiliaryCNIChainName: .*"\.\.\/aux"$/],
  ];
  for (const [name, chain, text, message] of cases) {
    await t.step(name, () =>
      inDir({ "x.conf": text }, async (parentDir) => {
        const loading = loadAuxiliaryChain(chain, {
          parentDir,
          cniVersion: "1.0.0",
        });
        await rejects(loading, (error) => {
          match((error as CniError).message, message);
          return error instanceof CniError;
        });
      }));
  }
});

Deno.test("auxiliaryParentDir() is beside the default network's file", () => {
  const confDir = "/etc/multus";
  const cases: readonly [string | undefined, boolean, string][] = [
    ["/etc/cni/net.d/10-a.conflist", false, "/etc/cni/net.d"],
    ["/etc/cni/net.d", true, "/etc/cni/net.d"],
    ["a-network", false, confDir],
    [undefined, false, confDir],
  ];
  for (const [clusterNetwork, isDirectory, expected] of cases) {
    equal(
      auxiliaryParentDir(clusterNetwork, { confDir, isDirectory }),
      expected,
    );
  }
});
