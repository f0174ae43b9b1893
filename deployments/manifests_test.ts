import * as kubernetes from "@kubernetes/client-node";
import assert from "node:assert/strict";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { parseManifests } from "../tests/api_server/manifests.ts";
import { parseDaemonConf } from "../lib/daemon/configuration.ts";
import { NO_FLAGS } from "../lib/daemon/daemon_flags.ts";
import { type GrantKind, grantsOf, type Profile } from "../lib/grants.ts";
import { parseConf } from "../lib/cni/conf.ts";
import { parseNetworks } from "../lib/selection/annotation.ts";
import { PROGRAM_VERSION } from "../lib/wire/program_version.ts";
import { type Manifest, renderManifests } from "./manifests.ts";
import { IMAGE } from "./node_kinds.ts";

// deno-lint-ignore no-explicit-any -- documents of any shape, looked at by assertions
type Any = any;

/** All documents of a manifest, by kind. */
function read(manifest: Manifest): Record<string, Any> {
  const documents = parseAllDocuments(manifest.text);
  return Object.fromEntries(
    documents.map((document) => {
      assert.deepEqual("errors" in document ? document.errors : [], []);
      const object = document.toJS();
      return [object.kind, object];
    }),
  );
}

const MANIFESTS = await renderManifests();
const DEPLOYMENTS = MANIFESTS.filter(({ name }) => name.includes("daemonset"));
const UNINSTALLS = MANIFESTS.filter(({ name }) => name.includes("uninstall"));

Deno.test("the manifests are those that are generated", async (t) => {
  for (const { name, text } of MANIFESTS) {
    await t.step(name, async () => {
      const path = join(import.meta.dirname ?? "", name);
      assert.equal(await Deno.readTextFile(path), text);
    });
  }
});

interface Attribute {
  readonly name: string;
  readonly baseName: string;
  readonly type: string;
}

/** The members of an OpenAPI type; undefined for what has none. */
function attributesOf(type: string): readonly Attribute[] | undefined {
  const model = (kubernetes as unknown as Record<string, Any>)[type];
  return model?.getAttributeTypeMap?.();
}

/** Every member that Kubernetes' OpenAPI description does not know, or knows with another type. */
function findUnknown(value: Any, type: string, path: string): string[] {
  const [, item = ""] = /^Array<(.*)>$/.exec(type) ?? [];
  if (item !== "") {
    if (!Array.isArray(value)) return [`${path}: not a list`];
    return value.flatMap((one: Any, index: number) =>
      findUnknown(one, item, `${path}[${index}]`)
    );
  }
  const [, member = ""] = /^\{ \[key: string\]: (.*); \}$/.exec(type) ?? [];
  if (member !== "") {
    return Object.entries(value).flatMap(([key, one]) =>
      findUnknown(one, member, `${path}.${key}`)
    );
  }
  if (["string", "number", "boolean"].includes(type)) {
    const found: string = typeof value;
    return found === type ? [] : [`${path}: not a ${type}`];
  }
  const attributes = attributesOf(type);
  if (attributes === undefined) return [];
  return Object.entries(value).flatMap(([key, one]) => {
    const attribute = attributes.find(({ baseName }) => baseName === key);
    return attribute === undefined
      ? [`${path}.${key}: not in ${type}`]
      : findUnknown(one, attribute.type, `${path}.${key}`);
  });
}

Deno.test("the manifests hold nothing that Kubernetes' OpenAPI description does not know", async (t) => {
  for (const manifest of MANIFESTS) {
    await t.step(manifest.name, () => {
      for (const [kind, object] of Object.entries(read(manifest))) {
        assert.ok(attributesOf(`V1${kind}`), kind);
        assert.deepEqual(findUnknown(object, `V1${kind}`, kind), []);
      }
    });
  }
  await t.step("and that is found where it is", () => {
    const found = findUnknown(
      {
        spec: {
          template: { spec: { hostNetwrk: true, containers: [{ name: 1 }] } },
        },
      },
      "V1DaemonSet",
      "DaemonSet",
    );
    assert.deepEqual(found, [
      "DaemonSet.spec.template.spec.hostNetwrk: not in V1PodSpec",
      "DaemonSet.spec.template.spec.containers[0].name: not a string",
    ]);
  });
});

