/**
 * The Kubernetes objects of a deployment, as values of the types that are
 * generated from Kubernetes' OpenAPI description: what is not in it does not
 * compile. Names and paths are those of the Go Multus' manifest, so that
 * applying these over a running one replaces it.
 *
 * Writing them as YAML is left to `manifests.ts`.
 */
import type {
  V1ClusterRole,
  V1ClusterRoleBinding,
  V1ConfigMap,
  V1Container,
  V1CustomResourceDefinition,
  V1DaemonSet,
  V1PodSpec,
  V1PolicyRule,
  V1Probe,
  V1SecurityContext,
  V1ServiceAccount,
  V1Volume,
  V1VolumeMount,
} from "@kubernetes/client-node";
import type { Profile } from "../lib/grants.ts";
import { IMAGE, imageName, type NodeKind } from "./node_kinds.ts";

/** Where everything is and who it runs as, as in the Go Multus' manifest. */
const NAMESPACE = "kube-system";
const NAME = "multus";
const CONFIG_MAP = "multus-daemon-config";
const CONFIG_KEY = "daemon-config.json";
const LABELS = { tier: "node", app: "multus", name: "multus" };

/** What a capability is needed for; those that are not here are dropped. */
export const CAPABILITIES: Readonly<Record<string, string>> = {
  DAC_OVERRIDE:
    "plugins open sockets and files of network agents that do not run as root",
  NET_ADMIN: "plugins make interfaces, addresses and routes",
  NET_RAW: "plugins announce addresses (ARP, ND) and speak to iptables",
  SYS_ADMIN: "plugins and default-route enter the network namespaces of pods",
  SYS_CHROOT: "delegate-exec runs plugins in the host's root",
  SYS_PTRACE:
    "default-route tells the node's own network namespace by process 1; some runtimes name a pod's as /proc/<pid>/ns/net",
};

/** The permissions in the cluster, and nothing with a star. */
const RULES: V1PolicyRule[] = [
  {
    apiGroups: ["k8s.cni.cncf.io"],
    resources: ["network-attachment-definitions"],
    verbs: ["get", "list", "watch"],
  },
  {
    apiGroups: [""],
    resources: ["pods"],
    verbs: ["get", "list", "watch"],
  },
  { apiGroups: [""], resources: ["pods/status"], verbs: ["patch"] },
  { apiGroups: [""], resources: ["events"], verbs: ["create", "patch"] },
  {
    apiGroups: ["resource.k8s.io"],
    resources: ["resourceclaims", "resourceslices"],
    verbs: ["get", "list"],
  },
];

/**
 * Measured in the image's root file system: with 200 pods and 50 networks in
 * the cluster the daemon takes 130 MB. Plugins run inside the same limit, up
 * to 55 MB each: the daemon works out from it how many run at once.
 */
const DAEMON_RESOURCES = {
  requests: { cpu: "100m", memory: "160Mi" },
  limits: { memory: "1Gi" },
};

/** Measured: copying programs takes 120 MB at most, and the pages of what is copied. */
const INSTALL_RESOURCES = {
  requests: { cpu: "10m", memory: "128Mi" },
  limits: { memory: "256Mi" },
};

/** What a kind of node needs, in the order in which it is applied. */
export function deploymentObjects(kind: NodeKind, profile: Profile): object[] {
  return [
    networkAttachmentDefinition(),
    serviceAccount(),
    clusterRole(),
    clusterRoleBinding(),
    configMap(kind, profile),
    daemonSet(kind, profile),
  ];
}

/** What takes Multus off all nodes of a kind. */
export function uninstallObjects(kind: NodeKind, profile: Profile): object[] {
  return [uninstallDaemonSet(kind, profile)];
}

function networkAttachmentDefinition(): V1CustomResourceDefinition {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "network-attachment-definitions.k8s.cni.cncf.io" },
    spec: {
      group: "k8s.cni.cncf.io",
      scope: "Namespaced",
      names: {
        plural: "network-attachment-definitions",
        singular: "network-attachment-definition",
        kind: "NetworkAttachmentDefinition",
        shortNames: ["nad", "net-attach-def"],
      },
      versions: [{
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: attachmentSchema() },
      }],
    },
  };
}

