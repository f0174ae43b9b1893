/**
 * Requests that nobody should send: random bytes, random HTTP, HTTP with random
 * JSON, JSON of the right form with wild values. Each is answered with a status
 * of 4xx, CNI errors among them, or what it asks for is harmless; the daemon
 * neither ends nor grows. The same seed makes the same requests.
 */
import { parseAnswer } from "../../lib/wire/http_answer.ts";
import { socketPathIn } from "../../lib/wire/places.ts";
import { runProgram } from "../node.ts";
import { createTally, type Fault, type Outcome } from "./fault.ts";
import { type Ground, prepareGround } from "./ground.ts";
import { createRandom, type Random } from "./random.ts";

const REQUESTS_FULL = 100_000;
const REQUESTS_BOUNDED = 3_000;
const SEED = 20_260_922;

/** Requests under way at once: enough to keep the daemon busy. */
const CONCURRENCY = 8;

/** After the first tenth, caches and code are warm; a leak of one kilobyte a request would be 90 MB. */
const GROWTH_KB_MAX = 40_000;

/** An answer that takes longer is a hanging daemon. */
const ANSWER_MS_MAX = 30_000;

const HEAD_END = "\r\n\r\n";
const encoder = new TextEncoder();

/** Random requests. */
export const FUZZED: Fault = {
  name: "requests of random bytes, HTTP, JSON, and wild values",
  async run(size, say): Promise<Outcome> {
    await using ground = await prepareGround({
      daemonConf: { requestTimeoutSeconds: 5, logLevel: "error" },
    });
    await ground.startDaemon();
    const count = size === "full" ? REQUESTS_FULL : REQUESTS_BOUNDED;
    const pid = ground.node.daemonPid;
    const early = await fire(ground, { count: count / 10, seed: SEED, say });
    const before = await residentKb(pid);
    const late = await fire(ground, {
      count: count - count / 10,
      seed: SEED + 1,
      say,
    });
    const after = await residentKb(pid);
    const tally = createTally(say);
    await tally.trial("memory", () => {
      const grownKb = after - before;
      const isFlat = after > 0 && grownKb < GROWTH_KB_MAX;
      return Promise.resolve(isFlat ? [] : [`${before} kB grew by ${grownKb}`]);
    });
    await tally.trial("state", () => ground.leftOver([]));
    const { tried, survived, leftOver } = tally.outcome();
    return {
      tried: tried + count,
      survived: survived + count - early.length - late.length,
      leftOver: [...leftOver, ...early, ...late],
    };
  },
};

async function residentKb(pid: number): Promise<number> {
  const { stdout } = await runProgram(["cat", `/proc/${pid}/status`]);
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(stdout)?.[1] ?? 0);
}

