import assert from "node:assert/strict";
import fc from "fast-check";
import {
  assertContainerId,
  assertInterfaceName,
  assertNetworkName,
  type CniArgs,
  type Env,
  formatCniArgs,
  parseCniArgs,
  readCmdArgs,
} from "./args.ts";
import { CniError } from "./error.ts";
import type { Command } from "./version.ts";

const FULL: Readonly<Record<string, string>> = {
  CNI_CONTAINERID: "abc-1",
  CNI_NETNS: "/var/run/netns/a",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin:/usr/lib/cni",
  CNI_ARGS: "IgnoreUnknown=true",
};

const NEEDED: Readonly<Record<Command, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
  VERSION: [],
};
const COMMANDS = Object.keys(NEEDED) as Command[];

function envOf(values: Readonly<Record<string, string | undefined>>): Env {
  return (name) => Object.hasOwn(values, name) ? values[name] : undefined;
}

function messageOf(
  values: Readonly<Record<string, string | undefined>>,
): string {
  try {
    readCmdArgs(envOf(values), "");
  } catch (error) {
    assert.ok(error instanceof CniError);
    assert.equal(error.code, 4);
    return error.message;
  }
  return "";
}

Deno.test("readCmdArgs() reads what each command knows", () => {
  for (const command of COMMANDS) {
    const env = envOf({ ...FULL, CNI_COMMAND: command });
    const args = readCmdArgs(env, "{}");
    const isOfPod = ["ADD", "CHECK", "DEL"].includes(command);
    const isVersion = command === "VERSION";
    assert.deepEqual(args, {
      command,
      containerId: isOfPod ? "abc-1" : "",
      netns: isOfPod ? "/var/run/netns/a" : "",
      ifname: isOfPod ? "eth0" : "",
      args: isVersion ? "" : "IgnoreUnknown=true",
      path: isVersion ? "" : "/opt/cni/bin:/usr/lib/cni",
      stdin: "{}",
    });
  }
});

Deno.test("readCmdArgs() names every variable that a command misses", () => {
  for (const command of COMMANDS) {
    const message = messageOf({ CNI_COMMAND: command });
    for (const name of Object.keys(FULL)) {
      const isNamed = message.includes(`${name} is missing`);
      assert.equal(
        isNamed,
        NEEDED[command].includes(name),
        `${command} ${name}`,
      );
    }
    for (const name of NEEDED[command]) {
      const values = { ...FULL, CNI_COMMAND: command, [name]: "" };
      const expected = `Invalid environment for ${command}: ${name} is missing`;
      assert.equal(messageOf(values), expected);
    }
  }
});

Deno.test("readCmdArgs() takes a DEL without netns", () => {
  const values = { ...FULL, CNI_COMMAND: "DEL", CNI_NETNS: undefined };
  assert.equal(readCmdArgs(envOf(values), "").netns, "");
});

Deno.test("readCmdArgs() shows what is wrong, and all of it", () => {
  const table: [change: Record<string, string>, expected: string][] = [
    [{ CNI_COMMAND: "" }, "Invalid environment: CNI_COMMAND is missing"],
    [
      { CNI_COMMAND: "add" },
      'Invalid environment: CNI_COMMAND is unknown: "add"',
    ],
    [
      { CNI_COMMAND: "__proto__" },
      'Invalid environment: CNI_COMMAND is unknown: "__proto__"',
    ],
    [
      { CNI_CONTAINERID: "../etc", CNI_IFNAME: "a/b" },
      'Invalid environment for ADD: CNI_CONTAINERID is invalid: "../etc", CNI_IFNAME is invalid: "a/b"',
    ],
    [
      { CNI_NETNS: "a\0b" },
      'Invalid environment for ADD: CNI_NETNS is invalid: "a\\u0000b"',
    ],
  ];
  for (const [change, expected] of table) {
    assert.equal(
      messageOf({ ...FULL, CNI_COMMAND: "ADD", ...change }),
      expected,
    );
  }
});

Deno.test("assertInterfaceName() takes what the kernel takes", () => {
  for (
    const name of ["eth0", "a", "x".repeat(15), "net-1.2", "...", "é", "@"]
  ) {
    assertInterfaceName(name);
  }
  const wrong = [
    "",
    ".",
    "..",
    "a/b",
    "a:b",
    "a b",
    "a\n",
    "a\u00a0",
    "a\u0085",
  ];
  for (const name of [...wrong, "a\0", "x".repeat(16), "é".repeat(8)]) {
    assert.throws(() => assertInterfaceName(name), { code: 4 }, name);
  }
});

Deno.test("assertContainerId() and assertNetworkName() take identifiers only", () => {
  for (const name of ["a", "0", "A.b_c-d", "a".repeat(300)]) {
    assertContainerId(name);
    assertNetworkName(name);
  }
  for (
    const name of ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "é", "a\0"]
  ) {
    assert.throws(() => assertContainerId(name), { code: 4 }, name);
    assert.throws(() => assertNetworkName(name), { code: 7 }, name);
  }
});

Deno.test("parseCniArgs() keeps the order and splits at the first equals sign", () => {
  assert.deepEqual(parseCniArgs(""), []);
  assert.deepEqual(parseCniArgs("B=1;A=;B=x=y"), [
    ["B", "1"],
    ["A", ""],
    ["B", "x=y"],
  ]);
});

Deno.test("parseCniArgs() refuses what is not KEY=VALUE, and shows the part", () => {
  for (const [text, shown] of [["A", "A"], ["A=1;", ""], ["A=1;=2", "=2"]]) {
    assert.throws(() => parseCniArgs(text ?? ""), {
      code: 4,
      message: `CNI_ARGS must be KEY=VALUE with semicolons between: "${shown}"`,
    });
  }
});

Deno.test("formatCniArgs() refuses a value that would be read as another pair", () => {
  const table: CniArgs = [["A", "1;K8S_POD_NAME=x"], ["", "1"], ["A=B", "1"], [
    "A;B",
    "1",
  ], ["A", "\0"]];
  for (const pair of table) {
    assert.throws(() => formatCniArgs([pair]), { code: 4 }, pair.join("="));
  }
});

Deno.test("formatCniArgs() and parseCniArgs() round-trip", () => {
  const key = fc.stringMatching(/^[^=;\0]+$/);
  const value = fc.stringMatching(/^[^;\0]*$/);
  fc.assert(fc.property(fc.array(fc.tuple(key, value)), (args) => {
    assert.deepEqual(parseCniArgs(formatCniArgs(args)), args);
  }));
});

Deno.test("no environment makes the readers throw anything but a CniError of code 4", () => {
  const text = fc.string({ unit: "binary" });
  const command = fc.oneof(fc.constantFrom(...COMMANDS), text);
  fc.assert(fc.property(command, text, text, (command, value, other) => {
    for (
      const run of [
        () => parseCniArgs(value),
        () => formatCniArgs([[value, other]]),
        () => readCmdArgs((n) => n === "CNI_COMMAND" ? command : value, other),
      ]
    ) {
      try {
        run();
      } catch (error) {
        assert.ok(error instanceof CniError && error.code === 4);
      }
    }
  }));
});