type Schema =
  & NonNullable<
    V1CustomResourceDefinition["spec"]["versions"][number]["schema"]
  >["openAPIV3Schema"]
  & object;

function attachmentSchema(): Schema {
  return {
    description: "A network that pods can be attached to",
    type: "object",
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { type: "object" },
      spec: {
        type: "object",
        properties: {
          config: {
            description:
              "A CNI configuration as JSON; without it, the file of this name in the node's confDir",
            type: "string",
          },
        },
      },
    },
  };
}

function serviceAccount(): V1ServiceAccount {
  return {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: NAME, namespace: NAMESPACE },
  };
}

function clusterRole(): V1ClusterRole {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: NAME },
    rules: RULES,
  };
}

function clusterRoleBinding(): V1ClusterRoleBinding {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: NAME },
    roleRef: {
      apiGroup: "rbac.authorization.k8s.io",
      kind: "ClusterRole",
      name: NAME,
    },
    subjects: [{ kind: "ServiceAccount", name: NAME, namespace: NAMESPACE }],
  };
}

function configMap({ binDir }: NodeKind, profile: Profile): V1ConfigMap {
  const conf = {
    chrootDir: profile.hostRoot,
    binDir,
    confDir: profile.multusConfDir,
    cniDir: profile.cniStateDir,
    cniConfigDir: profile.cniConfDir,
    multusAutoconfigDir: profile.cniConfDir,
    multusConfigFile: "auto",
    socketDir: profile.socketDir,
    daemonSocketDir: profile.hostSocketDir,
    logLevel: "verbose",
    logToStderr: true,
  };
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: {
      name: CONFIG_MAP,
      namespace: NAMESPACE,
      labels: { tier: LABELS.tier, app: LABELS.app },
    },
    data: { [CONFIG_KEY]: `${JSON.stringify(conf, null, 2)}\n` },
  };
}

/** A directory of the host in a container. */
interface Mount {
  readonly name: string;
  readonly hostPath: string;
  readonly mountPath: string;
  /** Made if it is not there. */
  readonly create?: boolean;
  readonly readOnly?: boolean;
  /** What is mounted on the host later shows up in the container. */
  readonly follows?: boolean;
}

function volumesOf(mounts: readonly Mount[]): V1Volume[] {
  const seen = new Map<string, V1Volume>();
  for (const { name, hostPath, create } of mounts) {
    const type = create === true ? { type: "DirectoryOrCreate" } : {};
    seen.set(name, { name, hostPath: { path: hostPath, ...type } });
  }
  return [...seen.values()];
}

function mountsOf(mounts: readonly Mount[]): V1VolumeMount[] {
  return mounts.map(({ name, mountPath, readOnly, follows }) => ({
    name,
    mountPath,
    ...(readOnly === true && { readOnly }),
    ...(follows === true && { mountPropagation: "HostToContainer" }),
  }));
}

function hostRootMount(profile: Profile): Mount {
  return {
    name: "hostroot",
    hostPath: "/",
    mountPath: profile.hostRoot ?? "/",
    follows: true,
  };
}

function daemonMounts(kind: NodeKind, profile: Profile): Mount[] {
  const parent = (path: string): string => path.slice(0, path.lastIndexOf("/"));
  const same = (name: string, path: string): Mount => ({
    name,
    hostPath: path,
    mountPath: path,
    create: true,
  });
  const socket = {
    name: "host-run-multus",
    hostPath: profile.hostSocketDir,
    create: true,
  };
  return [
    {
      name: "cni",
      hostPath: kind.confDir,
      mountPath: profile.cniConfDir,
      create: true,
    },
    same("multus-conf-dir", profile.multusConfDir),
    { ...socket, mountPath: profile.socketDir },
    // Once more where the shim knows it, for the probes.
    { ...socket, mountPath: profile.hostSocketDir },
    same("host-var-lib-cni-multus", profile.cniStateDir),
    same("host-kubelet-pod-resources", parent(profile.podResourcesSocket)),
    {
      ...same("host-kubelet-device-plugins", parent(profile.deviceCheckpoint)),
      readOnly: true,
    },
    same("host-run-k8s-cni-cncf-io", parent(profile.deviceInfoDir)),
    hostRootMount(profile),
  ];
}

