/**
 * The life of Multus on a node, as the manifests bring it there: installed on
 * a host's root, run in chroot mode with exactly its grants, replaced by
 * another release and back while pods come and go, disturbed by other agents,
 * and taken off. The runtime on this node does what containerd and CRI-O do:
 * it uses the first configuration, tries again what says "later" (code 11),
 * and takes a DEL that went well for done.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { NODE_KINDS, type NodeKind } from "../deployments/node_kinds.ts";
import { checksumAt } from "../lib/cli/install_file.ts";
import { ask } from "../lib/wire/ask.ts";
import { attachmentManifest, podManifest } from "./api_server/fixture.ts";
import { findTypeOfManifest } from "./api_server/resources.ts";
import { waitUntil } from "./api_server/wait.ts";
import { Container } from "./image/kubelet.ts";
import {
  bridge,
  ImagePlace,
  LEFT_ON_HOST,
  type RunningDaemon,
  startDaemon,
} from "./image/place.ts";
import { ip, runProgram } from "./node.ts";
import { nodeTest, step } from "./on_node.ts";

/** What no other test has; the addresses are in the ranges that the profiles grant. */
const API_ADDRESSES: Readonly<Record<string, string>> = {
  daemonset: "10.96.0.2",
  k3s: "10.43.0.2",
};
const BRIDGES = ["mreal0", "mreal1"] as const;
const SUBNETS = ["10.244.8", "10.245.8"] as const;

/** Pods that come and go at once: more than the node has processors, so that something is always under way. */
const WORKERS = 3;

/** Whatever happens to our configuration is repaired or told within this. */
const NOTICE_MS = 2_000;

/** A daemon starts within seconds, also on a busy machine. */
const START_MS = 60_000;

/** The pod that runs all the time; pods and their network namespaces have the same names. */
const LASTING = "real-lasting";

/** A pod that ends while there is no daemon. */
const ABSENT = "real-absent";

interface Story {
  readonly t: Deno.TestContext;
  readonly place: ImagePlace;
  /** The lasting pod's. */
  readonly uid: string;
}

async function addPod(
  { place }: Pick<Story, "place">,
  name: string,
): Promise<string> {
  const uid = crypto.randomUUID();
  place.api.put(podManifest(name, {
    namespace: "default",
    uid,
    nodeName: "node-a",
    annotations: { "k8s.v1.cni.cncf.io/networks": "second" },
  }));
  await ip("netns", "add", name);
  return uid;
}

/** What became of pods that came and went. */
interface Tally {
  rounds: number;
  /** Calls that were told "later". */
  retries: number;
  readonly problems: string[];
}

/** One pod from its start to its end, as the runtime sees it. */
async function liveOnce(
  place: ImagePlace,
  name: string,
  tally: Tally,
): Promise<void> {
  const uid = await addPod({ place }, name);
  try {
    while (true) {
      const added = await place.cni("ADD", name, uid);
      if (added.code === 0) break;
      if (JSON.parse(added.stdout).code !== 11) {
        tally.problems.push(`ADD ${name}: ${added.stdout}${added.stderr}`);
        break;
      }
      tally.retries++;
      await remove(place, { name, uid }, tally);
    }
    const links = await ip("-n", name, "-br", "link");
    if (!/^net1@/m.test(links)) tally.problems.push(`${name} has no net1`);
    await remove(place, { name, uid }, tally);
  } finally {
    await ip("netns", "del", name);
    place.api.delete("Pod", name, "default");
  }
  tally.rounds++;
}

async function remove(
  place: ImagePlace,
  { name, uid }: { name: string; uid: string },
  tally: Tally,
): Promise<void> {
  while (true) {
    const removed = await place.cni("DEL", name, uid);
    if (removed.code === 0) return;
    if (JSON.parse(removed.stdout).code !== 11) {
      tally.problems.push(`DEL ${name}: ${removed.stdout}${removed.stderr}`);
      return;
    }
    tally.retries++;
  }
}