async function fire(
  { node }: Ground,
  { count, seed, say }: {
    count: number;
    seed: number;
    say: (text: string) => void;
  },
): Promise<string[]> {
  const random = createRandom(seed);
  const path = socketPathIn(node.profile.socketDir);
  const wrong: string[] = [];
  let left = count;
  const work = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      if (left % 1_000 === 0) say(`${left} requests to go`);
      const { kind, bytes } = makeRequest(random);
      const what = await judge(path, bytes).catch((error) => String(error));
      if (what !== undefined) wrong.push(`${kind}: ${what}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return wrong;
}

/** Why the answer is not as it should be. */
async function judge(
  path: string,
  bytes: Uint8Array,
): Promise<string | undefined> {
  using conn = await Deno.connect({ transport: "unix", path });
  const timer = setTimeout(() => conn.close(), ANSWER_MS_MAX);
  // A server that has seen enough may close before it has read everything.
  const sent = writeAll(conn, bytes).catch(() => {});
  try {
    const text = await readAnswer(conn);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0);
    if (status >= 400 && status < 500) return undefined;
    // Asked in the right way for nothing, or for something harmless: a DEL, a health check.
    if (status === 200) return undefined;
    return `answered ${text.slice(0, 200)}`;
  } finally {
    clearTimeout(timer);
    await sent;
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await conn.write(bytes.subarray(at));
  }
}

async function readAnswer(conn: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(16 * 1024);
  let bytes = new Uint8Array();
  for (;;) {
    const count = await conn.read(buffer);
    bytes = new Uint8Array([...bytes, ...buffer.subarray(0, count ?? 0)]);
    const isWhole = parseAnswer(bytes, { ended: count === null }) !== undefined;
    if (isWhole || count === null) return decoder.decode(bytes);
  }
}

interface Made {
  readonly kind: string;
  readonly bytes: Uint8Array;
}

function makeRequest(random: Random): Made {
  switch (random.below(4)) {
    case 0: {
      const bytes = random.bytes(random.below(300));
      // With an end: half a request is a slow client, which is another fault.
      return {
        kind: "bytes",
        bytes: join(bytes, encoder.encode(HEAD_END + HEAD_END)),
      };
    }
    case 1:
      return { kind: "HTTP", bytes: encoder.encode(randomHttp(random)) };
    case 2:
      return post("JSON", random, JSON.stringify(randomValue(random, 4)));
    default:
      return post("values", random, JSON.stringify(wildRequest(random)));
  }
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function randomHttp(random: Random): string {
  const method = random.pick(["GET", "POST", "PUT", "DELETE", "X", "post"]);
  const path = random.pick([
    "/cni",
    "/delegate",
    "/healthz",
    "/",
    "//",
    "/../x",
    "*",
    "/%00",
    `/${random.text(20)}`,
  ]);
  const version = random.pick(["HTTP/1.1", "HTTP/1.0", "HTTP/9.9", ""]);
  const headers = Array.from(
    { length: random.below(5) },
    () => `${random.text(8)}: ${random.text(12)}\r\n`,
  );
  return `${method} ${path} ${version}\r\nHost: a\r\nConnection: close\r\n${
    headers.join("")
  }\r\n`;
}

function post(kind: string, random: Random, body: string): Made {
  const bytes = encoder.encode(body);
  const route = random.pick(["/cni", "/delegate"]);
  const head =
    `POST ${route} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${bytes.length}${HEAD_END}`;
  return { kind, bytes: join(encoder.encode(head), bytes) };
}

/** Values that programs trip over. */
const WILD: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  2 ** 53,
  1e308,
  "",
  " ",
  "\u0000",
  "../../etc/passwd",
  "__proto__",
  "constructor",
  "a".repeat(5_000),
  "💥",
  "\ud800",
  [],
  {},
  [[[[]]]],
  { __proto__: null, toString: 1 },
];

function randomValue(random: Random, depth: number): unknown {
  const kind = depth === 0 ? 0 : random.below(3);
  if (kind === 0) return random.pick(WILD);
  const length = random.below(4);
  if (kind === 1) {
    return Array.from({ length }, () => randomValue(random, depth - 1));
  }
  return Object.fromEntries(
    Array.from({ length }, () => [
      random.pick(["env", "config", "CNI_COMMAND", random.text(6)]),
      randomValue(random, depth - 1),
    ]),
  );
}

const COMMANDS = ["ADD", "DEL", "CHECK", "STATUS", "VERSION", "add", ""];

/** Of the right form, with values that are not; pods are named seldom, because each is asked for. */
function wildRequest(random: Random): unknown {
  const text = (usual: string): unknown =>
    random.below(4) === 0 ? random.pick(WILD) : usual;
  const pod = random.below(50) === 0
    ? "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"
    : "";
  return {
    env: {
      CNI_COMMAND: random.pick(COMMANDS),
      CNI_CONTAINERID: text(random.text(12)),
      CNI_NETNS: text("/var/run/netns/none"),
      CNI_IFNAME: text("eth0"),
      CNI_ARGS: text(pod),
      CNI_PATH: text("/usr/lib/cni"),
    },
    config: random.below(4) === 0 ? random.pick(WILD) : wildConfig(random),
  };
}

function wildConfig(random: Random): string {
  const conf = {
    cniVersion: random.pick(["1.0.0", "1.1.0", "0.1.0", "9", null, 1]),
    name: random.below(3) === 0 ? random.pick(WILD) : "multus",
    type: "multus-shim",
    [random.pick(["delegates", "clusterNetwork", "kubeconfig", "cniDir"])]:
      randomValue(random, 3),
  };
  return encoder.encode(JSON.stringify(conf)).toBase64();
}
