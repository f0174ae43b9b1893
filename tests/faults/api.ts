/**
 * The API server away, slow, failing, resetting, answering 401 until the token
 * is read again, 410 on watches, 429. An ADD either attaches all networks, or
 * fails with code 11 before its deadline; never fewer networks than asked for.
 * Statuses arrive by themselves when the server is well again, and while it is
 * not, it is asked seldom.
 */
import { join } from "node:path";
import type { Fault as ApiFault } from "../api_server/faults.ts";
import type { Sandbox } from "../node.ts";
import { readKernel, readStatus } from "../pods.ts";
import type { Fault, Size } from "./fault.ts";
import {
  deletePods,
  type Ground,
  prepareGround,
  waitForRecovery,
} from "./ground.ts";
import { faultOf } from "./trials.ts";

const REQUEST_SECONDS = 4;
const TRY_AGAIN_LATER = 11;

/** The request's own time, ending and undoing what was begun, and the shim, on a busy machine. */
const ANSWER_MS_MAX = (REQUEST_SECONDS + 8) * 1_000;

/** Twenty a second would be a storm; a dozen pods that wait, two caches, statuses and events are far below. */
const REQUESTS_A_SECOND_MAX = 10;

interface Case {
  readonly name: string;
  readonly faults?: readonly ApiFault[];
  /** The server is not there at all. */
  readonly isAway?: boolean;
  /** It wants another token, which is written only later. */
  readonly isRotated?: boolean;
  /** It is not to be asked often meanwhile. */
  readonly isDown?: boolean;
  /** ADDs are to succeed nevertheless. */
  readonly isHarmless?: boolean;
}

const CASES: readonly Case[] = [
  { name: "away", isAway: true },
  { name: "resets", faults: [{ drop: true }], isDown: true },
  { name: "breaks off", faults: [{ cut: true }], isDown: true },
  { name: "hangs", faults: [{ hang: true }], isDown: true },
  { name: "500 always", faults: [{ status: 500 }], isDown: true },
  {
    name: "429",
    faults: [{ status: 429, retryAfterS: 1 }],
    isDown: true,
  },
  { name: "401 until the token is read again", isRotated: true },
  { name: "slow", faults: [{ delayMs: 1_000 }], isHarmless: true },
  {
    name: "500 for one in twenty",
    faults: [{ status: 500, rate: 0.05 }],
    isHarmless: true,
  },
  {
    name: "410 on watches",
    faults: [{ match: { verb: "watch" }, expireWatch: true }],
    isHarmless: true,
  },
  {
    name: "statuses refused",
    faults: [{ match: { verb: "patch" }, status: 500 }],
    isHarmless: true,
  },
];

/** Everything that goes wrong with an API server. */
export const API_FAULTS: Fault = faultOf(
  "API server away, slow, failing, resetting, 401, 410, 429",
  {
    prepare: () =>
      prepareGround({ daemonConf: { requestTimeoutSeconds: REQUEST_SECONDS } }),
    trials: (size) =>
      CASES.map((one) => [one.name, (ground) => runCase(ground, one, size)]),
  },
);

/** Some pods that the daemon knows, and some that are made while the server is not well. */
async function runCase(
  ground: Ground,
  one: Case,
  size: Size,
): Promise<string[]> {
  const { node } = ground;
  const count = size === "full" ? 6 : 2;
  const known = await makePods(ground, count);
  await waitUntilKnown(ground, known);
  await begin(ground, one);
  const startAt = Date.now();
  const requestsBefore = node.api.log.count();
  const fresh = await makePods(ground, count);
  const sandboxes = [...known, ...fresh];
  const added = await Promise.all(
    sandboxes.map((sandbox) => addUnderFault(ground, sandbox, one)),
  );
  const seconds = Math.max(1, (Date.now() - startAt) / 1_000);
  const perSecond = (node.api.log.count() - requestsBefore) / seconds;
  await end(ground, one);
  const wrong = added.flatMap((outcome) => outcome.wrong);
  if (one.isDown && perSecond > REQUESTS_A_SECOND_MAX) {
    wrong.push(`${Math.round(perSecond)} requests a second`);
  }
  for (const [index, { isAdded }] of added.entries()) {
    const sandbox = sandboxes[index];
    if (!isAdded || sandbox === undefined) continue;
    await waitForRecovery(
      `the status of ${sandbox.name}`,
      () => readStatus(node, sandbox)?.length === 4,
    ).catch((error) => wrong.push(String(error)));
  }
  wrong.push(...await deletePods(ground, sandboxes));
  return wrong;
}

async function makePods(ground: Ground, count: number): Promise<Sandbox[]> {
  return await Array.fromAsync({ length: count }, () => ground.createPod());
}

/** A pod with an ADD behind it is in the cache; DEL makes it as it was. */
async function waitUntilKnown(
  ground: Ground,
  sandboxes: readonly Sandbox[],
): Promise<void> {
  for (const sandbox of sandboxes) {
    await ground.node.cni("ADD", sandbox);
    await ground.node.cni("DEL", sandbox);
  }
}

async function begin({ node }: Ground, one: Case): Promise<void> {
  for (const fault of one.faults ?? []) node.api.faults.add(fault);
  if (one.faults !== undefined) node.api.cutWatches();
  if (one.isRotated) node.api.rotateToken();
  if (one.isAway) await node.api.stop();
}

async function end({ node }: Ground, one: Case): Promise<void> {
  node.api.faults.clear();
  if (one.isRotated) {
    await Deno.writeTextFile(join(node.dir, "token"), node.api.token);
  }
  if (one.isAway) await node.api.start();
}

interface Added {
  readonly isAdded: boolean;
  readonly wrong: string[];
}

async function addUnderFault(
  { node }: Ground,
  sandbox: Sandbox,
  { isHarmless = false }: Case,
): Promise<Added> {
  const { code, stdout, json, durationMs } = await node.cni("ADD", sandbox);
  const wrong: string[] = [];
  if (durationMs > ANSWER_MS_MAX) wrong.push(`ADD took ${durationMs} ms`);
  const names = Object.keys(await readKernel(sandbox)).sort().join();
  const wanted = code === 0 ? "eth0,net1,net2,net3" : "";
  if (names !== wanted) wrong.push(`ADD ${code} with interfaces "${names}"`);
  if (code !== 0 && (isHarmless || json?.code !== TRY_AGAIN_LATER)) {
    wrong.push(`ADD failed: ${stdout}`);
  }
  return { isAdded: code === 0, wrong };
}
