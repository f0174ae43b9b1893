/**
 * The permissions of each executable, worked out from the paths it works
 * with: the one table. Whatever starts Deno in this project (build, launchers,
 * demo, tests, the container image) takes its flags from here, and
 * `multusctl grants` compares this table with what is baked into a file.
 *
 * It grants; it does not find paths (profiles do) and it starts nothing.
 * `deployments/PERMISSIONS.md` is written from the reasons given here.
 */
import { dirname, join } from "node:path";
import { DETECTION_PATHS } from "./cli/detection_paths.ts";

/** The three programs that are shipped. */
export const EXECUTABLES = [
  "multus-shim",
  "multus-daemon",
  "multusctl",
] as const;

/** The name of a shipped program. */
export type Executable = typeof EXECUTABLES[number];

/** The paths and addresses of one node, as the process sees them. */
export interface Profile {
  /** Where the daemon serves `multus.sock`. */
  readonly socketDir: string;
  /** The same directory as the shim sees it, on the host. */
  readonly hostSocketDir: string;
  /** Where the runtime looks for CNI configurations, `00-multus.conf` among them. */
  readonly cniConfDir: string;
  /** Where the default network's configuration is looked for, if not in `cniConfDir`. */
  readonly autoconfigDir?: string;
  /** Multus' own directory of CNI files (`confDir`). */
  readonly multusConfDir: string;
  /** Plugin directories as plugins are named to the host: the first is where the shim is installed. */
  readonly cniBinDirs: readonly string[];
  /** The state directory (`cniDir`): records, results, spool. */
  readonly cniStateDir: string;
  /** The daemon's configuration file. */
  readonly daemonConfig: string;
  /** Where the host's root file system is mounted; absent outside a pod. */
  readonly hostRoot?: string;
  /** The directory of `delegate-exec` and `default-route`. */
  readonly libexecDir: string;
  /** The plugins that may be run outside a pod, by file name. */
  readonly plugins: readonly string[];
  /** Credentials of the pod's service account. */
  readonly serviceAccountDir: string;
  /** A kubeconfig and the files it names, where one is used. */
  readonly kubeconfigFiles: readonly string[];
  /** Where a per-node certificate is kept, where one is used. */
  readonly certDir?: string;
  /** Hosts, `host:port` or ranges of the API server. */
  readonly apiServers: readonly string[];
  /** The kubelet's pod-resources socket. */
  readonly podResourcesSocket: string;
  /** The kubelet's device checkpoint. */
  readonly deviceCheckpoint: string;
  /** Where device information files are kept. */
  readonly deviceInfoDir: string;
  /** The default network's sign of life, where one is waited for. */
  readonly readinessIndicatorFile?: string;
  /** Where metrics are served, as `address:port`; absent: nowhere. */
  readonly metrics?: string;
  /** The daemon's log file, where one is written. */
  readonly logFile?: string;
  /** Where the IPAM plugin host-local keeps the addresses given out; its usual place in the host root when absent. */
  readonly ipamDataDir?: string;
  /** The program `ip` of this root, for `multusctl doctor`; absent: links are not looked at. */
  readonly ipProgram?: string;
  /** Directories of manifests that `multusctl validate` and `explain` may read; absent: standard input only. */
  readonly manifestDirs?: readonly string[];
  /** The deno program that launchers start in the daemon's root file system. */
  readonly deno: string;
  /** The deno program that the shim's launcher starts on the host. */
  readonly hostDeno: string;
  /** Where the executables themselves lie, for `multusctl grants` and `install`. */
  readonly programDir: string;
}

/** The kinds of permission that are ever granted. */
export type GrantKind = "read" | "write" | "net" | "env" | "run" | "sys";

/** One permission, with the reason it is there. */
export interface Grant {
  /** What kind of permission. */
  readonly kind: GrantKind;
  /** What it is granted for: a path, an address, a name. */
  readonly value: string;
  /** Why it is there, for a reviewer. */
  readonly why: string;
}

/** The environment of a CNI call, by name, and the trace context that the runtime may pass along. */
export const SHIM_ENV = [
  "CNI_COMMAND",
  "CNI_CONTAINERID",
  "CNI_NETNS",
  "CNI_IFNAME",
  "CNI_ARGS",
  "CNI_PATH",
  "TRACEPARENT",
  "TRACESTATE",
  "BAGGAGE",
] as const;

