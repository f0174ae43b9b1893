/**
 * What a reviewer wants to know about each reason in `lib/grants.ts`: what
 * who owns the process could do with it, what not even then, and which tests
 * fail without it. Kept here, in one place, for `PERMISSIONS.md`; that a
 * grant is used at all is judged from the audit of the end-to-end tests.
 */
import type { Executable } from "../lib/grants.ts";

/** What there is to say about the grants of one purpose. */
export interface GrantNote {
  /** What an attacker who owns the process can do with it. */
  readonly can: string;
  /** What they cannot, although it is near. */
  readonly cannot: string;
  /** Test files in which something fails without it. */
  readonly tests: readonly string[];
}

const SHIM: Readonly<Record<string, GrantNote>> = {
  "A parameter of the CNI execution protocol": {
    can: "Learn which pod and which network namespace this one call is about",
    cannot:
      "Read another variable of the container runtime: it reads as not set",
    tests: ["tests/shim_process_test.ts"],
  },
  "Trace context, handed on to the daemon": {
    can: "Put this call into somebody else's trace",
    cannot: "Learn anything about the node",
    tests: ["tests/shim_process_test.ts"],
  },
  "Ask the daemon": {
    can:
      "Ask what a container runtime may ask: attach or detach any container of this node, with a configuration of their choice: much of what root may do (see below)",
    cannot:
      "Reach another socket, the container runtime's or the kubelet's, or any host and port",
    tests: ["tests/shim_process_test.ts", "tests/attach_test.ts"],
  },
  "See whether a DEL that nobody took is noted already": {
    can: "Read the DELs that wait there, with their network configuration",
    cannot: "Read attachment records, which lie beside that directory",
    tests: ["tests/shim_process_test.ts"],
  },
  "Leave a DEL that nobody answers for the daemon to do": {
    can:
      "Have the daemon detach any container of this node later, with a configuration of their choice, or fill that disk",
    cannot: "Write a CNI configuration, a plugin or a record",
    tests: ["tests/shim_process_test.ts", "tests/attach_test.ts"],
  },
};

const DAEMON_FILES: Readonly<Record<string, GrantNote>> = {
  "Its own configuration": {
    can: "Read it; it holds no secret",
    cannot: "Change it",
    tests: ["tests/attach_test.ts"],
  },
  "CNI files of networks that are given by name": {
    can: "Read them",
    cannot: "Change them",
    tests: ["lib/selection/conf_sources_test.ts", "lib/cni/conf_dir_test.ts"],
  },
  "Find the default network's configuration": {
    can:
      "Read the node's CNI configurations and what else lies in that directory: a kubeconfig of another network provider, where there is one",
    cannot: "Read another directory below /etc",
    tests: ["tests/attach_test.ts", "lib/daemon/auto_config_test.ts"],
  },
  "Write 00-multus.conf": {
    can:
      "Cut this node's new pods off, or have the runtime run an installed plugin with a configuration of their choice",
    cannot: "Put a program where the runtime would run it",
    tests: ["lib/daemon/auto_config_test.ts"],
  },
  "Replace a stale socket, refuse a live one": {
    can: "See what lies in that directory",
    cannot: "See another one below /run",
    tests: ["tests/attach_test.ts"],
  },
  "Make the socket": {
    can:
      "Answer the shim in the daemon's place, which they do already, or fill that disk",
    cannot: "Make a link to elsewhere: Deno grants that only with all files",
    tests: ["tests/attach_test.ts", "tests/attack_test.ts"],
  },
  "Attachment records, results, left-over DELs": {
    can:
      "Read, forge or delete them: networks of pods of this node are left behind, or undone while in use",
    cannot: "Reach another node's",
    tests: ["tests/attach_test.ts", "lib/daemon/records_test.ts"],
  },
  "Find a plugin": {
    can: "See which plugins are installed, and read them",
    cannot: "Change one or add one",
    tests: ["tests/attach_test.ts", "tests/attack_test.ts"],
  },
  "Token and CA of the API server, read again when they change": {
    can: "Do at the API server what the ClusterRole allows the service account",
    cannot: "Read another pod's token or the kubelet's credentials",
    tests: ["lib/kube/grants_test.ts", "lib/kube/credentials_test.ts"],
  },
  "The kubeconfig and the files it names": {
    can: "Do at the API server what its user may",
    cannot: "Read another kubeconfig",
    tests: ["tests/attach_test.ts", "lib/kube/grants_test.ts"],
  },
  "The node's certificate": {
    can: "Do at the API server what this node's user may",
    cannot: "Use another node's name",
    tests: ["lib/kube/credentials_test.ts"],
  },
  "The node's certificate, when it is renewed": {
    can: "Leave the daemon without a certificate that is good",
    cannot: "Get one signed for another name",
    tests: ["lib/kube/credentials_test.ts"],
  },
  "The default network's sign of life": {
    can: "Read that file",
    cannot: "Make it appear",
    tests: ["lib/daemon/configuration_test.ts"],
  },
  "Its log files, to rotate them": {
    can:
      "Read what the daemon has written, and what else lies in that directory",
    cannot: "Read another log",
    tests: ["lib/log_file_test.ts"],
  },
  "Its log files": {
    can: "Forge or delete the daemon's own log, or fill that disk",
    cannot: "Touch what it has written to stderr",
    tests: ["lib/log_file_test.ts"],
  },
};

