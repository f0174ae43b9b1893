/** How the cost of an ADD grows: with attachments in a line, with pods and records not at all. */
import { join } from "node:path";
import type { Curve } from "./figure.ts";
import { type BenchNode, containerFor } from "./node.ts";
import { addAndDelete, POD_NAME, startWarm } from "./operation_figures.ts";
import { summarize } from "./statistics.ts";
import type { Group, Measured, Surroundings } from "./surroundings.ts";

const ATTACHMENTS = [1, 2, 4, 8, 16, 32];
const PODS = [1, 100, 1_000, 10_000];
const RECORDS = [0, 500, 5_000];
const TIMES = 40;
const WARM_UP = 20;
/** Names of records that only lie there begin so. */
const IDLE_RECORD = "idle";

type Point = Curve["points"][number];

async function pointAt(
  node: BenchNode,
  at: number,
  pod: string,
): Promise<Point> {
  await addAndDelete(node, WARM_UP, pod);
  const { add } = await addAndDelete(node, TIMES, pod);
  return { at, value: summarize(add) };
}

async function overAttachments({ node }: Surroundings): Promise<Curve> {
  const points: Point[] = [];
  for (const at of ATTACHMENTS) {
    const prefix = `with${at}`;
    const networks = Array.from({ length: at - 1 }, () => "net-0").join(",");
    await node.api.tell({ pods: { count: 1, prefix, networks } });
    points.push(await pointAt(node, at, `${prefix}-0`));
  }
  return { name: "ADD, daemon only", of: "attachments", unit: "ms", points };
}

async function overPods({ node }: Surroundings): Promise<Curve> {
  const points: Point[] = [];
  let count = 1;
  for (const at of PODS) {
    await node.api.tell({
      pods: { count: at - count, prefix: `cached${at}` },
    });
    count = at;
    await node.restartDaemon();
    points.push(await pointAt(node, at, POD_NAME));
  }
  for (const at of PODS) await node.api.tell({ removePods: `cached${at}` });
  return { name: "ADD, daemon only", of: "pods in cache", unit: "ms", points };
}

/** Copies of a record that was written by an ADD, under names of their own. */
async function leaveRecords(node: BenchNode, count: number): Promise<void> {
  const container = containerFor(POD_NAME);
  await node.call("ADD", container);
  const dir = node.profile.cniStateDir;
  for (let at = 0; at < count; at++) {
    const copy = join(dir, `${IDLE_RECORD}${at}`);
    await Deno.copyFile(join(dir, container.id), copy);
  }
  await node.call("DEL", container);
}

async function removeRecords({ profile }: BenchNode): Promise<void> {
  for await (const { name } of Deno.readDir(profile.cniStateDir)) {
    if (!name.startsWith(IDLE_RECORD)) continue;
    await Deno.remove(join(profile.cniStateDir, name));
  }
}

async function overRecords({ node }: Surroundings): Promise<Curve> {
  const points: Point[] = [];
  for (const at of RECORDS) {
    await node.restartDaemon();
    await leaveRecords(node, at);
    await node.restartDaemon();
    points.push(await pointAt(node, at, POD_NAME));
    await removeRecords(node);
  }
  return {
    name: "ADD, daemon only",
    of: "records on disk",
    unit: "ms",
    points,
  };
}

async function measure(surroundings: Surroundings): Promise<Measured> {
  await startWarm(surroundings);
  const curves = [
    await overAttachments(surroundings),
    await overPods(surroundings),
    await overRecords(surroundings),
  ];
  return { figures: [], curves };
}

/** Cost over size: printed, not judged. */
export const growthCurves: Group = { name: "growth", measure };