/** What the daemon reads of its environment. */
export const DAEMON_ENV = [
  "KUBERNETES_SERVICE_HOST",
  "KUBERNETES_SERVICE_PORT",
  "MULTUS_NODE_NAME",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "http_proxy",
  "https_proxy",
  "all_proxy",
] as const;

/** What multusctl reads of its environment: what the daemon does, and what plugins would. */
export const CTL_ENV = [...DAEMON_ENV, "NO_PROXY", "no_proxy"] as const;

type Sketch = readonly [
  kind: GrantKind,
  value: string | undefined,
  why: string,
];

function socketIn(dir: string): string {
  return join(dir, "multus.sock");
}

function unixSocket(path: string, purpose: string): Sketch[] {
  return [
    ["read", path, `${purpose}: Deno asks for read to connect`],
    ["write", path, `${purpose}: Deno asks for write to connect`],
    ["net", `unix:${path}`, purpose],
  ];
}

function shimGrants(profile: Profile): Sketch[] {
  const spool = join(profile.cniStateDir, "spool");
  return [
    ...SHIM_ENV.map((name): Sketch => [
      "env",
      name,
      name.startsWith("CNI_")
        ? "A parameter of the CNI execution protocol"
        : "Trace context, handed on to the daemon",
    ]),
    ...unixSocket(socketIn(profile.hostSocketDir), "Ask the daemon"),
    ["read", spool, "See whether a DEL that nobody took is noted already"],
    ["write", spool, "Leave a DEL that nobody answers for the daemon to do"],
  ];
}

/** The directories of plugins as the daemon sees them: inside the host root when there is one. */
export function seenBinDirs(profile: Profile): string[] {
  const root = profile.hostRoot;
  return profile.cniBinDirs.map((dir) =>
    root === undefined ? dir : join(root, dir)
  );
}

function runGrants(profile: Profile): Sketch[] {
  const delegateExec = join(profile.libexecDir, "delegate-exec");
  const scripts: Sketch[] = [
    [
      "run",
      delegateExec,
      profile.hostRoot === undefined
        ? "End a plugin that outlives its deadline, with its children"
        : "Run a plugin in the host root, and end one that outlives its deadline",
    ],
    [
      "run",
      join(profile.libexecDir, "default-route"),
      "Change a pod's default route",
    ],
  ];
  if (profile.hostRoot !== undefined) return scripts;
  const plugins = profile.cniBinDirs.flatMap((dir) =>
    profile.plugins.map((name): Sketch => [
      "run",
      join(dir, name),
      `Run the plugin ${name}`,
    ])
  );
  return [...scripts, ...plugins];
}

/** Rotated files lie beside the file; that the directory is its own is seen to where profiles are read. */
function logDirOf({ logFile }: Profile): string | undefined {
  return logFile === undefined ? undefined : dirname(logFile);
}

function daemonFileGrants(profile: Profile): Sketch[] {
  return [
    ["read", profile.daemonConfig, "Its own configuration"],
    [
      "read",
      profile.multusConfDir,
      "CNI files of networks that are given by name",
    ],
    ["read", profile.cniConfDir, "Find the default network's configuration"],
    [
      "read",
      profile.autoconfigDir,
      "Find the default network's configuration",
    ],
    ["write", profile.cniConfDir, "Write 00-multus.conf"],
    ["read", profile.socketDir, "Replace a stale socket, refuse a live one"],
    ["write", profile.socketDir, "Make the socket"],
    [
      "read",
      profile.cniStateDir,
      "Attachment records, results, left-over DELs",
    ],
    [
      "write",
      profile.cniStateDir,
      "Attachment records, results, left-over DELs",
    ],
    ...seenBinDirs(profile).map((
      dir,
    ): Sketch => ["read", dir, "Find a plugin"]),
    [
      "read",
      profile.serviceAccountDir,
      "Token and CA of the API server, read again when they change",
    ],
    ...profile.kubeconfigFiles.map((
      file,
    ): Sketch => ["read", file, "The kubeconfig and the files it names"]),
    ["read", profile.certDir, "The node's certificate"],
    ["write", profile.certDir, "The node's certificate, when it is renewed"],
    [
      "read",
      profile.readinessIndicatorFile,
      "The default network's sign of life",
    ],
    ["read", logDirOf(profile), "Its log files, to rotate them"],
    ["write", logDirOf(profile), "Its log files"],
  ];
}

