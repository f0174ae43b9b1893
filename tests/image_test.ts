/**
 * The image and the manifests, as far as they can be tried without an engine
 * and a cluster: the image's root file system is built with the Dockerfile's
 * steps, and a kubelet in small runs the manifest's containers in it, on a
 * host root of their own, with real plugins and a real API client.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { NODE_KINDS } from "../deployments/node_kinds.ts";
import { attachmentManifest, podManifest } from "./api_server/fixture.ts";
import type { ApiServer } from "./api_server/server.ts";
import { waitUntil } from "./api_server/wait.ts";
import { Container, type PodOptions } from "./image/kubelet.ts";
import {
  bridge,
  ImagePlace,
  LEFT_ON_HOST,
  startDaemon,
} from "./image/place.ts";
import { ip, runProgram } from "./node.ts";
import { nodeTest, step } from "./on_node.ts";

/** The first address of the services of each kind of cluster, where the API server is. */
const API_ADDRESSES: Readonly<Record<string, string>> = {
  daemonset: "10.96.0.1",
  k3s: "10.43.0.1",
};

const STATUS = "k8s.v1.cni.cncf.io/network-status";

/** One node, from before the installation until after the uninstall. */
interface Story {
  readonly t: Deno.TestContext;
  readonly place: ImagePlace;
  readonly pod: PodOptions;
  /** Of the pod that gets networks. */
  readonly uid: string;
}

/** The names of the pod and of its network namespace are the same. */
const POD = "pod-a";

async function addNetns(undo: AsyncDisposableStack): Promise<void> {
  await ip("netns", "add", POD);
  undo.defer(async () => {
    await runProgram(["ip", "netns", "del", POD]);
  });
  for (const name of ["mimg0", "mimg1"]) {
    undo.defer(async () => {
      await runProgram(["ip", "link", "del", name]);
    });
  }
}

function tellApiServer(api: ApiServer, uid: string): void {
  const network = { cniVersion: "1.0.0", ...bridge("mimg1", "10.245.9") };
  api.put(attachmentManifest("second", {
    namespace: "default",
    config: JSON.stringify(network),
  }));
  api.put(podManifest(POD, {
    namespace: "default",
    uid,
    nodeName: "node-a",
    annotations: { "k8s.v1.cni.cncf.io/networks": "second" },
  }));
}

async function tellInstall({ t, place, pod }: Story): Promise<void> {
  const { plugins, binDir } = place.kind;
  await step(
    t,
    "the init container installs, without any capability",
    async () => {
      const install = await Container.create(
        "install-multus-binary",
        pod,
      );
      const { code, stdout, stderr } = await install.run();
      assert.equal(code, 0, stdout + stderr);
      for (const name of ["multus-shim", "passthru", ...plugins]) {
        const path = join(place.host, binDir, name);
        assert.ok((await Deno.lstat(path)).isFile, name);
      }
      assert.match(stdout, /^multus-shim: installed$/m);
      if (plugins.includes("host-local")) {
        assert.match(stdout, /^host-local: left as it is/m);
      }
    },
  );
}

async function tellBeforeStart(
  { t }: Story,
  daemon: Container,
): Promise<void> {
  await step(t, "the root of the container cannot be written", async () => {
    for (const dir of ["/", "/usr/src/multus-cni/bin", "/etc", "/tmp"]) {
      const write = `: > ${dir}/x`;
      const { code, stderr } = await daemon.exec(["/bin/sh", "-c", write]);
      assert.notEqual(code, 0);
      assert.match(stderr, /Read-only file system/);
    }
  });
  await step(t, "the probes fail while there is no daemon", async () => {
    for (const name of ["readinessProbe", "livenessProbe"] as const) {
      const { code, stdout } = await daemon.probe(name);
      assert.equal(code, 1);
      assert.match(stdout, /The daemon does not answer/);
    }
  });
}

