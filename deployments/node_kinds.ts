/**
 * The kinds of node that there are manifests and images for: what the
 * manifests of one kind have that the others have not. The paths of the
 * daemon itself are in the profile of the same name.
 */
import { PROGRAM_VERSION } from "../lib/wire/program_version.ts";

/** One kind of node. */
export interface NodeKind {
  /** The name of its profile in `profiles/`. */
  readonly profile: string;
  /** For the head of its manifests. */
  readonly title: string;
  /** The suffix of its manifests' names. */
  readonly suffix: string;
  /** Where the container runtime looks for configurations. */
  readonly confDir: string;
  /** Where it looks for plugins. */
  readonly binDir: string;
  /** Reference plugins that its nodes lack. */
  readonly plugins: readonly string[];
}

/** All kinds. */
export const NODE_KINDS: readonly NodeKind[] = [
  {
    profile: "daemonset",
    title: "kubeadm, rke2, k0s, Talos and most others",
    suffix: "",
    confDir: "/etc/cni/net.d",
    binDir: "/opt/cni/bin",
    plugins: [],
  },
  {
    profile: "k3s",
    title: "k3s with flannel",
    suffix: "-k3s",
    confDir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    binDir: "/var/lib/rancher/k3s/data/cni",
    plugins: ["ipvlan", "host-local"],
  },
];

/** Where things are in the image, whatever the kind of node. */
export const IMAGE = {
  /** The executables; where the image of the Go Multus has its own, so that its manifest works with this image. */
  programDir: "/usr/src/multus-cni/bin",
  /** The deno that launchers start. */
  deno: "/usr/src/multus-cni/bin/deno",
} as const;

/** The image's name: one for each version and kind of node, and never a moving one. */
export function imageName({ suffix }: NodeKind): string {
  return `multus-deno:${PROGRAM_VERSION}${suffix}`;
}