Deno.test("the manifests have the names of the Go Multus, so that they take its place", async (t) => {
  for (const manifest of DEPLOYMENTS) {
    await t.step(manifest.name, () => {
      const objects = read(manifest);
      const names = Object.values(objects).map(({ kind, metadata }) =>
        [kind, metadata.namespace ?? "", metadata.name].join(" ")
      );
      assert.deepEqual(names.sort(), [
        "ClusterRole  multus",
        "ClusterRoleBinding  multus",
        "ConfigMap kube-system multus-daemon-config",
        "CustomResourceDefinition  network-attachment-definitions.k8s.cni.cncf.io",
        "DaemonSet kube-system kube-multus-ds",
        "ServiceAccount kube-system multus",
      ]);
      const { spec, metadata } = objects.DaemonSet;
      assert.deepEqual(spec.selector.matchLabels, { name: "multus" });
      const labels = { tier: "node", app: "multus", name: "multus" };
      assert.deepEqual(metadata.labels, labels);
      assert.deepEqual(spec.template.metadata.labels, labels);
      assert.equal(spec.template.spec.serviceAccountName, "multus");
      assert.deepEqual(Object.keys(objects.ConfigMap.data), [
        "daemon-config.json",
      ]);
    });
  }
});

/** What the daemon may do in the cluster, as `<verb> <group>/<resource>`. */
const RIGHTS = [
  "create /events",
  "get /pods",
  "get k8s.cni.cncf.io/network-attachment-definitions",
  "get resource.k8s.io/resourceclaims",
  "get resource.k8s.io/resourceslices",
  "list /pods",
  "list k8s.cni.cncf.io/network-attachment-definitions",
  "list resource.k8s.io/resourceclaims",
  "list resource.k8s.io/resourceslices",
  "patch /events",
  "patch /pods/status",
  "watch /pods",
  "watch k8s.cni.cncf.io/network-attachment-definitions",
];

Deno.test("the daemon's rights in the cluster are these and no others", async (t) => {
  for (const manifest of DEPLOYMENTS) {
    await t.step(manifest.name, () => {
      const { rules } = read(manifest).ClusterRole;
      const rights = rules.flatMap((rule: Any) =>
        rule.apiGroups.flatMap((group: string) =>
          rule.resources.flatMap((resource: string) =>
            rule.verbs.map((verb: string) => `${verb} ${group}/${resource}`)
          )
        )
      );
      assert.deepEqual(rights.sort(), RIGHTS);
    });
  }
});

Deno.test("the containers are not privileged, and see no more of the host than they need", async (t) => {
  for (const manifest of MANIFESTS) {
    await t.step(manifest.name, () => {
      const { spec } = read(manifest).DaemonSet.spec.template;
      assert.equal(spec.hostPID, undefined);
      assert.equal(spec.hostIPC, undefined);
      assert.equal(spec.priorityClassName, "system-node-critical");
      assert.deepEqual(spec.tolerations, [{ operator: "Exists" }]);
      for (const container of [...spec.initContainers, ...spec.containers]) {
        const { securityContext, resources, image } = container;
        assert.equal(securityContext.privileged, undefined);
        assert.ok(securityContext.readOnlyRootFilesystem);
        assert.deepEqual(securityContext.capabilities.drop, ["ALL"]);
        assert.equal(resources.limits.cpu, undefined);
        assert.ok(resources.limits.memory && resources.requests.memory);
        assert.ok(image.includes(`:${PROGRAM_VERSION}`), image);
      }
    });
  }
});

/** Where a container sees the host, and whether it may write there. */
interface Seen {
  readonly path: string;
  readonly hostPath: string | undefined;
  readonly canWrite: boolean;
}

function seenBy(container: Any, volumes: readonly Any[]): Seen[] {
  return container.volumeMounts.map((mount: Any) => ({
    path: mount.mountPath,
    hostPath: volumes.find(({ name }) => name === mount.name)?.hostPath?.path,
    canWrite: mount.readOnly !== true,
  }));
}

