/**
 * The files that tell which distribution a node runs and which directories
 * its container runtime uses, as the host names them. `distributions.ts`
 * looks at these and at nothing else, and the grants of `multusctl` name them.
 *
 * @module
 */

/** Configurations of containerd by distribution: of several that are there, the first counts. */
export const CONTAINERD_CONFIGS = [
  {
    distribution: "k3s",
    path: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
  },
  {
    distribution: "rke2",
    path: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
  },
  { distribution: "k0s", path: "/etc/k0s/containerd.toml" },
  { distribution: "talos", path: "/etc/cri/containerd.toml" },
  { distribution: "kubeadm", path: "/etc/containerd/config.toml" },
] as const;

/** The directories that a containerd configuration may import from; a pattern that leads elsewhere is not followed. */
export const CONTAINERD_IMPORT_DIRS = [
  "/etc/containerd",
  "/etc/cri",
  "/etc/k0s",
  "/run/k0s",
] as const;

/** CRI-O's configuration, and the directory of what is put over it. */
export const CRIO_CONFIG = "/etc/crio/crio.conf";

/** Files in here are read in lexical order, each over those before. */
export const CRIO_CONFIG_DIR = "/etc/crio/crio.conf.d";

/** What kubeadm tells the kubelet, the runtime's socket among it. */
export const KUBEADM_FLAGS = "/var/lib/kubelet/kubeadm-flags.env";

/** The kubelet's configuration. */
export const KUBELET_CONFIG = "/var/lib/kubelet/config.yaml";

/** Says what the operating system is. */
export const OS_RELEASE = "/etc/os-release";

/** Where k3s had its plugins before it had a place of its own for them: the link leads to the running version. */
export const K3S_CURRENT_BIN = "/var/lib/rancher/k3s/data/current/bin";

/** Programs of k3s, plugins among them, by version: the links in the CNI directory lead here. */
export const K3S_DATA = "/var/lib/rancher/k3s/data";

/** All files and directories above, for the grants. */
export const DETECTION_PATHS: readonly string[] = [
  ...CONTAINERD_CONFIGS.map(({ path }) => path),
  ...CONTAINERD_IMPORT_DIRS,
  "/etc/crio",
  KUBEADM_FLAGS,
  KUBELET_CONFIG,
  OS_RELEASE,
  "/usr/lib/os-release",
  K3S_DATA,
];
