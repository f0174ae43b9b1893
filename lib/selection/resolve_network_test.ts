import assert from "node:assert/strict";
import { join } from "node:path";
import { parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import { createConfSources } from "./conf_sources.ts";
import type { AttachmentDefinition } from "./delegate.ts";
import { resolveDefinition, resolveNetwork } from "./resolve_network.ts";
import type { NetworkSources, ResolvedNetwork } from "./resolve_network.ts";

/** A confDir, and what lies beside it; removed when the test ends. */
async function makeDir(
  files: Record<string, string>,
): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "selection-" });
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(join(path, name, ".."), { recursive: true });
    await Deno.writeTextFile(join(path, name), text);
  }
  return {
    path,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

const FILES = {
  "10-first.conf": `{"name":"in-file","type":"bridge","n":1.0}`,
  "20-second.conflist":
    `{"name":"My_List","plugins":[{"type":"ptp"},{"type":"tuning"}]}`,
  "30-loop.conf": `{"name":"loop","type":"multus"}`,
  "other/20-b.conf": `{"name":"b","type":"ptp"}`,
  "other/10-a.conf": `{"name":"a","type":"bridge"}`,
  "other/readme.txt": "not a configuration",
  "empty/readme.txt": "not a configuration",
  "loop/00-multus.conf": `{"name":"m","type":"multus-shim"}`,
  "broken.conf": "{",
};

const DEFINITIONS: AttachmentDefinition[] = [
  {
    namespace: "kube-system",
    name: "by-config",
    config: `{"type":"macvlan","n":9007199254740993}`,
    resourceName: "x/nic",
  },
  { namespace: "kube-system", name: "in-file" },
  { namespace: "kube-system", name: "no-file", config: " \n" },
  { namespace: "kube-system", name: "unreadable", config: `{"type":7}` },
  { namespace: "kube-system", name: "no-json", config: `{"type":` },
  {
    namespace: "kube-system",
    name: "looped",
    config: `{"name":"x","plugins":[{"type":"y","d":{"type":"multus"}}]}`,
  },
  { namespace: "other", name: "elsewhere", config: `{"type":"macvlan"}` },
];

function sourcesOf(dir: string): NetworkSources {
  return {
    ...createConfSources(dir),
    attachment: (namespace, name) =>
      Promise.resolve(
        DEFINITIONS.find((definition) =>
          definition.namespace === namespace && definition.name === name
        ),
      ),
  };
}

async function resolve(
  reference: string,
  dir: string,
): Promise<ResolvedNetwork> {
  return await resolveNetwork(reference.replace("DIR", dir), {
    multusNamespace: "kube-system",
    sources: sourcesOf(dir),
    place: "clusterNetwork",
  });
}

Deno.test("resolveNetwork() finds a network in each of the four ways", async (t) => {
  await using dir = await makeDir(FILES);
  const cases: [way: string, reference: string, text: string][] = [
    [
      "a definition",
      "by-config",
      `{"type":"macvlan","n":9007199254740993,"name":"by-config"}`,
    ],
    [
      "a definition whose configuration is in a file",
      "in-file",
      FILES[
        "10-first.conf"
      ],
    ],
    ["the name of a file", "My_List", FILES["20-second.conflist"]],
    ["a directory", "DIR/other", FILES["other/10-a.conf"]],
    ["an absolute file", "DIR/other/20-b.conf", FILES["other/20-b.conf"]],
  ];
  for (const [way, reference, text] of cases) {
    await t.step(way, async () => {
      const { list } = await resolve(reference, dir.path);
      assert.equal(list.text, text);
    });
  }
});

Deno.test("resolveNetwork() tells the definition and its resource", async () => {
  await using dir = await makeDir(FILES);
  const found = await resolve("by-config", dir.path);
  assert.deepEqual({ ...found, list: undefined }, {
    list: undefined,
    definition: { namespace: "kube-system", name: "by-config" },
    resourceName: "x/nic",
  });
  const file = await resolve("My_List", dir.path);
  assert.deepEqual(Object.keys(file), ["list"]);
});

Deno.test("resolveNetwork() refuses what cannot be a default network", async (t) => {
  await using dir = await makeDir(FILES);
  const { invalidNetworkConfig, ioFailure, decodingFailure } = ErrorCode;
  const cases: [
    way: string,
    reference: string,
    code: number,
    message: string,
  ][] = [
    [
      "nothing",
      "",
      invalidNetworkConfig,
      'clusterNetwork must be the name of a network or an absolute path: ""',
    ],
    [
      "a namespace",
      "other/elsewhere",
      invalidNetworkConfig,
      'clusterNetwork must be the name of a network or an absolute path: "other/elsewhere"',
    ],
    [
      "unknown",
      "elsewhere",
      invalidNetworkConfig,
      'clusterNetwork: no NetworkAttachmentDefinition "kube-system/elsewhere": ',
    ],
    [
      "a definition without file",
      "no-file",
      invalidNetworkConfig,
      'NetworkAttachmentDefinition "kube-system/no-file" (clusterNetwork): ',
    ],
    [
      "a definition that is not valid",
      "unreadable",
      invalidNetworkConfig,
      'NetworkAttachmentDefinition "kube-system/unreadable" (clusterNetwork): ',
    ],
    [
      "a definition that does not parse",
      "no-json",
      decodingFailure,
      'NetworkAttachmentDefinition "kube-system/no-json" (clusterNetwork): ',
    ],
    [
      "a definition that nests Multus",
      "looped",
      invalidNetworkConfig,
      'NetworkAttachmentDefinition "kube-system/looped" (clusterNetwork) ' +
      'leads back to Multus itself and cannot be a delegate: type "multus"',
    ],
    [
      "a file of Multus by name",
      "loop",
      invalidNetworkConfig,
      'clusterNetwork "loop" leads back to Multus itself and cannot be a delegate: type "multus"',
    ],
    [
      "a directory with Multus first",
      "DIR/loop",
      invalidNetworkConfig,
      'leads back to Multus itself and cannot be a delegate: type "multus-shim"',
    ],
    [
      "an empty directory",
      "DIR/empty",
      invalidNetworkConfig,
      "clusterNetwork: no CNI file in directory",
    ],
    ["a missing path", "DIR/none.conf", ioFailure, "clusterNetwork: "],
    ["a broken file", "DIR/broken.conf", decodingFailure, "clusterNetwork: "],
  ];
  for (const [way, reference, code, message] of cases) {
    await t.step(way, async () => {
      await assert.rejects(resolve(reference, dir.path), (error) => {
        assert.ok(error instanceof CniError, String(error));
        assert.equal(error.code, code);
        assert.ok(error.message.includes(message), error.message);
        return true;
      });
    });
  }
});

Deno.test("resolveNetwork() asks the cluster only for names that a definition can have", async () => {
  await using dir = await makeDir(FILES);
  const asked: string[] = [];
  const sources: NetworkSources = {
    ...sourcesOf(dir.path),
    attachment: (namespace, name) => {
      asked.push(`${namespace}/${name}`);
      return Promise.resolve(undefined);
    },
  };
  const options = { multusNamespace: "ns", sources, place: "clusterNetwork" };
  await resolveNetwork("My_List", options);
  await resolveNetwork(join(dir.path, "other"), options);
  await resolveNetwork("in-file", options);
  assert.deepEqual(asked, ["ns/in-file"]);
});

Deno.test("resolveNetwork() passes on why the cluster could not be asked", async () => {
  await using dir = await makeDir(FILES);
  const failure = new CniError(ErrorCode.tryAgainLater, "Cannot ask");
  const sources: NetworkSources = {
    ...sourcesOf(dir.path),
    attachment: () => Promise.reject(failure),
  };
  const options = { multusNamespace: "ns", sources, place: "clusterNetwork" };
  await assert.rejects(resolveNetwork("in-file", options), failure);
});

Deno.test("resolveDefinition() passes on what is no CniError as it is", async () => {
  const failure = new DOMException("too late", "TimeoutError");
  await assert.rejects(
    resolveDefinition(
      { namespace: "ns", name: "a" },
      { confByName: () => Promise.reject(failure) },
      "The definition",
    ),
    failure,
  );
});

Deno.test("resolveDefinition() puts its origin before the message of whoever read the configuration", async () => {
  const cause = new CniError(ErrorCode.ioFailure, "Cannot read", {
    details: "more",
  });
  await assert.rejects(
    resolveDefinition(
      { namespace: "ns", name: "a" },
      { confByName: () => Promise.reject(cause) },
      "The definition",
    ),
    (error) => {
      assert.ok(error instanceof CniError);
      assert.equal(error.message, "The definition: Cannot read");
      assert.equal(error.code, ErrorCode.ioFailure);
      assert.equal(error.details, "more");
      assert.equal(error.cause, cause);
      return true;
    },
  );
});

Deno.test("resolveDefinition() keeps the name that the configuration has", async () => {
  const { list } = await resolveDefinition(
    { namespace: "ns", name: "a", config: `{"name":"own","type":"x"}` },
    { confByName: () => Promise.resolve(parseConf(`{"type":"y","name":"z"}`)) },
    "The definition",
  );
  assert.equal(list.name, "own");
});