/** The mount that holds a path: the one that is nearest to it. */
function mountOf(path: string, seen: readonly Seen[]): Seen | undefined {
  return seen
    .filter((mount) => path === mount.path || path.startsWith(`${mount.path}/`))
    .sort((a, b) => b.path.length - a.path.length)[0];
}

function granted(
  executable: "multus-daemon" | "multusctl",
  profile: Profile,
  kind: GrantKind,
): string[] {
  return grantsOf(executable, profile)
    .filter((grant) => grant.kind === kind)
    .map(({ value }) => value);
}

Deno.test("the daemon's container has what the daemon is granted to read and write", async (t) => {
  for (const manifest of DEPLOYMENTS) {
    await t.step(manifest.name, () => {
      const { spec } = read(manifest).DaemonSet.spec.template;
      const seen = seenBy(spec.containers[0], spec.volumes);
      const { profile } = manifest;
      const isOwn = (path: string): boolean =>
        path.startsWith(profile.serviceAccountDir);
      for (const path of granted("multus-daemon", profile, "write")) {
        assert.ok(mountOf(path, seen)?.canWrite, path);
      }
      for (const path of granted("multus-daemon", profile, "read")) {
        if (!isOwn(path)) assert.ok(mountOf(path, seen), path);
      }
    });
  }
});

Deno.test("the daemon is granted each directory that its container is given", async (t) => {
  for (const manifest of DEPLOYMENTS) {
    await t.step(manifest.name, () => {
      const { spec } = read(manifest).DaemonSet.spec.template;
      const { profile } = manifest;
      const reads = granted("multus-daemon", profile, "read");
      const holds = (dir: string): boolean =>
        reads.some((path) => path === dir || path.startsWith(`${dir}/`));
      for (const { path } of seenBy(spec.containers[0], spec.volumes)) {
        // The shim of the probes has its socket there.
        if (path !== profile.hostSocketDir) assert.ok(holds(path), path);
      }
    });
  }
});

Deno.test("the installer's container can write the CNI directory and nothing else of the host", async (t) => {
  for (const manifest of DEPLOYMENTS) {
    await t.step(manifest.name, () => {
      const { spec } = read(manifest).DaemonSet.spec.template;
      const [install] = spec.initContainers;
      const seen = seenBy(install, spec.volumes);
      const { kind: { binDir }, profile } = manifest;
      const writable = seen.filter(({ canWrite }) => canWrite);
      assert.deepEqual(
        writable.map(({ hostPath }) => hostPath),
        [binDir],
      );
      const option = (name: string): string | undefined =>
        install.args.find((arg: string) => arg.startsWith(`--${name}=`))
          ?.slice(name.length + 3);
      assert.equal(option("cni-bin-dir"), writable[0]?.path);
      assert.equal(option("host-root"), profile.hostRoot);
      assert.ok(
        granted("multusctl", profile, "write").includes(
          writable[0]?.path ?? "",
        ),
      );
      assert.deepEqual(install.securityContext.capabilities.add, undefined);
    });
  }
});

Deno.test("the uninstaller's container has what multusctl is granted to write", async (t) => {
  for (const manifest of UNINSTALLS) {
    await t.step(manifest.name, () => {
      const { spec } = read(manifest).DaemonSet.spec.template;
      const [uninstall] = spec.initContainers;
      const seen = seenBy(uninstall, spec.volumes);
      for (const path of granted("multusctl", manifest.profile, "write")) {
        assert.ok(mountOf(path, seen)?.canWrite, path);
      }
      assert.ok(!spec.automountServiceAccountToken);
    });
  }
});