/** Without the host's root a container needs no capability. */
const NO_CAPABILITIES: V1SecurityContext = {
  runAsUser: 0,
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
  // Where SELinux is on, no other domain may write the host's files.
  seLinuxOptions: { type: "spc_t" },
};

/** Plugins run as children of the container's process and can do no more than it. */
const PLUGIN_CAPABILITIES: V1SecurityContext = {
  runAsUser: 0,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"], add: Object.keys(CAPABILITIES) },
  seccompProfile: { type: "RuntimeDefault" },
  seLinuxOptions: { type: "spc_t" },
};

function probe(what: "ready" | "alive", options: V1Probe): V1Probe {
  return {
    exec: { command: [`${IMAGE.programDir}/probe`, what] },
    ...options,
  };
}

function daemonContainer(kind: NodeKind, profile: Profile): V1Container {
  return {
    name: "kube-multus",
    image: imageName(kind),
    command: [`${IMAGE.programDir}/multus-daemon`],
    args: ["--config", profile.daemonConfig],
    env: [{
      name: "MULTUS_NODE_NAME",
      valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } },
    }],
    resources: DAEMON_RESOURCES,
    securityContext: PLUGIN_CAPABILITIES,
    terminationMessagePolicy: "FallbackToLogsOnError",
    // A daemon that reads its first caches is not dead.
    startupProbe: probe("alive", {
      periodSeconds: 2,
      timeoutSeconds: 5,
      failureThreshold: 30,
    }),
    readinessProbe: probe("ready", { periodSeconds: 10, timeoutSeconds: 5 }),
    // A node that starts all its pods at once makes everything late: two minutes, and never because of the API server.
    livenessProbe: probe("alive", {
      periodSeconds: 20,
      timeoutSeconds: 10,
      failureThreshold: 6,
    }),
    volumeMounts: [
      ...mountsOf(daemonMounts(kind, profile)),
      {
        name: CONFIG_MAP,
        mountPath: profile.daemonConfig.slice(
          0,
          profile.daemonConfig.lastIndexOf("/"),
        ),
        readOnly: true,
      },
    ],
  };
}

/** Reads the host to tell what its runtime is configured for, and writes the CNI directory alone. */
function installMounts(kind: NodeKind, profile: Profile): Mount[] {
  const root = hostRootMount(profile);
  return [
    { ...root, readOnly: true, follows: false },
    {
      name: "cnibin",
      hostPath: kind.binDir,
      mountPath: `${root.mountPath}${kind.binDir}`,
      create: true,
    },
  ];
}

function installContainer(kind: NodeKind, profile: Profile): V1Container {
  const { hostRoot = "/" } = profile;
  const { binDir, plugins } = kind;
  return {
    name: "install-multus-binary",
    image: imageName(kind),
    command: [`${IMAGE.programDir}/multusctl`],
    args: [
      "install",
      `--host-root=${hostRoot}`,
      `--cni-bin-dir=${hostRoot}${binDir}`,
      ...(plugins.length > 0 ? [`--plugins=${plugins.join(",")}`] : []),
    ],
    resources: INSTALL_RESOURCES,
    securityContext: NO_CAPABILITIES,
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: mountsOf(installMounts(kind, profile)),
  };
}

/** What all our pods have: the host's network, nothing else of the host's, on every node. */
function podSpec(
  spec: Pick<V1PodSpec, "containers" | "initContainers" | "volumes">,
): V1PodSpec {
  return {
    hostNetwork: true,
    nodeSelector: { "kubernetes.io/os": "linux" },
    priorityClassName: "system-node-critical",
    tolerations: [{ operator: "Exists" }],
    ...spec,
  };
}