/** Pods that come and go until it is disposed of. */
interface Load extends AsyncDisposable {
  readonly tally: Tally;
  /** Waits until every worker's pod of now, and one more after it, have come and gone. */
  pass(what: string): Promise<void>;
}

function startLoad(place: ImagePlace): Load {
  const tally: Tally = { rounds: 0, retries: 0, problems: [] };
  let isEnding = false;
  const work = async (worker: number): Promise<void> => {
    for (let round = 0; !isEnding; round++) {
      await liveOnce(place, `real-${worker}-${round}`, tally);
    }
  };
  const running = Promise.all(
    Array.from({ length: WORKERS }, (_, worker) => work(worker)),
  );
  // Told when it is disposed of, which may be a while after it happened.
  running.catch(() => {});
  return {
    tally,
    pass: async (what) => {
      const wanted = tally.rounds + 2 * WORKERS;
      const isOver = (): boolean =>
        tally.rounds >= wanted || tally.problems.length > 0;
      await waitUntil(isOver, { what, timeoutMs: START_MS });
      assert.deepEqual(tally.problems, []);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      isEnding = true;
      await running;
    },
  };
}

/** A release that runs on the node: the kubelet's part of it. */
class Release implements AsyncDisposable {
  readonly container: Container;
  readonly daemon: RunningDaemon;

  private constructor(container: Container, daemon: RunningDaemon) {
    this.container = container;
    this.daemon = daemon;
  }

  static async start(place: ImagePlace, image: string): Promise<Release> {
    const pod = await podOf(place, image);
    const container = await Container.create("kube-multus", pod);
    const release = new Release(
      container,
      startDaemon(container, place.undo),
    );
    await waitUntil(
      async () => (await container.probe("readinessProbe")).code === 0,
      { what: "the readiness probe", timeoutMs: START_MS },
    ).catch((error) => assert.fail(`${error}\n${release.daemon.log()}`));
    return release;
  }

