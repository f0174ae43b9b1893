import assert from "node:assert/strict";
import fc from "fast-check";
import { CniError } from "./error.ts";
import {
  assertCommandVersion,
  assertVersion,
  type Command,
  compareVersions,
  DEFAULT_VERSION,
  formatVersionDocument,
  isSupportedVersion,
  LATEST_VERSION,
  SUPPORTED_VERSIONS,
  supportsCommand,
} from "./version.ts";

const UNKNOWN = [
  "",
  "1",
  "1.0",
  "1.2.0",
  "0.0.0",
  "v1.0.0",
  "1.0.0 ",
  "01.0.0",
];

Deno.test("SUPPORTED_VERSIONS runs from the default to the latest, ascending", () => {
  assert.equal(SUPPORTED_VERSIONS.at(0), DEFAULT_VERSION);
  assert.equal(SUPPORTED_VERSIONS.at(-1), LATEST_VERSION);
  assert.deepEqual(
    SUPPORTED_VERSIONS.toSorted(compareVersions),
    SUPPORTED_VERSIONS,
  );
});

Deno.test("compareVersions() compares numbers, not texts", () => {
  const table: [a: string, b: string, sign: number][] = [
    ["0.3.1", "0.4.0", -1],
    ["0.10.0", "0.9.0", 1],
    ["1.0.0", "0.99.99", 1],
    ["1.1.0", "1.1.0", 0],
    ["1.0.10", "1.0.9", 1],
  ];
  for (const [a, b, sign] of table) {
    assert.equal(Math.sign(compareVersions(a, b)), sign, `${a} ${b}`);
  }
});

Deno.test("compareVersions() is an order, and reads the numbers back", () => {
  const part = fc.nat(999_999_999);
  const version = fc.tuple(part, part, part);
  fc.assert(fc.property(version, version, (a, b) => {
    const expected = a.map((number, i) => number - (b[i] ?? 0)).find((d) => d);
    const found = compareVersions(a.join("."), b.join("."));
    assert.equal(Math.sign(found), Math.sign(expected ?? 0));
    assert.equal(compareVersions(b.join("."), a.join(".")), found ? -found : 0);
  }));
});

Deno.test("compareVersions() throws nothing but a SyntaxError", () => {
  for (
    const text of ["", "1", "1.0", "1.0.0.0", "1.0.x", "-1.0.0", "1.0.0\n"]
  ) {
    assert.throws(() => compareVersions(text, "1.0.0"), SyntaxError, text);
    assert.throws(() => compareVersions("1.0.0", text), SyntaxError, text);
  }
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    try {
      compareVersions(text, LATEST_VERSION);
    } catch (error) {
      assert.ok(error instanceof SyntaxError);
    }
  }));
});

Deno.test("assertVersion() takes the supported versions and names another one", () => {
  for (const version of SUPPORTED_VERSIONS) {
    assert.ok(isSupportedVersion(version));
    assertVersion(version);
  }
  for (const version of UNKNOWN) {
    assert.ok(!isSupportedVersion(version));
    assert.throws(() => assertVersion(version), (error) => {
      assert.ok(error instanceof CniError);
      assert.equal(error.code, 1);
      return error.message.endsWith(`: ${JSON.stringify(version)}`);
    });
  }
});

Deno.test("supportsCommand() knows since when there is each command", () => {
  const since: Record<Command, string> = {
    ADD: "0.1.0",
    DEL: "0.1.0",
    VERSION: "0.1.0",
    CHECK: "0.4.0",
    GC: "1.1.0",
    STATUS: "1.1.0",
  };
  for (const command of Object.keys(since) as Command[]) {
    for (const version of SUPPORTED_VERSIONS) {
      const expected = SUPPORTED_VERSIONS.indexOf(version) >=
        SUPPORTED_VERSIONS.indexOf(since[command]);
      const label = `${command} ${version}`;
      assert.equal(supportsCommand(command, version), expected, label);
      if (expected) assertCommandVersion(command, version);
      else {
        assert.throws(() => assertCommandVersion(command, version), {
          code: 1,
          message: `${command} needs a configuration of CNI version ${
            since[command]
          } or newer: "${version}"`,
        });
      }
    }
  }
});

Deno.test("assertCommandVersion() refuses a version that is not spoken", () => {
  for (const version of UNKNOWN) {
    assert.throws(() => assertCommandVersion("ADD", version), { code: 1 });
  }
});

Deno.test("formatVersionDocument() answers in the version asked with", () => {
  for (const cniVersion of SUPPORTED_VERSIONS) {
    assert.deepEqual(JSON.parse(formatVersionDocument(cniVersion)), {
      cniVersion,
      supportedVersions: [
        ...["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
      ],
    });
  }
});
