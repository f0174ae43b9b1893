import assert from "node:assert/strict";
import {
  type DaemonFlags,
  NO_FLAGS,
  parseDaemonFlags,
  UsageError,
} from "./daemon_flags.ts";

function flagsOf(...args: string[]): DaemonFlags {
  const outcome = parseDaemonFlags(args, { version: "1.2.3" });
  assert.equal(outcome.kind, "run");
  return outcome.kind === "run" ? outcome.flags : NO_FLAGS;
}

const FLAGS: [flag: string, key: string, value: string | number | boolean][] = [
  ["metricsPort", "metricsPort", 9091],
  ["socket-dir", "socketDir", "/run/x"],
  ["cni-conf-dir", "cniConfigDir", "/etc/x"],
  ["cni-version", "cniVersion", "1.0.0"],
  ["multus-conf-file", "multusConfigFile", "auto"],
  ["multus-autoconfig-dir", "multusAutoconfigDir", "/etc/y"],
  ["multus-master-cni-file-name", "multusMasterCNI", "10-x.conf"],
  ["multus-log-level", "logLevel", "debug"],
  ["multus-log-file", "logFile", "/var/log/x"],
  ["multus-log-to-stderr", "logToStderr", false],
  ["namespace-isolation", "namespaceIsolation", true],
  ["global-namespaces", "globalNamespaces", "a,b"],
  ["readiness-indicator-file", "readinessindicatorfile", "/run/y"],
  ["override-network-name", "overrideNetworkName", true],
  ["force-cni-version", "forceCNIVersion", true],
];

for (const [flag, key, value] of FLAGS) {
  Deno.test(`parseDaemonFlags() takes -${flag} for ${key}, with one dash or two`, () => {
    const forms = [[`-${flag}=${value}`], [`--${flag}=${value}`]];
    if (typeof value !== "boolean") {
      forms.push([`-${flag}`, `${value}`], [`--${flag}`, `${value}`]);
    } else if (value) forms.push([`-${flag}`], [`--${flag}`]);
    for (const args of forms) {
      assert.deepEqual(flagsOf(...args).overrides, { [key]: value }, `${args}`);
    }
  });
}

Deno.test("parseDaemonFlags() takes the configuration's path in every form", () => {
  const forms = [["-config=x"], ["--config=x"], ["-config", "x"], [
    "--config",
    "x",
  ]];
  for (const args of forms) {
    assert.deepEqual(flagsOf(...args), {
      configPath: "x",
      isConfigGiven: true,
      overrides: {},
    });
  }
  assert.equal(flagsOf("--config", "-odd=name").configPath, "-odd=name");
  assert.equal(flagsOf("--config=a=b").configPath, "a=b");
});

Deno.test("parseDaemonFlags() gives no flags when there are none", () => {
  assert.deepEqual(flagsOf(), NO_FLAGS);
});

Deno.test("parseDaemonFlags() reads Go's words for true and false", () => {
  for (const word of ["1", "t", "T", "true", "TRUE", "True"]) {
    assert.deepEqual(flagsOf(`-force-cni-version=${word}`).overrides, {
      forceCNIVersion: true,
    });
  }
  for (const word of ["0", "f", "F", "false", "FALSE", "False"]) {
    assert.deepEqual(flagsOf(`-force-cni-version=${word}`).overrides, {
      forceCNIVersion: false,
    });
  }
});

Deno.test("parseDaemonFlags() takes the last of a flag that stands twice", () => {
  const { overrides } = flagsOf("-cni-version=0.3.1", "--cni-version", "1.0.0");
  assert.deepEqual(overrides, { cniVersion: "1.0.0" });
});

Deno.test("parseDaemonFlags() prints the version", () => {
  for (const arg of ["-version", "--version"]) {
    assert.deepEqual(parseDaemonFlags([arg], { version: "1.2.3" }), {
      kind: "print",
      text: "multus-daemon 1.2.3",
    });
  }
});

Deno.test("parseDaemonFlags() prints a help that names every flag and its key", () => {
  for (const arg of ["-h", "-help", "--help"]) {
    const outcome = parseDaemonFlags([arg], { version: "1.2.3" });
    assert.equal(outcome.kind, "print");
    const text = outcome.kind === "print" ? outcome.text : "";
    for (const [flag, key] of FLAGS) {
      assert.ok(text.includes(`--${flag} `) && text.includes(`(${key})`), flag);
    }
    assert.match(text, /--config <file> .*daemon-config\.json/);
    assert.match(text, /Examples:/);
    assert.ok(text.split("\n").every((line) => line.length <= 100));
  }
});

Deno.test("parseDaemonFlags() refuses what it does not understand, in one line", () => {
  const table: [string[], string][] = [
    [["-foo"], "Unknown option '--foo'"],
    [["-metricsport=1"], "Did you mean --metricsPort"],
    [["-metricsPort=x"], "Expected a whole number from 0 to 65535"],
    [["-metricsPort=65536"], "Expected a whole number from 0 to 65535"],
    [["-metricsPort=-1"], "Expected a whole number from 0 to 65535"],
    [["-namespace-isolation=maybe"], "Expected true or false"],
    [["--config"], "argument missing"],
    [["-namespace-isolation", "false"], 'stands behind "="): false'],
    [["config.json"], "Unexpected argument"],
  ];
  for (const [args, text] of table) {
    assert.throws(
      () => parseDaemonFlags(args, { version: "1.2.3" }),
      (error) =>
        error instanceof UsageError && error.message.includes(text) &&
        !error.message.includes("\n") && !error.message.endsWith("."),
      `${args}`,
    );
  }
});

Deno.test("parseDaemonFlags() needs no permission", async () => {
  const script = `
    const { parseDaemonFlags } = await import(${
    JSON.stringify(new URL("./daemon_flags.ts", import.meta.url).href)
  });
    for (const args of [["--help"], ["-config=x"], ["--version"]]) {
      parseDaemonFlags(args, { version: "1" });
    }`;
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, script);
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", `--config=${config}`, path],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(path);
  }
});
