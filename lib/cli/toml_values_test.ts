import assert from "node:assert/strict";
import fc from "fast-check";
import { readTomlValues, tomlPath, type TomlValue } from "./toml_values.ts";

const CNI = ["plugins", "io.containerd.grpc.v1.cri", "cni"];

const CASES: readonly {
  name: string;
  text: string;
  path: readonly string[];
  value: TomlValue | undefined;
}[] = [
  { name: "a key", text: 'a = "x"', path: ["a"], value: "x" },
  {
    name: "a literal string",
    text: "a = 'C:\\x'",
    path: ["a"],
    value: "C:\\x",
  },
  {
    name: "a quoted table key with dots",
    text:
      '[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/opt/cni/bin"\n',
    path: [...CNI, "bin_dir"],
    value: "/opt/cni/bin",
  },
  {
    name: "a table key in single quotes",
    text: "[plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir='/b'",
    path: [...CNI, "bin_dir"],
    value: "/b",
  },
  {
    name: "a dotted key",
    text: 'plugins."io.containerd.grpc.v1.cri".cni.bin_dir = "/b"',
    path: [...CNI, "bin_dir"],
    value: "/b",
  },
  {
    name: "a comment behind a value",
    text: 'a = "x#y" # z',
    path: ["a"],
    value: "x#y",
  },
  { name: "a comment alone", text: '# a = "x"', path: ["a"], value: undefined },
  {
    name: "a list",
    text: "a = [\"x\", 'y']",
    path: ["a"],
    value: ["x", "y"],
  },
  {
    name: "a list over lines, with comments",
    text: 'a = [ # first\n  "x",\n  # "not this",\n  "y]",\n]\nb = "z"',
    path: ["a"],
    value: ["x", "y]"],
  },
  {
    name: "what comes after a list over lines",
    text: 'a = [\n"x"\n]\nb = "z"',
    path: ["b"],
    value: "z",
  },
  { name: "an empty list", text: "a = []", path: ["a"], value: [] },
  {
    name: "a number",
    text: "version = 2",
    path: ["version"],
    value: undefined,
  },
  {
    name: "the last of two",
    text: 'a = "x"\na = "y"',
    path: ["a"],
    value: "y",
  },
  {
    name: "an escaped quote",
    text: 'a = "x\\"y" # z',
    path: ["a"],
    value: 'x"y',
  },
  {
    name: "carriage returns",
    text: '[t]\r\na = "x"\r\n',
    path: ["t", "a"],
    value: "x",
  },
  {
    name: "an array of tables",
    text: '[[t]]\na = "x"',
    path: ["t", "a"],
    value: "x",
  },
];

Deno.test("readTomlValues() reads strings and lists of strings by their path", async (t) => {
  for (const { name, text, path, value } of CASES) {
    await t.step(name, () => {
      assert.deepEqual(readTomlValues(text).get(tomlPath(...path)), value);
    });
  }
});

Deno.test("readTomlValues() throws nothing, whatever the text", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    assert.ok(readTomlValues(text).size >= 0);
  }));
});

Deno.test("readTomlValues() reads back any plain strings under any keys", () => {
  const key = fc.stringMatching(/^[a-z0-9_.-]{1,12}$/);
  const value = fc.stringMatching(/^[^"\\\r\n\0]*$/);
  fc.assert(fc.property(key, key, value, (table, name, text) => {
    const toml = `["${table}"]\n"${name}" = "${text}" # said\n`;
    assert.equal(readTomlValues(toml).get(tomlPath(table, name)), text);
  }));
});