const DAEMON: Readonly<Record<string, GrantNote>> = {
  ...DAEMON_FILES,
  "Where the API server is": {
    can: "Learn it",
    cannot: "Read another variable: it reads as not set",
    tests: ["lib/kube/grants_test.ts"],
  },
  "Kept away from the API client: cluster traffic takes no proxy": {
    can:
      "Learn the node's proxy, with the password that may stand in its address",
    cannot: "Connect to that proxy: it is no address of the table",
    tests: ["lib/kube/grants_test.ts"],
  },
  "Which node's pods to watch": {
    can: "Learn it",
    cannot: "Read another variable: it reads as not set",
    tests: ["tests/attach_test.ts"],
  },
  "Serve the shim": {
    can: "Answer the runtime's calls wrongly",
    cannot: "Reach the container runtime's own socket",
    tests: ["tests/attach_test.ts"],
  },
  "Ask the kubelet for a pod's devices": {
    can: "Learn which devices the pods of this node have",
    cannot:
      "Reach another socket of the kubelet; this one only answers questions",
    tests: ["tests/kubelet/grants_test.ts"],
  },
  "A pod's devices where the kubelet has no such socket": {
    can: "Learn which devices the pods of this node have",
    cannot: "Change what the kubelet has noted",
    tests: ["tests/kubelet/grants_test.ts"],
  },
  "Device information files": {
    can: "Read them",
    cannot: "Reach the devices",
    tests: ["lib/devices/device_info_test.ts"],
  },
  "Device information files of attachments": {
    can: "Forge or delete what plugins and pods are told about devices",
    cannot: "Reach the devices",
    tests: ["lib/devices/device_info_test.ts"],
  },
  "The API server": {
    can:
      "Connect to any address and port of that range, with what was learnt: in the cluster's range to every service. Give the one address where it is known",
    cannot: "Connect to an address outside of it",
    tests: ["tests/attach_test.ts", "tests/attack_test.ts"],
  },
  "Serve metrics": {
    can: "Serve anything at that port",
    cannot: "Listen at another one",
    tests: ["lib/daemon/configuration_test.ts"],
  },
  "The memory limit, from which it works out how many ADDs run at once": {
    can: "Learn how much memory the node has",
    cannot:
      "Learn anything else about the system: users, interfaces, load, host name",
    tests: ["tests/attach_test.ts"],
  },
  "Run a plugin in the host root, and end one that outlives its deadline": {
    can:
      "Run any installed plugin as root in the host's root with input of their choice: move interfaces, change addresses, packet filters and the settings that `tuning` changes, make the files of `host-local` where its input says: much of what root may do (see below)",
    cannot:
      "Run anything that is not in a plugin directory, choose root, PATH or libraries, or end a process that is not its own plugin",
    tests: ["lib/host/delegate_exec_test.ts", "tests/attack_test.ts"],
  },
  "End a plugin that outlives its deadline, with its children": {
    can: "Run any plugin in the plugin directories, or end its own",
    cannot: "Run anything else, or end a process that is not its own plugin",
    tests: ["lib/host/delegate_exec_test.ts"],
  },
  "Change a pod's default route": {
    can: "Redirect or cut off what any pod of this node sends",
    cannot: "Change the host's own routes, or any other setting",
    tests: ["lib/host/default_routes_test.ts", "tests/attach_test.ts"],
  },
  "Run a plugin": {
    can:
      "Run it as the daemon's user, with CNI_PATH and input of their choice. Plugins run others from CNI_PATH, which may name a directory that the daemon writes to: in the end, whatever that user may",
    cannot:
      "Run a program that is not in this list at once, or put a library before one",
    tests: ["tests/attach_test.ts"],
  },
};

const INSTALLATION = ["lib/cli/installation_test.ts"];

const CTL_INSTALL: Readonly<Record<string, GrantNote>> = {
  "Read back what is baked into an executable; install the shim": {
    can: "Read the programs and the profile; they hold no secret",
    cannot: "Change them",
    tests: ["tests/build_test.ts", ...INSTALLATION],
  },
  "Install the deno that the shim's launcher starts": {
    can: "Read it",
    cannot: "Change the one that it runs on itself",
    tests: INSTALLATION,
  },
  "Find out which CNI directories the container runtime uses": {
    can: "Read the container runtime's configuration",
    cannot: "Change it",
    tests: ["lib/cli/distributions_test.ts"],
  },
  "Compare installed programs, keep what they replace": {
    can: "Read the installed plugins",
    cannot: "Read programs of another directory",
    tests: INSTALLATION,
  },
  "Install programs, put back what they replaced": {
    can:
      "Put any program in the place of a plugin: the runtime starts it as root on the host. Who owns this process owns the node",
    cannot: "Do so later: the process is over when it has installed",
    tests: INSTALLATION,
  },
  "Find the configuration that pods get without Multus": {
    can:
      "Read the node's CNI configurations, and a kubeconfig of another network provider, where there is one",
    cannot: "Read another directory below /etc",
    tests: INSTALLATION,
  },
  "Remove 00-multus.conf, or write it where that is asked for": {
    can: "Change which networks new pods get",
    cannot: "Change those that pods have",
    tests: INSTALLATION,
  },
};