async function tellDaemon(
  { t, place, uid }: Story,
  container: Container,
): Promise<void> {
  const { child, log } = startDaemon(container, place.undo);
  const confPath = join(place.host, place.kind.confDir, "00-multus.conf");
  await step(t, "the daemon becomes ready, as the probes see it", async () => {
    const isReady = async (): Promise<boolean> =>
      (await container.probe("readinessProbe")).code === 0;
    await waitUntil(isReady, { what: "the readiness probe" })
      .catch((error) => assert.fail(`${error}\n${log()}`));
    assert.equal((await container.probe("livenessProbe")).code, 0);
  });
  await step(t, "00-multus.conf is on the host", async () => {
    const conf = JSON.parse(await Deno.readTextFile(confPath));
    assert.equal(conf.type, "multus-shim");
    assert.equal(conf.daemonSocketDir, "/run/multus");
  });
  await step(t, "a pod gets its networks on real interfaces", async () => {
    const { code, stdout } = await place.cni("ADD", POD, uid);
    assert.equal(code, 0, stdout + log());
    const links = await ip("-n", POD, "-br", "addr");
    assert.match(links, /^eth0.* 10\.244\.9\.\d+\/24/m);
    assert.match(links, /^net1.* 10\.245\.9\.\d+\/24/m);
    await waitUntil(() => {
      const { annotations } = place.api.get("Pod", POD, "default").metadata;
      return JSON.parse(annotations?.[STATUS] ?? "[]").length === 2;
    }, { what: "the network status" });
  });
  await step(
    t,
    "the daemon ends when it is asked to, and leaves the configuration",
    async () => {
      child.kill("SIGTERM");
      assert.equal((await child.status).code, 0, log());
      assert.ok((await Deno.lstat(confPath)).isFile);
    },
  );
}

async function tellUninstall({ t, place, uid }: Story): Promise<void> {
  const pod = await place.pod(`multus-uninstall${place.kind.suffix}.yml`);
  const uninstaller = await Container.create("uninstall", pod);
  await step(
    t,
    "uninstall leaves a pod that runs its networks, and is tried again",
    async () => {
      const { code, stdout, stderr } = await uninstaller.run();
      assert.equal(code, 1, stdout + stderr);
      assert.match(stdout, /^00-multus\.conf: removed$/m);
      assert.match(stdout, /^Pod default\/pod-a: runs with net1/m);
      assert.match(await ip("-n", POD, "-br", "addr"), /^net1.* 10\./m);
      const handedOver = join(
        place.host,
        `/var/lib/cni/results/primary-${uid}-eth0`,
      );
      assert.ok((await Deno.lstat(handedOver)).isFile);
      // As the container runtime does with its DEL.
      await Deno.remove(handedOver);
    },
  );
  await step(t, "uninstall undoes what a pod that is gone had", async () => {
    await ip("netns", "del", POD);
    const { code, stdout, stderr } = await uninstaller.run();
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^Pod default\/pod-a: undone: /m);
  });
}

for (const kind of NODE_KINDS) {
  nodeTest(
    `the manifest for ${kind.title} installs, gives pods their networks, and goes without a trace`,
    async (t) => {
      await using place = await ImagePlace.create(kind, {
        apiAddress: API_ADDRESSES[kind.profile] ?? "",
        bridges: ["mimg0", "mimg1"],
        subnets: ["10.244.9", "10.245.9"],
      });
      const untouched = await place.snapshot();
      const uid = crypto.randomUUID();
      const pod = await place.pod(`multus-daemonset-thick${kind.suffix}.yml`);
      const story = { t, place, pod, uid };
      await addNetns(place.undo);
      tellApiServer(place.api, uid);
      await tellInstall(story);
      const daemon = await Container.create("kube-multus", pod);
      await tellBeforeStart(story, daemon);
      await tellDaemon(story, daemon);
      await tellUninstall(story);
      await step(
        t,
        "the host is as it was before, but for the table",
        async () => {
          const left = await place.snapshot();
          for (const name of LEFT_ON_HOST) delete left[name];
          assert.deepEqual(left, untouched);
        },
      );
    },
  );
}
