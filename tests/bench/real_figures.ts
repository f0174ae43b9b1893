/** ADD with plugins that make interfaces, against the same plugins executed one after the other by hand. */
import { join } from "node:path";
import { findPluginDir } from "../prerequisites.ts";
import { overFloorInRounds, type Round } from "./figure.ts";
import { type Container, containerFor, OUT_DIR, run } from "./node.ts";
import { networkObject } from "./objects.ts";
import type { Job } from "./stopwatch.ts";
import type { Group, Measured, Surroundings } from "./surroundings.ts";

const ROUNDS = 25;
const WARM_UP_ROUNDS = 3;
const FACTOR = 1.35;
const PLUS_MS = 25;
const POD = "real-0";
const UPLINK = "benchup";

type Conf = Readonly<Record<string, unknown>>;

/** The three networks, in order, with the interface that each makes. */
interface RealNetwork {
  readonly ifname: string;
  readonly conf: Conf;
}

function hostLocal(dataDir: string, third: number): Conf {
  const ranges = [[{ subnet: `10.77.${third}.0/24` }]];
  return { type: "host-local", dataDir, ranges };
}

function networksIn(dir: string): RealNetwork[] {
  const common = { cniVersion: "1.0.0" };
  const ipam = (third: number): Conf => hostLocal(join(dir, "ipam"), third);
  return [
    {
      ifname: "eth0",
      conf: {
        ...common,
        name: "real-default",
        type: "bridge",
        bridge: "benchbr0",
        ipam: ipam(0),
      },
    },
    {
      ifname: "net1",
      conf: {
        ...common,
        name: "real-0",
        type: "macvlan",
        master: UPLINK,
        mode: "bridge",
        ipam: ipam(1),
      },
    },
    {
      ifname: "net2",
      conf: {
        ...common,
        name: "real-1",
        type: "bridge",
        bridge: "benchbr1",
        ipam: ipam(2),
      },
    },
  ];
}

interface Real {
  readonly surroundings: Surroundings;
  readonly networks: readonly RealNetwork[];
  readonly pluginDir: string;
}

/** The plugins of a command by hand, with the input that the daemon gives them. */
function byHand(
  { surroundings: { node }, networks, pluginDir }: Real,
  command: string,
  container: Container,
): Job[] {
  return networks.map(({ ifname, conf }): Job => ({
    command: [join(pluginDir, String(conf.type))],
    env: { ...node.cniEnv(command, container), CNI_IFNAME: ifname },
    stdin: confFile(node.dir, conf),
    stdout: `${OUT_DIR}/${ifname}-by-hand`,
  }));
}

function confFile(dir: string, conf: Conf): string {
  return join(dir, `${conf.name}.json`);
}

async function prepare(surroundings: Surroundings): Promise<Real> {
  const { node } = surroundings;
  const networks = networksIn(node.dir);
  const [first, ...more] = networks;
  for (const { conf } of networks) {
    await Deno.writeTextFile(confFile(node.dir, conf), JSON.stringify(conf));
  }
  await Deno.writeTextFile(
    join(node.profile.cniConfDir, "20-real.conf"),
    JSON.stringify(first?.conf),
  );
  const peer = `${UPLINK}p`;
  await run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", peer);
  await run("ip", "link", "set", UPLINK, "up");
  await node.api.tell({
    objects: more.map(({ conf }) => networkObject(String(conf.name), conf)),
    pods: { count: 1, prefix: "real", networks: "real-0,real-1" },
  });
  await node.restartDaemon();
  const pluginDir = await findPluginDir() ?? "/usr/lib/cni";
  return { surroundings, networks, pluginDir };
}

/** The shim's execution with the bridge as the default network. */
function shimJob(
  { surroundings: { node } }: Real,
  command: string,
  container: Container,
): Job {
  const job = node.shimJob(command, container);
  return { ...job, stdin: join(node.dir, "shim-real.json") };
}

async function measureRounds(
  real: Real,
  rounds: number,
): Promise<Round[]> {
  const { stopwatch } = real.surroundings;
  const measured: Round[] = [];
  await run("ip", "netns", "add", "bench-real");
  for (let round = 0; round < rounds; round++) {
    const container = containerFor(POD, "/var/run/netns/bench-real");
    const floor = await stopwatch(byHand(real, "ADD", container));
    await stopwatch(byHand(real, "DEL", container).toReversed());
    const add = await stopwatch([shimJob(real, "ADD", container)]);
    await stopwatch([shimJob(real, "DEL", container)]);
    measured.push({ value: add.wallMs, floor: floor.wallMs });
  }
  await run("ip", "netns", "delete", "bench-real");
  return measured;
}

async function measure(surroundings: Surroundings): Promise<Measured> {
  const { node } = surroundings;
  const conf = JSON.parse(node.shimConf());
  conf.clusterNetwork = join(node.profile.cniConfDir, "20-real.conf");
  await Deno.writeTextFile(
    join(node.dir, "shim-real.json"),
    JSON.stringify(conf),
  );
  const real = await prepare(surroundings);
  await measureRounds(real, WARM_UP_ROUNDS);
  const measured = await measureRounds(real, ROUNDS);
  return {
    figures: [
      overFloorInRounds(
        "ADD, whole, bridge + macvlan + bridge, host-local",
        "ms",
        {
          rounds: measured,
          rule: {
            what: "the plugins one after the other, by hand in C",
            factor: FACTOR,
            plus: PLUS_MS,
          },
        },
      ),
    ],
  };
}

/** Real interfaces. */
export const realFigures: Group = { name: "real", measure };
