import assert from "node:assert/strict";
import fc from "fast-check";
import { CniError, ErrorCode } from "./error.ts";
import { type CachedAttachment, createResultCache } from "./result_cache.ts";

const ATTACHMENT: CachedAttachment = {
  networkName: "net-a",
  containerId: "c1",
  ifname: "net1",
  netns: "/var/run/netns/x",
  cniArgs: [["IgnoreUnknown", "true"], ["K8S_POD_NAME", "p"]],
  capabilityArgs: { portMappings: `[{"hostPort":8080, "x":9007199254740993}]` },
  config: `{ "name": "net-a", "type": "ä", "n": 1.0 }`,
  result: `{"cniVersion":"1.0.0","ips":[]}`,
};

async function makeDir(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "cache" });
  return {
    path,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

Deno.test("write() makes the file that libcni reads", async () => {
  await using dir = await makeDir();
  await createResultCache(`${dir.path}/cni`).write(ATTACHMENT);
  const results = `${dir.path}/cni/results`;
  const path = `${results}/net-a-c1-net1`;
  assert.equal(
    await Deno.readTextFile(path),
    `{"kind":"cniCacheV1","containerId":"c1","config":"${
      new TextEncoder().encode(ATTACHMENT.config).toBase64()
    }","ifName":"net1","networkName":"net-a","netns":"/var/run/netns/x","cniArgs":[["IgnoreUnknown","true"],["K8S_POD_NAME","p"]],"capabilityArgs":{"portMappings":[{"hostPort":8080, "x":9007199254740993}]},"result":{"cniVersion":"1.0.0","ips":[]}}`,
  );
  assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
  assert.equal(((await Deno.stat(results)).mode ?? 0) & 0o777, 0o700);
  const names = (await Array.fromAsync(Deno.readDir(results))).map(({ name }) =>
    name
  );
  assert.deepEqual(names, ["net-a-c1-net1"]);
});

Deno.test("read() gives back what was written", async () => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  const word = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}$/);
  const attachments = fc.record<CachedAttachment>({
    networkName: word,
    containerId: word,
    ifname: fc.stringMatching(/^[a-z0-9@é"-]{1,7}$/),
    netns: fc.string(),
    cniArgs: fc.array(
      fc.tuple(
        fc.string(),
        fc.string({ unit: "binary" }).map((text) => text.toWellFormed()),
      ),
    ),
    capabilityArgs: fc.dictionary(fc.string(), fc.json(), { maxKeys: 4 }),
    config: fc.string({ unit: "binary" }).map((text) => text.toWellFormed()),
    result: fc.constantFrom(`{"ips":[1.0]}`, "{ }"),
  });
  await fc.assert(
    fc.asyncProperty(attachments, async (attachment) => {
      await cache.write(attachment);
      const read = await cache.read(attachment);
      assert.deepEqual(
        { ...read, capabilityArgs: { ...read?.capabilityArgs } },
        {
          ...attachment,
          capabilityArgs: { ...attachment.capabilityArgs },
        },
      );
      await cache.remove(attachment);
      assert.equal(await cache.read(attachment), undefined);
    }),
    { numRuns: 60 },
  );
});

Deno.test("read() takes what libcni leaves out and what old versions wrote", async (t) => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  await Deno.mkdir(`${dir.path}/results`);
  const path = `${dir.path}/results/net-a-c1-net1`;
  const empty = {
    ...ATTACHMENT,
    netns: "",
    cniArgs: [],
    capabilityArgs: {},
    config: "",
  };
  const { result: _, ...withoutResult } = empty;
  const head =
    `"kind":"cniCacheV1","containerId":"c1","ifName":"net1","networkName":"net-a"`;
  const cases: readonly (readonly [string, string, CachedAttachment])[] = [
    ["members left out", `{${head},"config":""}`, withoutResult],
    [
      "null for members",
      `{${head},"config":null,"cniArgs":null,"capabilityArgs":null,"result":null}`,
      withoutResult,
    ],
    [
      "unknown members",
      `{${head},"config":"","more":{"x":1},"result":{"cniVersion":"1.0.0","ips":[]}}`,
      empty,
    ],
    ["a bare result", `{"cniVersion":"1.0.0","ips":[]}`, empty],
  ];
  for (const [name, text, expected] of cases) {
    await t.step(name, async () => {
      await Deno.writeTextFile(path, text);
      assert.deepEqual(await cache.read(ATTACHMENT), expected);
    });
  }
});

