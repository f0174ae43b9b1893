/**
 * What the author of a network wrote is what its plugin reads: numbers that
 * JavaScript cannot hold, unknown keys, their order and the white space
 * between them, through shim, wire, daemon, record and cache, for each command.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { TestNode } from "./node.ts";
import { installNoopPlugin, type NoopCall, readCalls } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertDone,
  createPod,
  putDefinition,
  sandboxOf,
} from "./pods.ts";

/** Members that nobody but the plugin knows; each would change if it were parsed and written again. */
const MEMBERS = String
  .raw`"big": 9007199254740993, "float":1.0,	"exponent" : 1E+2,"small":-0.0, "huge":1e400,
  "z":[9007199254740993 , 1.0,{"deep":{"big":18446744073709551615,"list":[ ]}}],
  "escaped":"\u00e9\/A","raw":"é","10":1,"2":2,"__proto__":{"big":9007199254740995},"empty":{ }, "none":null`;

/** What may stand behind the author's own text, and nothing else may. */
const ADDED = ["name", "cniVersion", "prevResult", "runtimeConfig"];

const COMMANDS = ["ADD", "CHECK", "DEL"] as const;

/** The author's plugin object, without its end. */
function startOf(type: string, version = `"cniVersion": "1.0.0",`): string {
  return `{ ${version} "type":"${type}", ${MEMBERS}`;
}

/** Asserts that a plugin read the author's text to the byte, and behind it only what CNI puts there. */
function assertUntouched({ stdin, command }: NoopCall, start: string): void {
  equal(stdin.slice(0, start.length), start, command);
  const rest = stdin.slice(start.length).trim();
  ok(rest.startsWith(",") || rest === "}", `${command}: ${rest}`);
  const added = rest === "}" ? {} : JSON.parse(`{${rest.slice(1)}`);
  for (const key of Object.keys(added)) ok(ADDED.includes(key), key);
}

async function callsOf(node: TestNode, type: string): Promise<NoopCall[]> {
  return (await readCalls(node.binDir)).filter((call) => call.type === type);
}

nodeTest(
  "ADD, CHECK and DEL hand on what the author wrote, to the byte",
  async (t) => {
    const plugins = ["default", "single", "listed", "filed"];
    await using node = await TestNode.create({ plugins });
    await Deno.mkdir(`${node.binDir}/calls`);
    for (const type of plugins) await installNoopPlugin(node.binDir, type, {});
    putDefinition(node, "single", `${startOf("single")}\n}`);
    putDefinition(
      node,
      "listed",
      `{"cniVersion":"1.0.0","unknown":9007199254740993,"name":"listed","plugins":[ ${
        startOf("listed", "")
      } } ]}`,
    );
    putDefinition(node, "filed", "");
    await Deno.writeTextFile(
      `${node.profile.multusConfDir}/filed.conf`,
      `${startOf("filed")},"name":"filed"}\n`,
    );
    await node.startDaemon();
    const sandbox = await createPod(node, "exact", {
      networks: "single,listed,filed",
    });
    // In place in the configuration that the runtime hands to the shim.
    const conf = JSON.stringify({ ...node.runtimeConf, clusterNetwork: "" })
      .replace(
        /\}$/,
        `,"delegates":[ ${startOf("default")},"name":"in-place"} ]}`,
      );
    for (const command of COMMANDS) {
      assertDone(node, await node.cni(command, sandbox, { conf }));
    }
    for (const type of plugins) {
      await step(t, type, async () => {
        const calls = await callsOf(node, type);
        deepEqual(calls.map(({ command }) => command), COMMANDS);
        const version = type === "listed" ? "" : undefined;
        for (const call of calls) assertUntouched(call, startOf(type, version));
      });
    }
  },
);

nodeTest("ADD hands on the exact numbers of an annotation", async () => {
  await using node = await TestNode.create({ plugins: ["default", "asked"] });
  await Deno.mkdir(`${node.binDir}/calls`);
  for (const type of ["default", "asked"]) {
    await installNoopPlugin(node.binDir, type, {});
  }
  putDefinition(node, "asked", {
    cniVersion: "1.0.0",
    type: "asked",
    capabilities: { bandwidth: true, portMappings: true },
    args: { cni: { kept: 1, replaced: 1 } },
  });
  node.runtimeConf = {
    ...node.runtimeConf,
    clusterNetwork: undefined,
    delegates: [{ cniVersion: "1.0.0", name: "default", type: "default" }],
  };
  await node.startDaemon();
  await createPod(node, "exact", {
    networks: `[{"name":"asked",
      "cni-args": {"replaced": 9007199254740993, "new":1.0},
      "bandwidth":{"ingressRate":2048,"ingressBurst":1600, "unknown" : 9007199254740993},
      "portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","unknown":1.0}]}]`,
  });
  const sandbox = await sandboxOf(node, "exact");
  await addPod(node, sandbox);
  assertDone(node, await node.cni("CHECK", sandbox));
  assertDone(node, await node.cni("DEL", sandbox));
  const calls = await callsOf(node, "asked");
  equal(calls.length, COMMANDS.length);
  for (const { stdin } of calls) {
    const fragments = [
      `"cni":{"kept":1,"replaced":9007199254740993,"new":1.0}`,
      `"unknown" : 9007199254740993`,
      `"unknown":1.0`,
    ];
    for (const fragment of fragments) {
      ok(stdin.includes(fragment), `${fragment} in ${stdin}`);
    }
  }
});
