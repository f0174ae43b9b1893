/** What the shim costs by itself, against a daemon that answers at once. */
import { join } from "node:path";
import { encodeResult } from "../../lib/wire/answer.ts";
import { socketPathIn } from "../../lib/wire/places.ts";
import {
  type Figure,
  overFloorInRounds,
  type Round,
  within,
} from "./figure.ts";
import { containerFor } from "./node.ts";
import type { Timing } from "./stopwatch.ts";
import {
  floorScript,
  type Group,
  type Measured,
  startServer,
  type Surroundings,
} from "./surroundings.ts";

/** Enough that a disturbance of a second does not move the median. */
const ROUNDS = 80;
const WARM_UP_ROUNDS = 5;

const VERSION_FACTOR = 1.25;
const ADD_FACTOR = 1.5;
const SIZE_KB_MAX = 30;

/** As the daemon answers our own shim: in the version of its configuration. */
const RESULT = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/x" }],
  ips: [{ address: "10.1.2.3/24", interface: 0 }],
  dns: {},
};

interface Rounds {
  readonly floor: readonly Timing[];
  readonly version: readonly Timing[];
  readonly add: readonly Timing[];
}

async function measureRounds(
  { node, stopwatch }: Surroundings,
  rounds: number,
): Promise<Rounds> {
  const container = containerFor("pod-0");
  const jobs = Array.from({ length: rounds }, () => [
    node.floorJob(floorScript("exit")),
    node.shimJob("VERSION", container),
    node.shimJob("ADD", container),
  ]).flat();
  const { timings } = await stopwatch(jobs);
  const every = (offset: number): Timing[] =>
    timings.filter((_, index) => index % 3 === offset);
  return { floor: every(0), version: every(1), add: every(2) };
}

function inRounds(
  { floor, ...rest }: Rounds,
  what: "version" | "add",
  key: keyof Timing,
): Round[] {
  return rest[what].map((timing, at) => ({
    value: timing[key],
    floor: floor[at]?.[key] ?? 0,
  }));
}

function toFigures(rounds: Rounds): Figure[] {
  const kinds = [["wall", "wallMs"], ["CPU", "cpuMs"]] as const;
  const what = "deno run of Deno.exit(0), the same flags";
  return kinds.flatMap(([kind, key]) => [
    overFloorInRounds(`shim VERSION, ${kind}`, "ms", {
      rounds: inRounds(rounds, "version", key),
      rule: { what, factor: VERSION_FACTOR },
    }),
    overFloorInRounds(`shim ADD, ${kind}`, "ms", {
      rounds: inRounds(rounds, "add", key),
      rule: { what, factor: ADD_FACTOR },
    }),
  ]);
}

async function measure(surroundings: Surroundings): Promise<Measured> {
  const { node, shimBundle } = surroundings;
  const { size } = await Deno.stat(shimBundle);
  const answerFile = join(node.dir, "answer.json");
  await Deno.writeTextFile(answerFile, encodeResult(RESULT));
  await Deno.mkdir(node.profile.socketDir, { recursive: true });
  await using _server = await startServer(
    socketPathIn(node.profile.socketDir),
    answerFile,
  );
  await measureRounds(surroundings, WARM_UP_ROUNDS);
  const figures = toFigures(await measureRounds(surroundings, ROUNDS));
  const kilobytes = within("shim, minified JavaScript", "kB", {
    value: size / 1000,
    limit: SIZE_KB_MAX,
  });
  return { figures: [...figures, kilobytes] };
}

/** Start-up, VERSION, ADD, size. */
export const shimFigures: Group = { name: "shim", measure };