function daemonSet(kind: NodeKind, profile: Profile): V1DaemonSet {
  const mounts = [
    ...daemonMounts(kind, profile),
    ...installMounts(kind, profile),
  ];
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: "kube-multus-ds", namespace: NAMESPACE, labels: LABELS },
    spec: {
      selector: { matchLabels: { name: LABELS.name } },
      updateStrategy: {
        type: "RollingUpdate",
        rollingUpdate: { maxUnavailable: "10%" },
      },
      template: {
        metadata: { labels: LABELS },
        spec: {
          ...podSpec({
            initContainers: [installContainer(kind, profile)],
            containers: [daemonContainer(kind, profile)],
            volumes: [
              ...volumesOf(mounts),
              {
                name: CONFIG_MAP,
                configMap: {
                  name: CONFIG_MAP,
                  items: [{ key: CONFIG_KEY, path: CONFIG_KEY }],
                },
              },
            ],
          }),
          serviceAccountName: NAME,
          // The daemon takes 25 s at most to finish what it has begun.
          terminationGracePeriodSeconds: 30,
        },
      },
    },
  };
}

/** Like the daemon, and where directories are to go at last, what they are in. */
function uninstallMounts(kind: NodeKind, profile: Profile): Mount[] {
  const outer = (path: string): string => path.slice(0, path.lastIndexOf("/"));
  return [
    {
      name: "cni",
      hostPath: kind.confDir,
      mountPath: profile.cniConfDir,
      create: true,
    },
    {
      name: "host-run",
      hostPath: outer(profile.hostSocketDir),
      mountPath: outer(profile.socketDir),
      // Network namespaces are below: a copy that does not follow would keep those of pods that are gone.
      follows: true,
    },
    {
      name: "host-var-lib-cni",
      hostPath: outer(profile.cniStateDir),
      mountPath: outer(profile.cniStateDir),
      create: true,
    },
    {
      name: "host-run-k8s-cni-cncf-io",
      hostPath: outer(profile.deviceInfoDir),
      mountPath: outer(profile.deviceInfoDir),
      create: true,
    },
    hostRootMount(profile),
  ];
}

/** As long as pods keep something of Multus, the init container fails and is tried again: the DaemonSet is ready when all nodes are done. */
function uninstallDaemonSet(kind: NodeKind, profile: Profile): V1DaemonSet {
  const labels = { tier: "node", app: "multus", name: "multus-uninstall" };
  const mounts = uninstallMounts(kind, profile);
  const { hostRoot = "/" } = profile;
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: "multus-uninstall", namespace: NAMESPACE, labels },
    spec: {
      selector: { matchLabels: { name: labels.name } },
      template: {
        metadata: { labels },
        spec: {
          ...podSpec({
            initContainers: [{
              name: "uninstall",
              image: imageName(kind),
              command: [`${IMAGE.programDir}/multusctl`],
              args: [
                "uninstall",
                `--host-root=${hostRoot}`,
                `--cni-bin-dir=${hostRoot}${kind.binDir}`,
                `--cni-conf-dir=${profile.cniConfDir}`,
                `--state-dir=${profile.cniStateDir}`,
              ],
              resources: INSTALL_RESOURCES,
              securityContext: PLUGIN_CAPABILITIES,
              terminationMessagePolicy: "FallbackToLogsOnError",
              volumeMounts: mountsOf(mounts),
            }],
            containers: [{
              name: "done",
              image: imageName(kind),
              command: ["/bin/sleep", "infinity"],
              resources: {
                requests: { cpu: "1m", memory: "8Mi" },
                limits: { memory: "16Mi" },
              },
              securityContext: {
                ...NO_CAPABILITIES,
                seLinuxOptions: {},
                runAsUser: 65534,
              },
            }],
            volumes: volumesOf(mounts),
          }),
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 1,
        },
      },
    },
  };
}