Deno.test("read() calls damaged what cannot be read, and throws nothing else", async () => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  await cache.write(ATTACHMENT);
  const path = `${dir.path}/results/net-a-c1-net1`;
  const whole = await Deno.readFile(path);
  const damages = fc.oneof(
    fc.nat(whole.length - 1).map((length) => whole.slice(0, length)),
    fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, byte]) =>
      whole.with(at, byte)
    ),
    fc.uint8Array(),
  );
  await fc.assert(
    fc.asyncProperty(damages, async (bytes) => {
      await Deno.writeFile(path, bytes);
      try {
        await cache.read(ATTACHMENT);
      } catch (error) {
        assert.ok(error instanceof CniError);
        assert.equal(error.code, ErrorCode.decodingFailure);
        assert.match(
          error.message,
          /^Result cache is damaged \(.*\): .*net-a-c1-net1$/s,
        );
      }
      const { attachments, unreadable } = await cache.list();
      assert.equal(attachments.length + unreadable.length, 1);
    }),
    { numRuns: 150 },
  );
});

Deno.test("the cache never leaves its directory", async (t) => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  const cases: readonly (readonly [Partial<CachedAttachment>, number])[] = [
    [{ networkName: "../x" }, ErrorCode.invalidNetworkConfig],
    [{ networkName: "" }, ErrorCode.invalidNetworkConfig],
    [{ containerId: "a/../../b" }, ErrorCode.invalidEnvironment],
    [{ ifname: "../../x" }, ErrorCode.invalidEnvironment],
    [{ ifname: ".." }, ErrorCode.invalidEnvironment],
    [{ networkName: "n".repeat(248) }, ErrorCode.invalidNetworkConfig],
    [{ containerId: "c".repeat(300) }, ErrorCode.invalidNetworkConfig],
  ];
  for (const [over, code] of cases) {
    await t.step(JSON.stringify(over), async () => {
      const attachment = { ...ATTACHMENT, ...over };
      await assert.rejects(cache.write(attachment), { code });
      assert.equal(await cache.read(attachment), undefined);
      await cache.remove(attachment);
    });
  }
});

Deno.test("list() gives one network's attachments, leaves unfinished files out and tells unreadable ones", async () => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  assert.deepEqual(await cache.list(), { attachments: [], unreadable: [] });
  for (const networkName of ["net-a", "net-a-c1", "other"]) {
    await cache.write({ ...ATTACHMENT, networkName });
  }
  await Deno.writeTextFile(`${dir.path}/results/.tmp-1`, "{");
  await Deno.writeTextFile(`${dir.path}/results/net-a-x-net1`, "");
  await Deno.mkdir(`${dir.path}/results/net-a-directory`);
  const names = (
    { attachments }: { attachments: readonly CachedAttachment[] },
  ): string[] => attachments.map(({ networkName }) => networkName).sort();
  assert.deepEqual(names(await cache.list()), ["net-a", "net-a-c1", "other"]);
  const ofOne = await cache.list({ networkName: "net-a" });
  assert.deepEqual(names(ofOne), ["net-a"]);
  assert.deepEqual(ofOne.unreadable.map(({ path }) => path), [
    `${dir.path}/results/net-a-x-net1`,
  ]);
});

Deno.test("list() gives one container's attachments", async () => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  for (
    const [networkName, containerId] of [
      ["a", "c1"],
      ["b", "c1"],
      ["a", "c1-x"],
      ["c1", "c2"],
      ["a-c1", "c3"],
    ] as const
  ) {
    await cache.write({ ...ATTACHMENT, networkName, containerId });
  }
  const { attachments } = await cache.list({ containerId: "c1" });
  assert.deepEqual(
    attachments.map((
      { networkName, containerId },
    ) => [networkName, containerId]),
    [["a", "c1"], ["b", "c1"]],
  );
});