Deno.test("the configuration in the manifest is the daemon's, and names the profile's paths", async (t) => {
  for (const manifest of DEPLOYMENTS) {
    await t.step(manifest.name, () => {
      const { ConfigMap, DaemonSet } = read(manifest);
      const { profile, kind } = manifest;
      const conf = parseDaemonConf(ConfigMap.data["daemon-config.json"], {
        path: "daemon-config.json",
        flags: NO_FLAGS,
      });
      assert.deepEqual(conf.warnings, []);
      assert.deepEqual(
        {
          hostRoot: conf.chrootDir,
          cniBinDir: conf.binDir,
          cniConfDir: conf.cniConfigDir,
          socketDir: conf.socketDir,
          hostSocketDir: conf.daemonSocketDir,
          cniStateDir: conf.cniDir,
          multusConfDir: conf.confDir,
          libexecDir: conf.libexecDir,
          podResourcesSocket: conf.podResourcesSocket,
          deviceCheckpoint: conf.deviceCheckpoint,
          deviceInfoDir: conf.deviceInfoDir,
        },
        {
          hostRoot: profile.hostRoot,
          cniBinDir: profile.cniBinDirs[0],
          cniConfDir: profile.cniConfDir,
          socketDir: profile.socketDir,
          hostSocketDir: profile.hostSocketDir,
          cniStateDir: profile.cniStateDir,
          multusConfDir: profile.multusConfDir,
          libexecDir: profile.libexecDir,
          podResourcesSocket: profile.podResourcesSocket,
          deviceCheckpoint: profile.deviceCheckpoint,
          deviceInfoDir: profile.deviceInfoDir,
        },
      );
      assert.equal(conf.multusConfigFile, "auto");
      assert.equal(kind.binDir, profile.cniBinDirs[0]);
      const [daemon] = DaemonSet.spec.template.spec.containers;
      assert.deepEqual(daemon.args, ["--config", profile.daemonConfig]);
      assert.deepEqual(daemon.env, [{
        name: "MULTUS_NODE_NAME",
        valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } },
      }]);
    });
  }
});

Deno.test("the image is built for the paths and the version of the manifests", async () => {
  const dockerfile = await Deno.readTextFile(
    join(import.meta.dirname ?? "", "Dockerfile"),
  );
  const version = /org\.opencontainers\.image\.version="([^"]*)"/
    .exec(dockerfile)?.[1];
  assert.equal(version, PROGRAM_VERSION);
  assert.ok(
    dockerfile.includes(`ENTRYPOINT ["${IMAGE.programDir}/multus-daemon"]`),
  );
  for (const [, tag = ""] of dockerfile.matchAll(/-t (\S+)/g)) {
    const images = DEPLOYMENTS.map((manifest) =>
      read(manifest).DaemonSet.spec.template.spec.containers[0].image
    );
    assert.ok(images.includes(tag), tag);
  }
});

Deno.test("the Dockerfile copies what is there and not ignored", async () => {
  const dir = import.meta.dirname ?? "";
  const dockerfile = await Deno.readTextFile(join(dir, "Dockerfile"));
  const ignored = await Deno.readTextFile(
    join(dir, "Dockerfile.dockerignore"),
  );
  const copies = dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm);
  const sources = [...copies].flatMap(([, list = ""]) => list.split(" "));
  assert.ok(sources.length > 5);
  for (const source of sources) {
    await Deno.stat(join(dir, "..", source));
    assert.match(ignored, new RegExp(`^!${RegExp.escape(source)}$`, "m"));
  }
});

Deno.test("the example for k3s is a network and a pod that asks for it", async () => {
  const dir = join(import.meta.dirname ?? "", "examples", "k3s");
  const objects: Any[] = [];
  for (const name of ["net-attach-def-ipvlan.yaml", "alpine.yaml"]) {
    objects.push(...parseManifests(await Deno.readTextFile(join(dir, name))));
  }
  const [network, pod] = objects;
  const [plugin] = parseConf(network.spec.config, {
    defaultName: network.metadata.name,
  }).plugins;
  const k3s = DEPLOYMENTS.find(({ kind }) => kind.profile === "k3s");
  assert.ok(k3s?.kind.plugins.includes(plugin?.type ?? ""));
  const [selection] = parseNetworks(
    pod.metadata.annotations["k8s.v1.cni.cncf.io/networks"],
    pod.metadata.namespace,
  );
  assert.equal(selection?.name, network.metadata.name);
  assert.equal(selection?.namespace, network.metadata.namespace);
});
