import assert from "node:assert/strict";
import fc from "fast-check";
import { parseConf } from "../cni/conf.ts";
import { AnnotationError } from "./annotation_error.ts";
import { withCniArgs, withDevice } from "./delegate_conf.ts";

Deno.test("withDevice() puts both names into a single plugin and leaves the rest as it is written", () => {
  const list = parseConf(
    `{ "name": "n", "type": "sriov", "big": 9007199254740993, "one": 1.0, "deviceID": "old" }`,
  );
  assert.equal(
    withDevice(list, "0000:03:02.1").text,
    `{ "name": "n", "type": "sriov", "big": 9007199254740993, "one": 1.0, "deviceID": "0000:03:02.1","pciBusID":"0000:03:02.1" }`,
  );
});

Deno.test("withDevice() puts both names into each plugin of a list", () => {
  const list = parseConf(
    `{"name":"n","big":1e400,"plugins":[{"type":"a"}, {"type":"b","x":1.0}]}`,
  );
  const edited = withDevice(list, `q"`);
  assert.equal(
    edited.text,
    `{"name":"n","big":1e400,"plugins":[{"type":"a","deviceID":"q\\"","pciBusID":"q\\""}, {"type":"b","x":1.0,"deviceID":"q\\"","pciBusID":"q\\""}]}`,
  );
  assert.deepEqual(
    edited.plugins.map(({ text }) => JSON.parse(text).pciBusID),
    [`q"`, `q"`],
  );
});

Deno.test("withCniArgs() merges into args.cni of each plugin", async (t) => {
  const cases: [name: string, plugin: string, expected: string][] = [
    ["absent", `{"type":"a"}`, `{"type":"a","args":{"cni":{"k":1.0}}}`],
    [
      "null",
      `{"type":"a","args":null}`,
      `{"type":"a","args":{"cni":{"k":1.0}}}`,
    ],
    [
      "other members",
      `{"type":"a","args":{"x":2.0,"cni":{"k":0,"l":3.0}}}`,
      `{"type":"a","args":{"x":2.0,"cni":{"k":1.0,"l":3.0}}}`,
    ],
    [
      "args without cni",
      `{"type":"a","args":{"x":2}}`,
      `{"type":"a","args":{"x":2,"cni":{"k":1.0}}}`,
    ],
  ];
  for (const [name, plugin, expected] of cases) {
    await t.step(name, () => {
      const list = parseConf(
        `{"name":"n","plugins":[${plugin},{"type":"b"}]}`,
      );
      assert.equal(
        withCniArgs(list, `{"k":1.0}`, "networks[0]").text,
        `{"name":"n","plugins":[${expected},{"type":"b","args":{"cni":{"k":1.0}}}]}`,
      );
    });
  }
});

Deno.test("withCniArgs() edits a single plugin in place", () => {
  const list = parseConf(`{"name":"n","type":"a"}`);
  const edited = withCniArgs(list, `{"n":9007199254740993}`, "networks[0]");
  assert.equal(
    edited.text,
    `{"name":"n","type":"a","args":{"cni":{"n":9007199254740993}}}`,
  );
  assert.ok(edited.single);
});

Deno.test("withCniArgs() refuses what it cannot merge into", async (t) => {
  const cases: [args: string, target: string][] = [
    [`"x"`, 'args of plugin "a"'],
    [`[]`, 'args of plugin "a"'],
    [`{"cni":1}`, 'args.cni of plugin "a"'],
  ];
  for (const [args, target] of cases) {
    await t.step(args, () => {
      const list = parseConf(`{"name":"n","type":"a","args":${args}}`);
      assert.throws(() => withCniArgs(list, "{}", "networks[2]"), (error) => {
        assert.ok(error instanceof AnnotationError);
        assert.equal(
          error.message,
          `networks[2].cni-args: cannot be merged, as it is no object: ${target}`,
        );
        return true;
      });
    });
  }
});

Deno.test("withCniArgs() sets every member and loses none", () => {
  const members = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }));
  fc.assert(fc.property(members, members, (base, over) => {
    const args = JSON.stringify({ cni: base });
    const list = parseConf(`{"name":"n","type":"a","args":${args}}`);
    const text = withCniArgs(list, JSON.stringify(over), "networks[0]").text;
    const expected = { ...reread(base), ...reread(over) };
    assert.deepEqual(JSON.parse(text).args.cni, expected);
  }));
});

function reread(value: Record<string, unknown>): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value));
}