function daemonDeviceGrants(profile: Profile): Sketch[] {
  return [
    ...unixSocket(
      profile.podResourcesSocket,
      "Ask the kubelet for a pod's devices",
    ),
    [
      "read",
      profile.deviceCheckpoint,
      "A pod's devices where the kubelet has no such socket",
    ],
    ["read", profile.deviceInfoDir, "Device information files"],
    ["write", profile.deviceInfoDir, "Device information files of attachments"],
  ];
}

function whyEnv(name: typeof CTL_ENV[number]): string {
  if (name === "MULTUS_NODE_NAME") return "Which node's pods to watch";
  if (name.startsWith("KUBERNETES_")) return "Where the API server is";
  return "Kept away from the API client: cluster traffic takes no proxy";
}

function daemonGrants(profile: Profile): Sketch[] {
  return [
    ...DAEMON_ENV.map((name): Sketch => [
      "env",
      name,
      whyEnv(name),
    ]),
    ...daemonFileGrants(profile),
    ...unixSocket(socketIn(profile.socketDir), "Serve the shim"),
    ...daemonDeviceGrants(profile),
    ...profile.apiServers.map((
      host,
    ): Sketch => ["net", host, "The API server"]),
    ["net", profile.metrics, "Serve metrics"],
    [
      "sys",
      "systemMemoryInfo",
      "The memory limit, from which it works out how many ADDs run at once",
    ],
    ...runGrants(profile),
  ];
}

/** The same path in the host's root, where this process sees that. */
function inHostRoot(profile: Profile, path: string): string {
  return profile.hostRoot === undefined ? path : join(profile.hostRoot, path);
}

function installGrants(profile: Profile): Sketch[] {
  return [
    ["read", profile.deno, "Install the deno that the shim's launcher starts"],
    ...DETECTION_PATHS.map((path): Sketch => [
      "read",
      inHostRoot(profile, path),
      "Find out which CNI directories the container runtime uses",
    ]),
    ...seenBinDirs(profile).flatMap((dir): Sketch[] => [
      ["read", dir, "Compare installed programs, keep what they replace"],
      ["write", dir, "Install programs, put back what they replaced"],
    ]),
    [
      "read",
      profile.cniConfDir,
      "Find the configuration that pods get without Multus",
    ],
    [
      "write",
      profile.cniConfDir,
      "Remove 00-multus.conf, or write it where that is asked for",
    ],
  ];
}

function uninstallGrants(profile: Profile): Sketch[] {
  const runtimeCache = join(dirname(profile.cniStateDir), "results");
  return [
    ["read", profile.cniStateDir, "See what is attached to pods"],
    ["write", profile.cniStateDir, "Forget what was undone"],
    ["read", runtimeCache, "See what the container runtime knows already"],
    [
      "write",
      runtimeCache,
      "Hand a running pod's first network over to the container runtime",
    ],
    [
      "write",
      profile.deviceInfoDir,
      "Remove device information of attachments",
    ],
    ...["/run/netns", "/var/run/netns"].map((dir): Sketch => [
      "read",
      inHostRoot(profile, dir),
      "See which pods still run",
    ]),
    ["read", profile.socketDir, "See whether a daemon left its socket"],
    ["write", profile.socketDir, "Remove the socket of a daemon that is gone"],
    ...unixSocket(socketIn(profile.socketDir), "See whether a daemon runs"),
    [
      "run",
      join(profile.libexecDir, "delegate-exec"),
      "Undo the attachments of pods that are gone",
    ],
  ];
}

/** Where host-local keeps the addresses that it has given out, as this process sees it. */
export function seenIpamDataDir(profile: Profile): string {
  return profile.ipamDataDir ??
    inHostRoot(profile, "/var/lib/cni/networks");
}

/** What is looked at by status, attachments, explain, validate, doctor, delete-pending and bundle. */
function lookingGrants(profile: Profile): Sketch[] {
  const setUp = [
    profile.daemonConfig,
    profile.multusConfDir,
    profile.autoconfigDir,
    profile.libexecDir,
    profile.readinessIndicatorFile,
  ];
  const credentials = [
    profile.serviceAccountDir,
    ...profile.kubeconfigFiles,
    profile.certDir,
  ];
  return [
    ...CTL_ENV.map((name): Sketch => ["env", name, whyCtlEnv(name)]),
    ...setUp.map((path): Sketch => [
      "read",
      path,
      "See how Multus is set up on this node",
    ]),
    ...credentials.map((path): Sketch => [
      "read",
      path,
      "Ask the API server as the daemon does",
    ]),
    ...profile.apiServers.map((host): Sketch => [
      "net",
      host,
      "Ask the API server as the daemon does",
    ]),
    ["read", logDirOf(profile), "Put the end of the log into a bug report"],
    [
      "read",
      seenIpamDataDir(profile),
      "See which addresses are given out, and to whom",
    ],
    ...(profile.manifestDirs ?? []).map((dir): Sketch => [
      "read",
      dir,
      "Check manifests that an operator has put there",
    ]),
    [
      "run",
      profile.ipProgram,
      "List the node's links: masters that are missing, interfaces left over",
    ],
  ];
}

