/**
 * Attachment records and libcni's results truncated, zeroed, with a bit that
 * flipped, at every kind of position, or gone; and records as the Go daemon
 * writes them. The DEL that follows must undo every attachment nevertheless.
 */
import { join } from "node:path";
import { waitUntil } from "../api_server/wait.ts";
import type { Sandbox } from "../node.ts";
import type { Fault, Size } from "./fault.ts";
import {
  addQuietly,
  deletePods,
  deleteQuietly,
  endPods,
  type Ground,
  waitForRecovery,
} from "./ground.ts";
import { faultOf, type Trial } from "./trials.ts";

type Damage = (bytes: Uint8Array) => Uint8Array;

interface Case {
  readonly name: string;
  readonly damage: Damage;
}

/** Where something else begins in a record: bracket, state, result, checksum, our part, Go's part, the configuration, the end. */
const POSITIONS = [0, 0.01, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.99, 1];

/** A record of four attachments has about 12 kB: every 200 bytes, all kinds of places are hit. */
const FLIPS = 60;

/** A damaged record is kept for a person to look at. */
const QUARANTINE = /\/quarantine\//;

function casesOf(size: Size): Case[] {
  const all = [...truncated(), ...zeroed(), ...flipped(), {
    name: "filled with something else",
    damage: (bytes: Uint8Array) => crypto.getRandomValues(bytes.slice()),
  }];
  return size === "full" ? all : all.filter((_, index) => index % 9 === 4);
}

function truncated(): Case[] {
  return POSITIONS.slice(0, -1).map((at) => ({
    name: `truncated at ${at * 100} %`,
    damage: (bytes: Uint8Array) =>
      bytes.slice(0, Math.floor(bytes.length * at)),
  })).concat({
    name: "without its last byte",
    damage: (bytes: Uint8Array) => bytes.slice(0, -1),
  });
}

function zeroed(): Case[] {
  return POSITIONS.slice(1).map((to, index) => ({
    name: `zeroed up to ${to * 100} %`,
    damage: (bytes) => {
      const from = Math.floor(bytes.length * (POSITIONS[index] ?? 0));
      return bytes.slice().fill(0, from, Math.ceil(bytes.length * to));
    },
  }));
}

function flipped(): Case[] {
  return Array.from({ length: FLIPS }, (_, index) => ({
    name: `bit ${index % 8} flipped at ${index}/${FLIPS}`,
    damage: (bytes) => {
      const copy = bytes.slice();
      const at = Math.floor(bytes.length * index / FLIPS);
      copy[at] = (copy[at] ?? 0) ^ (1 << index % 8);
      return copy;
    },
  }));
}

function recordOf({ node }: Ground, { containerId }: Sandbox): string {
  return join(node.profile.cniStateDir, containerId);
}

async function resultsOf(
  ground: Ground,
  sandbox: Sandbox,
): Promise<string[]> {
  const { node } = ground;
  const { containerId } = sandbox;
  const dir = join(node.profile.cniStateDir, "results");
  const { length } = await readElements(ground, sandbox);
  let paths: string[] = [];
  // They are written behind the answer.
  await waitUntil(async () => {
    const entries = await Array.fromAsync(Deno.readDir(dir));
    paths = entries.filter(({ name }) => name.includes(containerId))
      .map(({ name }) => join(dir, name));
    return paths.length === length;
  }, { what: `${length} results of ${containerId}` });
  return paths;
}

async function damageFile(path: string, damage: Damage): Promise<void> {
  await Deno.writeFile(path, damage(await Deno.readFile(path)));
}

/** One pod: added, something done to its files, deleted; what is left. */
function deleteAfter(
  harm: (ground: Ground, sandbox: Sandbox) => Promise<readonly string[] | void>,
): Trial[1] {
  return async (ground) => {
    const sandbox = await ground.createPod();
    const wrong = await addQuietly(ground, sandbox);
    wrong.push(...await harm(ground, sandbox) ?? []);
    wrong.push(...await deletePods(ground, [sandbox], QUARANTINE));
    return wrong;
  };
}

/** What is damaged. */
interface Target {
  readonly name: string;
  readonly pathsOf: (ground: Ground, sandbox: Sandbox) => Promise<string[]>;
}

const RECORD: Target = {
  name: "record",
  pathsOf: (...pod) => Promise.resolve([recordOf(...pod)]),
};
const RESULTS: Target = { name: "results", pathsOf: resultsOf };
const BOTH: Target = {
  name: "record and results",
  pathsOf: async (...pod) => [recordOf(...pod), ...await resultsOf(...pod)],
};

function damaged(target: Target, { name, damage }: Case): Trial {
  return [
    `${target.name} ${name}`,
    deleteAfter(async (ground, sandbox) => {
      for (const path of await target.pathsOf(ground, sandbox)) {
        await damageFile(path, damage);
      }
    }),
  ];
}