  /** Ends it as the kubelet does. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.daemon.child.kill("SIGTERM");
    const { code } = await this.daemon.child.status;
    assert.equal(code, 0, this.daemon.log());
  }
}

async function podOf(
  place: ImagePlace,
  image: string,
): Promise<Parameters<typeof Container.create>[1]> {
  return await place.pod(`multus-daemonset-thick${place.kind.suffix}.yml`, {
    image,
    name: crypto.randomUUID(),
  });
}

/** Runs the manifest's init container; the checksum of the shim that is there then. */
async function install(
  place: ImagePlace,
  image: string,
): Promise<string | undefined> {
  const pod = await podOf(place, image);
  const container = await Container.create("install-multus-binary", pod);
  const { code, stdout, stderr } = await container.run();
  assert.equal(code, 0, stdout + stderr);
  return await checksumAt(join(place.host, place.kind.binDir, "multus-shim"));
}

/** Names of files that there are in a directory of the host, and below. */
async function filesIn(place: ImagePlace, dir: string): Promise<string[]> {
  const found = await runProgram([
    "find",
    join(place.host, dir),
    "-type",
    "f",
    "-printf",
    "%P\n",
  ]);
  return found.stdout.split("\n").filter((name) => name !== "").sort();
}

/** The addresses that host-local has given out, by network. */
async function addressesInUse(place: ImagePlace): Promise<string[]> {
  const files = await filesIn(place, "/var/lib/cni/networks");
  return files.filter((name) => !/\/(?:lock|last_reserved_ip\.\d)$/.test(name));
}

/** What the lasting pod has in the kernel. */
async function readLasting(): Promise<string> {
  const links = await ip("-n", LASTING, "-br", "addr");
  assert.match(links, /^eth0@.* 10\.244\.8\.\d+\/24/m);
  assert.match(links, /^net1@.* 10\.245\.8\.\d+\/24/m);
  return `${links}${await ip("-n", LASTING, "route")}`;
}

async function tellUpgrades(
  story: Story,
  releases: { one: string; two: string },
): Promise<Release> {
  const { t, place, uid } = story;
  const { one, two } = releases;
  const shim = await install(place, one);
  let release = await Release.start(place, one);
  const added = await place.cni("ADD", LASTING, uid);
  assert.equal(added.code, 0, added.stdout + release.daemon.log());
  const lasting = await readLasting();
  const addresses = await addressesInUse(place);
  const load = startLoad(place);
  try {
    await load.pass("pods come and go");
    await step(
      t,
      "upgrade under load, as a rollout does it: the daemon ends, the init container installs, the new one starts",
      async () => {
        const uid = await addPod(story, ABSENT);
        assert.equal((await place.cni("ADD", ABSENT, uid)).code, 0);
        await release[Symbol.asyncDispose]();
        assert.notEqual(await install(place, two), shim);
        // Nobody is there to take it; its network namespace goes, as after any DEL that went well.
        assert.equal((await place.cni("DEL", ABSENT, uid)).code, 0);
        await ip("netns", "del", ABSENT);
        release = await Release.start(place, two);
        await load.pass("pods come and go after the upgrade");
      },
    );
    await step(
      t,
      "downgrade under load, programs first: an older shim asks a newer daemon",
      async () => {
        assert.equal(await install(place, one), shim);
        await load.pass("pods come and go with another shim");
        await release[Symbol.asyncDispose]();
        release = await Release.start(place, one);
        await load.pass("pods come and go after the downgrade");
      },
    );
  } finally {
    await load[Symbol.asyncDispose]();
  }
  await step(
    t,
    "no ADD failed, no DEL was lost, and the pod that ran did not notice",
    async () => {
      assert.deepEqual(load.tally.problems, []);
      await waitUntil(
        async () => (await addressesInUse(place)).join() === addresses.join(),
        { what: "all that pods had is given back", timeoutMs: START_MS },
      );
      const state = await filesIn(place, "/var/lib/cni/multus");
      assert.deepEqual(
        state.filter((name) => !name.includes(uid)),
        [],
        "files of pods that are gone",
      );
      assert.equal(await readLasting(), lasting);
      const checked = await place.cni("CHECK", LASTING, uid);
      assert.equal(checked.code, 0, checked.stdout);
    },
  );
  return release;
}

/** What the daemon says of its readiness, as anybody on the host can ask. */
async function readiness(place: ImagePlace): Promise<string> {
  const socketPath = join(place.host, "/run/multus/multus.sock");
  const { body } = await ask(
    { socketPath, route: "/readyz?verbose", method: "GET" },
    { signal: AbortSignal.timeout(NOTICE_MS) },
  );
  return body;
}

async function saysOfConfiguration(
  place: ImagePlace,
  expected: RegExp,
): Promise<boolean> {
  const line = /^\[.\] configuration: .*$/m.exec(await readiness(place));
  return expected.test(line?.[0] ?? "");
}

const GOOD = /^\[\+\]/;

/** The reasons of the events on the node, with how often each was said. */
function nodeEvents(place: ImagePlace): string[] {
  const type = findTypeOfManifest("v1", "Event");
  assert.ok(type);
  return place.api.store.list(type)
    // deno-lint-ignore no-explicit-any -- objects of a server
    .filter((event: any) => event.involvedObject.kind === "Node")
    // deno-lint-ignore no-explicit-any -- objects of a server
    .map((event: any) => `${event.involvedObject.name} ${event.reason}`);
}

async function soon(
  what: string,
  condition: () => Promise<boolean>,
): Promise<void> {
  await waitUntil(condition, { what, timeoutMs: NOTICE_MS });
}

async function tellReadiness({ t, place }: Story): Promise<void> {
  await step(t, "readiness says each of its parts", async () => {
    const text = await readiness(place);
    for (const name of ["serving", "cluster", "configuration"]) {
      assert.match(text, new RegExp(`^\\[\\+\\] ${name}: .+`, "m"));
    }
    assert.match(text, /^ok$/m);
  });
}

async function tellAgents(
  { t, place }: Story,
  { container }: Release,
): Promise<void> {
  const dir = join(place.host, place.kind.confDir);
  const own = join(dir, "00-multus.conf");
  const text = await Deno.readTextFile(own);
  const isBack = async (): Promise<boolean> =>
    await Deno.readTextFile(own).catch(() => "") === text;
  const wrongs: readonly [string, () => Promise<void>][] = [
    ["renames", () => Deno.rename(own, `${own}.cilium_bak`)],
    ["deletes", () => Deno.remove(own)],
    ["cuts off", () => Deno.truncate(own, 20)],
  ];
  for (const [what, wrong] of wrongs) {
    await step(t, `another agent ${what} our configuration`, async () => {
      await wrong();
      await soon(
        "it is told or repaired",
        async () =>
          await isBack() || await saysOfConfiguration(place, /^\[-\] .*multus/),
      );
      await waitUntil(isBack, { what: "it is put back", timeoutMs: START_MS });
      await soon("it is good", () => saysOfConfiguration(place, GOOD));
    });
  }
  await Deno.remove(`${own}.cilium_bak`);
  await step(t, "another agent puts its own before ours", async () => {
    const other = join(dir, "00-another.conflist");
    await Deno.writeTextFile(other, '{"name":"x","plugins":[{"type":"x"}]}');
    await soon("it is told", () =>
      saysOfConfiguration(
        place,
        /^\[-\] .*"00-another.conflist" sorts before "00-multus.conf"/,
      ));
    assert.equal((await container.probe("readinessProbe")).code, 1);
    assert.equal((await container.probe("livenessProbe")).code, 0);
    await Deno.remove(other);
    await soon("it is good again", () => saysOfConfiguration(place, GOOD));
  });
  await step(t, "all that is said on the node, too", async () => {
    const wanted = [
      "node-a MultusConfigurationRepaired",
      "node-a MultusNotEffective",
      "node-a MultusEffective",
    ];
    const isSaid = (): boolean =>
      wanted.every((one) => nodeEvents(place).includes(one));
    await waitUntil(isSaid, { what: `events ${wanted.join(", ")}` })
      .catch((error) => assert.fail(`${error}: ${nodeEvents(place)}`));
  });
}

async function tellPrimary({ t, place }: Story): Promise<void> {
  const dir = join(place.host, place.kind.confDir);
  const primary = join(dir, "10-primary.conflist");
  const renamed = join(dir, "15-primary.conflist");
  const other = join(dir, "12-other.conflist");
  const own = join(dir, "00-multus.conf");
  const text = await Deno.readTextFile(primary);
  // Whatever happens, a whole configuration is there.
  const leadsTo = async (path: string): Promise<boolean> =>
    JSON.parse(await Deno.readTextFile(own)).clusterNetwork.endsWith(
      path.slice(dir.length),
    );
  await step(t, "the primary's file is half written", async () => {
    const before = await Deno.readTextFile(own);
    await Deno.truncate(primary, text.length / 2);
    await soon(
      "it is told",
      () => saysOfConfiguration(place, /^\[-\] .*10-primary\.conflist/),
    );
    assert.equal(await Deno.readTextFile(own), before);
  });
  await step(t, "and then whole, with a capability more", async () => {
    const more = JSON.parse(text);
    more.plugins[0].capabilities = { mac: true };
    await Deno.writeTextFile(primary, JSON.stringify(more));
    await soon(
      "the capability is ours, too",
      async () =>
        JSON.parse(await Deno.readTextFile(own)).capabilities?.mac === true,
    );
    await soon("it is good", () => saysOfConfiguration(place, GOOD));
  });
  await step(t, "the primary's file is renamed", async () => {
    await Deno.rename(primary, renamed);
    await soon("it is followed", () => leadsTo(renamed));
  });
  await step(t, "another primary takes its place", async () => {
    const conf = JSON.parse(text);
    await Deno.writeTextFile(other, JSON.stringify({ ...conf, name: "other" }));
    await Deno.remove(renamed);
    await soon("it is followed", () => leadsTo(other));
    await soon("it is good", () => saysOfConfiguration(place, GOOD));
    const tally: Tally = { rounds: 0, retries: 0, problems: [] };
    await liveOnce(place, "real-other", tally);
    assert.deepEqual(tally.problems, []);
    const networks = await filesIn(place, "/var/lib/cni/networks");
    assert.ok(networks.some((name) => name.startsWith("other/")));
  });
  await step(t, "the first one comes back", async () => {
    await Deno.writeTextFile(primary, text);
    await Deno.remove(other);
    await soon("it is followed", () => leadsTo(primary));
    await soon("it is good", () => saysOfConfiguration(place, GOOD));
  });
}

async function tellUninstall({ t, place }: Story): Promise<void> {
  const pod = await place.pod(`multus-uninstall${place.kind.suffix}.yml`);
  const uninstaller = await Container.create("uninstall", pod);
  await step(t, "uninstall leaves the pod that runs its networks", async () => {
    const { code, stdout, stderr } = await uninstaller.run();
    assert.equal(code, 1, stdout + stderr);
    assert.match(stdout, /^00-multus\.conf: removed$/m);
    await readLasting();
  });
  await step(t, "and undoes the rest when that is gone", async () => {
    await ip("netns", "del", LASTING);
    const results = join(place.host, "/var/lib/cni/results");
    // As the container runtime does with its DEL.
    for await (const { name } of Deno.readDir(results)) {
      await Deno.remove(join(results, name));
    }
    const { code, stdout, stderr } = await uninstaller.run();
    assert.equal(code, 0, stdout + stderr);
  });
}

/** What plugins keep of the network that was the default one for a while. */
const LEFT_OF_OTHER = ["", "/last_reserved_ip.0", "/lock"].map((name) =>
  `/var/lib/cni/networks/other${name}`
);

async function createStory(
  t: Deno.TestContext,
  kind: NodeKind,
  undo: AsyncDisposableStack,
): Promise<Story> {
  const place = undo.use(
    await ImagePlace.create(kind, {
      apiAddress: API_ADDRESSES[kind.profile] ?? "",
      bridges: BRIDGES,
      subnets: SUBNETS,
    }),
  );
  for (const name of BRIDGES) {
    undo.defer(async () => {
      await runProgram(["ip", "link", "del", name]);
    });
  }
  const network = { cniVersion: "1.0.0", ...bridge(BRIDGES[1], SUBNETS[1]) };
  const config = JSON.stringify(network);
  place.api.put(attachmentManifest("second", { namespace: "default", config }));
  undo.defer(async () => {
    await runProgram(["ip", "netns", "del", LASTING]);
  });
  return { t, place, uid: await addPod({ place }, LASTING) };
}

for (const kind of NODE_KINDS) {
  nodeTest(
    `a node of ${kind.title} is installed, upgraded, downgraded and disturbed while pods run, and is as before when Multus is gone`,
    async (t) => {
      await using undo = new AsyncDisposableStack();
      const story = await createStory(t, kind, undo);
      const { place } = story;
      const untouched = await place.snapshot();
      const two = await place.release("two");
      const release = await tellUpgrades(story, { one: place.image, two });
      await tellReadiness(story);
      await tellAgents(story, release);
      await tellPrimary(story);
      await release[Symbol.asyncDispose]();
      await tellUninstall(story);
      await step(t, "the host is as it was, but for the table", async () => {
        const left = await place.snapshot();
        for (const name of [...LEFT_ON_HOST, ...LEFT_OF_OTHER]) {
          delete left[name];
        }
        assert.deepEqual(left, untouched);
      });
    },
  );
}