function whyCtlEnv(name: typeof CTL_ENV[number]): string {
  return name === "NO_PROXY" || name === "no_proxy"
    ? "Tell what plugins would do with the proxy that is set"
    : whyEnv(name);
}

function ctlGrants(profile: Profile): Sketch[] {
  return [
    [
      "read",
      profile.programDir,
      "Read back what is baked into an executable; install the shim",
    ],
    ...installGrants(profile),
    ...uninstallGrants(profile),
    ...lookingGrants(profile),
  ];
}

const SKETCHES: Readonly<Record<Executable, (profile: Profile) => Sketch[]>> = {
  "multus-shim": shimGrants,
  "multus-daemon": daemonGrants,
  "multusctl": ctlGrants,
};

const KIND_ORDER: readonly GrantKind[] = [
  "env",
  "read",
  "write",
  "net",
  "run",
  "sys",
];

/** The permissions of `executable` on a node like `profile`, in a stable order, each value of a kind once. */
export function grantsOf(executable: Executable, profile: Profile): Grant[] {
  const seen = new Set<string>();
  const grants: Grant[] = [];
  for (const [kind, value, why] of SKETCHES[executable](profile)) {
    if (value === undefined || seen.has(`${kind} ${value}`)) continue;
    seen.add(`${kind} ${value}`);
    grants.push({ kind, value, why });
  }
  return grants.sort((a, b) =>
    KIND_ORDER.indexOf(a.kind) - KIND_ORDER.indexOf(b.kind)
  );
}

/**
 * The `--allow-…` flags of `grants`, one for each kind that occurs. The
 * variables that are not granted read as not set rather than fail, so that a
 * library that looks at the whole environment at import goes on without it.
 *
 * @throws {RangeError} when a value contains a comma, which the flags cannot carry.
 */
export function permissionFlags(grants: readonly Grant[]): string[] {
  const flags: string[] = [];
  for (const kind of KIND_ORDER) {
    const values = grants.filter((grant) => grant.kind === kind).map((grant) =>
      grant.value
    );
    const comma = values.find((value) => value.includes(","));
    if (comma !== undefined) {
      throw new RangeError(
        `A granted value must not contain a comma: ${comma}`,
      );
    }
    if (values.length > 0) flags.push(`--allow-${kind}=${values.join(",")}`);
  }
  return [...flags, "--ignore-env", "--deny-import", "--no-prompt"];
}

/**
 * What the C library's allocator is told in each program's environment; measured in
 * `deployments/PERFORMANCE.md`. The shim asks for much memory at once, because it lives for
 * milliseconds and each step takes a call of the kernel. The daemon gets what is large by itself, so
 * that it goes back to the system when it is free: a list of pods does not leave a hole behind.
 */
export const ALLOCATOR: Readonly<Record<Executable, readonly string[]>> = {
  "multus-shim": ["MALLOC_TOP_PAD_=4194304"],
  "multus-daemon": ["MALLOC_MMAP_THRESHOLD_=65536"],
  "multusctl": [],
};

/** What V8 is told in each program; why each number is there is in `deployments/PERFORMANCE.md`. */
export const V8_FLAGS: Readonly<Record<Executable, readonly string[]>> = {
  "multus-shim": [],
  // Young objects die young, and a heap that is collected early stays small: after 2,000 ADDs and DELs
  // 79 MB are resident. A hard limit would be smaller still, and a list that is larger than it would end
  // the daemon.
  // With `expose-gc`, `quiet_collection.ts` can collect when there is nothing to do. Without the last of
  // its compilers V8 keeps 3 MB less, and what the daemon does runs too seldom to be worth its work.
  "multus-daemon": [
    "--max-semi-space-size=2",
    "--expose-gc",
    "--no-opt",
  ],
  "multusctl": [],
};