/** Records damaged, with results that are sound, damaged too, or gone. */
export const DAMAGED: Fault = faultOf(
  "records and results truncated, zeroed, bit-flipped, gone",
  {
    trials: (size) => [
      ...casesOf(size).map((one) => damaged(RECORD, one)),
      ...casesOf("bounded").flatMap((one) => [
        damaged(RESULTS, one),
        damaged(BOTH, one),
      ]),
      [
        "record gone",
        deleteAfter((ground, sandbox) =>
          Deno.remove(recordOf(ground, sandbox))
        ),
      ],
      ["record emptied, results gone", deleteAfter(loseAll)],
      ["record emptied, results gone, API server away", deleteWithoutApi],
      ["event told", findEvent],
    ],
  },
);

async function loseAll(ground: Ground, sandbox: Sandbox): Promise<void> {
  await loseResults(ground, sandbox);
  await Deno.truncate(recordOf(ground, sandbox));
}

async function loseResults(ground: Ground, sandbox: Sandbox): Promise<void> {
  for (const path of await resultsOf(ground, sandbox)) await Deno.remove(path);
}

/** What cannot be known without the API server waits for it. */
async function deleteWithoutApi(ground: Ground): Promise<string[]> {
  const { node } = ground;
  await ground.killDaemon();
  await ground.startDaemon();
  const sandbox = await ground.createPod();
  const wrong = await addQuietly(ground, sandbox);
  await loseAll(ground, sandbox);
  node.api.delete("Pod", sandbox.name);
  await waitForRecovery("the pod gone from the cache", async () => {
    const { code } = await node.cni(
      "ADD",
      { ...sandbox, containerId: "other" },
      {
        env: { CNI_NETNS: "/nowhere" },
      },
    );
    return code !== 0;
  });
  node.api.put(podOf(node.nodeName, sandbox));
  await node.api.stop();
  wrong.push(...await deleteQuietly(ground, sandbox));
  await node.api.start();
  wrong.push(...await endPods(ground, [sandbox], QUARANTINE));
  return wrong;
}

function podOf(nodeName: string, { name, namespace, uid }: Sandbox): unknown {
  const annotations = { "k8s.v1.cni.cncf.io/networks": "one,two,three" };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, uid, annotations },
    spec: { nodeName, containers: [{ name: "main", image: "none" }] },
    status: { phase: "Running" },
  };
}

async function findEvent({ node }: Ground): Promise<string[]> {
  await waitForRecovery(
    "an event about a damaged record",
    () =>
      node.api.list("Event").some((event) =>
        JSON.stringify(event).includes("AttachmentRecordDamaged")
      ),
  );
  return [];
}

/** Records of the Go daemon are understood here, and ours there. */
export const GO_RECORDS: Fault = faultOf("records of the Go daemon", {
  trials: () => [
    ["written by Go, with results", deleteAfter(rewriteAsGo)],
    [
      "written by Go, without results",
      deleteAfter(async (ground, sandbox) => {
        await rewriteAsGo(ground, sandbox);
        await loseResults(ground, sandbox);
      }),
    ],
    ["written here, read as Go does", deleteAfter(readAsGo)],
  ],
});

interface GoElement {
  readonly Conf: { name?: string; type?: string };
  readonly ConfList: { name?: string; plugins?: { type: string }[] };
  readonly Name: string;
  readonly ifnameRequest?: string;
  readonly IsFilterV4Gateway: boolean;
  readonly Bytes: string;
}

async function readElements(
  ground: Ground,
  sandbox: Sandbox,
): Promise<GoElement[]> {
  return JSON.parse(await Deno.readTextFile(recordOf(ground, sandbox)));
}

/** The record as the Go daemon would have written it: its keys, and no line end. */
async function rewriteAsGo(ground: Ground, sandbox: Sandbox): Promise<void> {
  const elements = await readElements(ground, sandbox);
  const written = elements.map((
    { Conf, ConfList, Name, ifnameRequest, Bytes },
  ) => ({
    Conf: { ...Conf, ipam: {}, dns: {} },
    ConfList,
    Name,
    ifnameRequest,
    "default-route": null,
    IsFilterV4Gateway: false,
    IsFilterV6Gateway: false,
    Bytes,
  }));
  await Deno.writeTextFile(recordOf(ground, sandbox), JSON.stringify(written));
}

/** What Go's reader goes by: a list or a single plugin, the interface, and the bytes. */
async function readAsGo(ground: Ground, sandbox: Sandbox): Promise<string[]> {
  const elements = await readElements(ground, sandbox);
  const read = elements.map((element) => {
    const config = JSON.parse(
      new TextDecoder().decode(Uint8Array.fromBase64(element.Bytes)),
    );
    const isList = (element.ConfList.plugins ?? []).length > 0;
    const fits = isList
      ? element.ConfList.plugins?.[0]?.type === config.plugins[0].type &&
        element.ConfList.name === config.name
      : element.Conf.type === config.type && element.Conf.name === config.name;
    return [element.Name, element.ifnameRequest ?? "", isList, fits].join(" ");
  });
  const expected = [
    "cluster-net  true true",
    "default/one net1 false true",
    "default/two net2 false true",
    "default/three net3 false true",
  ];
  return read.join() === expected.join() ? [] : [`read as ${read.join(", ")}`];
}