const LOOKING: readonly string[] = ["tests/multusctl_test.ts"];

const CTL_LOOKING: Readonly<Record<string, GrantNote>> = {
  "Which node's pods to watch": {
    can: "Learn the node's name",
    cannot: "Learn another variable: it reads as not set",
    tests: LOOKING,
  },
  "Where the API server is": {
    can: "Learn the address of the API server",
    cannot: "Connect to it without the net grant",
    tests: LOOKING,
  },
  "Kept away from the API client: cluster traffic takes no proxy": {
    can: "Learn the proxy, with a password where one stands in its URL",
    cannot: "Connect to it",
    tests: LOOKING,
  },
  "Tell what plugins would do with the proxy that is set": {
    can: "Learn which hosts are reached without the proxy",
    cannot: "Connect to them",
    tests: LOOKING,
  },
  "See how Multus is set up on this node": {
    can: "Read configurations of networks, and the scripts",
    cannot: "Change them",
    tests: LOOKING,
  },
  "Ask the API server as the daemon does": {
    can:
      "Use the daemon's token: read pods and networks, write network-status, post events",
    cannot: "Reach another host, or do what the ClusterRole does not allow",
    tests: LOOKING,
  },
  "Put the end of the log into a bug report": {
    can: "Read the daemon's log",
    cannot: "Change it, or read another log",
    tests: LOOKING,
  },
  "See which addresses are given out, and to whom": {
    can: "Read which container has which address",
    cannot: "Give one back",
    tests: LOOKING,
  },
  "Check manifests that an operator has put there": {
    can: "Read what lies in these directories",
    cannot: "Read manifests elsewhere: those come in on standard input",
    tests: LOOKING,
  },
  "List the node's links: masters that are missing, interfaces left over": {
    can:
      "Change the network of whatever namespace this runs in, and run any program through ip netns exec: as much as root of this container",
    cannot:
      "Be used by the daemon or the shim; a profile without ipProgram takes it away, and doctor says what it leaves out",
    tests: LOOKING,
  },
};

const CTL: Readonly<Record<string, GrantNote>> = {
  ...CTL_INSTALL,
  ...CTL_LOOKING,
  "See what is attached to pods": {
    can: "Read the attachment records",
    cannot: "Ask the API server about the pods",
    tests: INSTALLATION,
  },
  "Forget what was undone": {
    can: "Delete or forge records: networks are left behind",
    cannot: "Reach another node's",
    tests: INSTALLATION,
  },
  "See what the container runtime knows already": {
    can: "Read the results of the runtime's own calls",
    cannot: "Read its other state",
    tests: INSTALLATION,
  },
  "Hand a running pod's first network over to the container runtime": {
    can: "Have the runtime undo networks with a configuration of their choice",
    cannot: "Choose a program that is not in a plugin directory",
    tests: INSTALLATION,
  },
  "Remove device information of attachments": {
    can: "Forge or delete what plugins and pods are told about devices",
    cannot: "Reach the devices",
    tests: INSTALLATION,
  },
  "See which pods still run": {
    can: "See the names of network namespaces",
    cannot: "Enter one",
    tests: INSTALLATION,
  },
  "See whether a daemon left its socket": {
    can: "See what lies in that directory",
    cannot: "See another one below /run",
    tests: INSTALLATION,
  },
  "Remove the socket of a daemon that is gone": {
    can: "Cut the shim off, or answer it",
    cannot: "Make a link to elsewhere: Deno grants that only with all files",
    tests: INSTALLATION,
  },
  "See whether a daemon runs": {
    can: "Ask the daemon what a container runtime may ask",
    cannot: "Reach another socket, host or port",
    tests: INSTALLATION,
  },
  "Undo the attachments of pods that are gone": {
    can:
      "Run any installed plugin as root in the host's root, as the daemon can",
    cannot: "Run anything else",
    tests: ["lib/host/delegate_exec_test.ts", ...INSTALLATION],
  },
};

/** The notes of each program, by the reason that `lib/grants.ts` gives. */
export const GRANT_NOTES: Readonly<
  Record<Executable, Readonly<Record<string, GrantNote>>>
> = {
  "multus-shim": SHIM,
  "multus-daemon": DAEMON,
  "multusctl": CTL,
};