Deno.test("mayHold() knows what was there before, and what was written, removed and cleared since", async () => {
  await using dir = await makeDir();
  await createResultCache(dir.path).write(ATTACHMENT);
  const cache = createResultCache(dir.path);
  const held = (): boolean[] => ["c1", "c2", "c"].map(cache.mayHold);
  assert.deepEqual(held(), [true, false, false]);
  await cache.write({ ...ATTACHMENT, containerId: "c2" });
  assert.deepEqual(held(), [true, true, false]);
  await cache.remove(ATTACHMENT);
  assert.deepEqual(held(), [false, true, false]);
  await cache.clear("c2");
  assert.deepEqual(held(), [false, false, false]);
});

Deno.test("has() knows what was there before, and what was written, refused, removed and cleared since", async () => {
  await using dir = await makeDir();
  await createResultCache(dir.path).write(ATTACHMENT);
  const cache = createResultCache(dir.path);
  const keys = [
    ATTACHMENT,
    { ...ATTACHMENT, ifname: "net2" },
    { ...ATTACHMENT, networkName: "../x" },
  ];
  const held = (): boolean[] => keys.map(cache.has);
  assert.deepEqual(held(), [true, false, false]);
  const other = { ...ATTACHMENT, ifname: "net2" };
  const path = `${dir.path}/results/net-a-c1-net2`;
  await Deno.mkdir(path);
  await assert.rejects(cache.write(other), { code: ErrorCode.ioFailure });
  assert.deepEqual(held(), [true, false, false]);
  await Deno.remove(path);
  await cache.write(other);
  assert.deepEqual(held(), [true, true, false]);
  await cache.remove(ATTACHMENT);
  assert.deepEqual(held(), [false, true, false]);
  await cache.clear("c1");
  assert.deepEqual(held(), [false, false, false]);
});

Deno.test("tidy() removes what a crash left half-written, and nothing else", async () => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  await cache.tidy();
  await cache.write(ATTACHMENT);
  await Deno.writeTextFile(`${dir.path}/results/.tmp-half`, "{");
  await cache.tidy();
  assert.deepEqual(
    (await Array.fromAsync(Deno.readDir(`${dir.path}/results`)))
      .map(({ name }) => name),
    ["net-a-c1-net1"],
  );
});

Deno.test("write() shows readers a whole file at any time", async () => {
  await using dir = await makeDir();
  const cache = createResultCache(dir.path);
  const versions = [ATTACHMENT, { ...ATTACHMENT, config: "x".repeat(100_000) }];
  await cache.write(ATTACHMENT);
  const writing = (async (): Promise<void> => {
    for (let round = 0; round < 100; round++) {
      for (const version of versions) await cache.write(version);
    }
  })();
  for (let round = 0; round < 200; round++) {
    const length = (await cache.read(ATTACHMENT))?.config.length;
    assert.ok(versions.some(({ config }) => config.length === length));
  }
  await writing;
});

Deno.test("write(), read() and remove() say which file they could not have", async (t) => {
  await using dir = await makeDir();
  await Deno.writeTextFile(`${dir.path}/results`, "");
  const cache = createResultCache(dir.path);
  const cases = [
    [
      "write",
      () => cache.write(ATTACHMENT),
      /^Result cache cannot be written /,
    ],
    ["read", () => cache.read(ATTACHMENT), /^Result cache cannot be read /],
    [
      "remove",
      () => cache.remove(ATTACHMENT),
      /^Result cache cannot be removed /,
    ],
    ["list", () => cache.list(), /^Result cache cannot be listed /],
  ] as const;
  for (const [name, act, message] of cases) {
    await t.step(name, async () => {
      await assert.rejects(act, { code: ErrorCode.ioFailure, message });
    });
  }
});

Deno.test("read() and remove() take a name that the file system has no room for as not there", async () => {
  await using dir = await makeDir();
  // As on a file system with shorter names; here it is the path that is too long.
  const cache = createResultCache(`${dir.path}${"/d".repeat(3_000)}`);
  assert.equal(await cache.read(ATTACHMENT), undefined);
  await cache.remove(ATTACHMENT);
});
