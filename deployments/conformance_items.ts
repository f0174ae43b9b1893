/**
 * What users of Multus know, item by item, and the tests that prove that it is
 * so here: the data of `CONFORMANCE.md`. Where this project does better on
 * purpose, the item says so. Tests are named as `deno test` names them.
 */

/** One thing that users know. */
export interface ConformanceItem {
  /** A key, flag, field, endpoint, file, event or metric; or a rule. */
  readonly item: string;
  /** Names of the tests; all of them must pass. */
  readonly tests: readonly string[];
}

/** Items that belong together. */
export interface ConformanceSection {
  /** Its heading. */
  readonly title: string;
  /** Its items, in the order of the guide. */
  readonly items: readonly ConformanceItem[];
}

/** Keys whose reading is proved by a test of the same form for each. */
function keyTest(key: string): string {
  return `mergeConf() takes ${key} from the shim, in any case, and lets the daemon override it`;
}

function daemonKeyTest(key: string): string {
  return `parseDaemonConf() takes ${key}`;
}

function flagTest(flag: string, key: string): string {
  return `parseDaemonFlags() takes -${flag} for ${key}, with one dash or two`;
}

/** A key of both configurations, with the tests of what it does. */
function key(name: string, ...tests: readonly string[]): ConformanceItem {
  return { item: `\`${name}\``, tests: [keyTest(name), ...tests] };
}

/** A key of the daemon's configuration. */
function daemonKey(name: string, ...tests: readonly string[]): ConformanceItem {
  return { item: `\`${name}\``, tests: [daemonKeyTest(name), ...tests] };
}

function flag(
  name: string,
  keyName: string,
  ...tests: readonly string[]
): ConformanceItem {
  return {
    item: `\`${name}\` (\`${keyName}\`)`,
    tests: [flagTest(name, keyName), ...tests],
  };
}

function item(text: string, ...tests: readonly string[]): ConformanceItem {
  return { item: text, tests };
}

const FOUR_WAYS =
  "clusterNetwork is found in four ways, and makes delegates void";
const DEFAULT_NETWORKS =
  "defaultNetworks are found in four ways, for pods outside systemNamespaces, before the pod's own";
const ISOLATION =
  "namespaceIsolation keeps pods to their own namespace and the global ones";
const DEFAULT_NETWORK =
  "the default-network annotation replaces the default network";
const AUXILIARY =
  "auxiliaryCNIChainName runs one more chain when its directory holds a plugin";
const INDICATOR =
  "readinessindicatorfile is waited for, and named when it does not come";
const RUNTIME_CONFIG =
  "runtimeConfig reaches the default network, by its capabilities, and no other";
const SHIM_KUBECONFIG = "credentials come from the shim's kubeconfig";
const RETRY_DELETE =
  "retryDeleteOnError gives a delegate's failure to the runtime; without it, the daemon tries again";
const CERTIFICATE =
  "perNodeCertificate gets a certificate for the node and works with it alone";
const FLAGS = "flags override the daemon's file, with one dash or two";
const HELP =
  "--help and --version print and end well; what is not understood ends with 2";
const BAD_KEYS =
  "a wrong value of any key is one line that names file, place, what was expected and what stands there";
const BAD_FIELDS =
  "a wrong value of any field of the annotation is refused before anything runs, with its place";
const DAEMON_EXAMPLES =
  "every configuration of the daemon in the examples does what it says";
const SHIM_EXAMPLES =
  "every configuration of the shim in the examples does what it says";
const BOTH_FORMS =
  "ADD, CHECK and DEL do what both forms of the annotation ask for";
const FIELDS = "parseNetworks() reads each field of the JSON form";
const ADD_ORDER =
  "selectDelegates() lists the networks of a pod in the order of ADD";
const CLAIMS = "devices of resource claims are taken like the kubelet's";
const DEVICE_INFO =
  "device information goes to the plugin, and from the plugin into the status";
const DEVICE_ORDER =
  "two containers with two devices each: attachments take them in one order, always, and DEL has them again";
const DEVICES_PUT =
  "devices are put into single configurations and into each plugin of a list, by resource";
const SHARED_ANSWER =
  "concurrent ADDs share the kubelet's answer, also of an old kubelet with a long list and a rate limit";
const CHECKPOINT =
  "without the kubelet's socket its checkpoint is read, and without both ADD says so";
const ROUTE_MOVES =
  "ADD moves the default route where the pod wants it, and everybody says so";
const ROUTE_KINDS =
  "the request default-route of one family, of an empty list, and of none";
const TWO_ROUTES =
  "two requests for the default route of one family fail before anything runs";
const INTERFACE_NUMBERS =
  "assignInterfaceNames() numbers by the place in the whole list";
const DEVICE_REQUESTS =
  "the requests infiniband-guid and deviceID reach the plugin (scripted: no such hardware)";
const CAPABILITY_ARGS =
  "buildCapabilityArgs() gives each attachment what was asked for it";
const CNI_ARGS =
  "buildCniArgs() puts the pod first, then the runtime's others, then the requests";
const EVENTS = "ADD tells the pod what it got by events";
const UNDO = "ADD undoes what it began when a network fails";
const RESTART = "a daemon writes the statuses that the one before it did not";
const PATCH = "ADD asks the API server for nothing and writes one status";
const ROUTES = "createHandler() answers each route";
const HOTPLUG_ADD =
  "delegate ADD makes an interface that is the pod's from then on";
const GO_WRITES = "formatRecord() writes what the Go daemon reads";
const GO_READS = "parseRecord() reads a record of the Go daemon";
const AUTO_WRITES =
  "renderMultusConf() writes what users of the Go Multus find";
const LOG_FILE = "write() puts the file aside before it becomes too large";

/** Everything of the user's guide, in its order. */
export const CONFORMANCE: readonly ConformanceSection[] = [
  {
    title: "Multus CNI configuration (`00-multus.conf`)",
    items: [
      key("name"),
      item(
        "`type`: `multus-shim`, also `multus`",
        FOUR_WAYS,
        "toCandidate() finds Multus wherever it stands in a configuration",
        BAD_KEYS,
      ),
      key(
        "cniVersion",
        "ADD answers in the version of the runtime's configuration, whatever the plugins speak",
      ),
      key(
        "confDir",
        FOUR_WAYS,
        "ADD of a NAD without configuration takes the file of its name",
      ),
      key("cniDir", BOTH_FORMS),
      key(
        "binDir",
        "findInPath() takes the first regular executable file of the directories",
      ),
      key(
        "kubeconfig",
        SHIM_KUBECONFIG,
        "credentials come from the pod that the daemon runs in",
        "without any credentials delegates and files work",
      ),
      key("clusterNetwork", FOUR_WAYS, SHIM_EXAMPLES),
      key("defaultNetworks", DEFAULT_NETWORKS),
      key(
        "delegates",
        "delegates are attached in their order when there is no clusterNetwork",
        "mergeConf() keeps delegates and runtimeConfig byte for byte",
      ),
      item(
        "one of `clusterNetwork` and `delegates` must be there",
        "assertDefaultNetwork() wants clusterNetwork or delegates",
        "ADD refuses a configuration that names no network to use when",
      ),
      key("systemNamespaces", DEFAULT_NETWORKS),
      key("multusNamespace", DEFAULT_NETWORK, FOUR_WAYS),
      key("namespaceIsolation", ISOLATION),
      key("globalNamespaces", ISOLATION),
      key(
        "readinessindicatorfile",
        INDICATOR,
        "startAutoConfig() is not ready without the readiness indicator, and changes no file",
      ),
      key(
        "capabilities",
        RUNTIME_CONFIG,
        "renderMultusConf() merges configured capabilities, one that is false stays off",
      ),
      key("runtimeConfig", RUNTIME_CONFIG),
      key("retryDeleteOnError", RETRY_DELETE),
      key(
        "auxiliaryCNIChainName",
        AUXILIARY,
        "loadAuxiliaryChain() puts passthru before the directory's plugins, in lexical order, to the byte",
        "withPassthru() hands on prevResult in every version",
      ),
      key("logFile", LOG_FILE, DAEMON_EXAMPLES),
      key(
        "logLevel",
        "createLog() says what its level includes, and setLevel() changes it",
        "mergeConf() takes levels of other programs for the nearest one, and says so",
      ),
      key(
        "logToStderr",
        "createLog() writes to stderr, and needs no permission for it",
      ),
      key(
        "logOptions",
        LOG_FILE,
        "openLogFile() keeps the newest old files, those of the Go daemon among them",
        "openLogFile() removes old files of many days",
        "write() has old files compressed when asked to",
      ),
      key(
        "daemonSocketDir",
        "shim prints the result of an ADD with no more than its grants",
      ),
    ],
  },
  {
    title: "Daemon configuration",
    items: [
      item(
        "read from `--config`, default `/etc/cni/net.d/multus.d/daemon-config.json`",
        "loadDaemonConf() reads the file, and does without only if it was not asked for",
        "DEFAULT_DAEMON_CONFIG is where the Go daemon looks",
      ),
      item(
        "overrides the shim's configuration key by key",
        "mergeConf() passes unknown keys on, the daemon's over the shim's",
      ),
      daemonKey(
        "chrootDir",
        "run() runs a list's plugins inside the host's root",
      ),
      daemonKey(
        "socketDir",
        FLAGS,
        "serveSocket() answers, with directory and socket for root alone",
      ),
      daemonKey("metricsPort", "the daemon's metrics", DAEMON_EXAMPLES),
      daemonKey(
        "connectionLimit",
        "defaultAddSlots() goes by processors, memory and connectionLimit",
      ),
      daemonKey(
        "multusConfigFile",
        "startAutoConfig() writes the configuration around the first one that is there",
        "startAutoConfig() copies a file when it is whole, and whenever it changes",
        "startAutoConfig() without multusConfigFile writes nothing and is ready",
      ),
      daemonKey(
        "multusAutoconfigDir",
        "startAutoConfig() waits for directories that are not there yet",
      ),
      daemonKey("cniConfigDir", DAEMON_EXAMPLES),
      daemonKey(
        "multusMasterCNI",
        "startAutoConfig() with a pinned file takes that one or none",
      ),
      daemonKey(
        "forceCNIVersion",
        "renderMultusConf() chooses the name and version that runtimes are to see",
      ),
      daemonKey(
        "overrideNetworkName",
        "renderMultusConf() chooses the name and version that runtimes are to see",
      ),
      daemonKey(
        "perNodeCertificate",
        CERTIFICATE,
        "perNodeCertificate that is not approved leaves the daemon serving, and not ready",
        "startNodeCertificate() gets a certificate for the node, and a kubeconfig that shows it",
        "startNodeCertificate() makes a pair that a server which verifies it accepts",
        "startNodeCertificate() gets a new pair for one that cannot be used",
        "startNodeCertificate() renews with the certificate itself, and uses the old one until then",
        "startNodeCertificate() waits for approval, and says why there is none",
      ),
      daemonKey("enablePprof"),
      item(
        "unknown keys are kept and passed on",
        "mergeConf() passes unknown keys on, the daemon's over the shim's",
      ),
      item(
        "a wrong type is one line: file, path, expected, found",
        BAD_KEYS,
        "parseDaemonConf() says in one line what is wrong with a key, and in which file",
      ),
    ],
  },
  {
    title: "Keys that only this daemon knows",
    items: [
      daemonKey(
        "cleanupConfigOnExit",
        "startAutoConfig() leaves its file when it stops, unless it is to clean up",
      ),
      daemonKey("libexecDir", ROUTE_MOVES),
      daemonKey("metricsBindAddress"),
      daemonKey("podResourcesSocket", SHARED_ANSWER),
      daemonKey("deviceCheckpoint", CHECKPOINT),
      daemonKey("deviceInfoDir", DEVICE_INFO),
      item(
        "`serviceAccountDir`",
        "credentials come from the pod that the daemon runs in",
      ),
      daemonKey("logFormat", "createLog() writes lines of JSON when asked to"),
      daemonKey(
        "addConcurrency",
        "run() does ADDs in order of arrival, no more at once than there are places",
      ),
      daemonKey(
        "requestTimeoutSeconds",
        "run() gives up at the deadline and says what for",
      ),
      daemonKey(
        "pluginTimeoutSeconds",
        "ADD ends a plugin that hangs, with all its children",
      ),
      daemonKey(
        "shutdownTimeoutSeconds",
        "a daemon that is told to end does so in time, whatever hangs",
      ),
    ],
  },
  {
    title: "Daemon flags",
    items: [
      item(
        "`config`",
        "parseDaemonFlags() takes the configuration's path in every form",
      ),
      item("`version`", HELP, "parseDaemonFlags() prints the version"),
      item(
        "`help`",
        HELP,
        "parseDaemonFlags() prints a help that names every flag and its key",
      ),
      item(
        "one dash or two, `-config=x`, `--config x`; Go's words for true and false",
        FLAGS,
        "parseDaemonFlags() reads Go's words for true and false",
      ),
      flag("metricsPort", "metricsPort"),
      flag("cni-conf-dir", "cniConfigDir"),
      flag("cni-version", "cniVersion"),
      flag("multus-conf-file", "multusConfigFile"),
      flag("multus-autoconfig-dir", "multusAutoconfigDir"),
      flag("multus-master-cni-file-name", "multusMasterCNI"),
      flag("multus-log-level", "logLevel", FLAGS),
      flag("multus-log-file", "logFile"),
      flag("multus-log-to-stderr", "logToStderr", FLAGS),
      flag("namespace-isolation", "namespaceIsolation", FLAGS),
      flag("global-namespaces", "globalNamespaces", FLAGS),
      flag("readiness-indicator-file", "readinessindicatorfile", FLAGS),
      flag("override-network-name", "overrideNetworkName"),
      flag("force-cni-version", "forceCNIVersion"),
      flag("socket-dir", "socketDir", FLAGS),
    ],
  },
  {
    title: "Generated `00-multus.conf`",
    items: [
      item(
        "the lexically first file that is not Multus' own",
        "chooseConf() takes the lexically first that can be used",
        DAEMON_EXAMPLES,
      ),
      item(
        "capabilities merged, name, type, mode 0600",
        AUTO_WRITES,
        "startAutoConfig() writes the configuration around the first one that is there",
      ),
      item(
        "watched: a change writes it anew",
        "startAutoConfig() follows the files within 2 s, however they come and go",
        "startAutoConfig() rewrites the configuration when the default network can do more",
      ),
      item(
        "better: chosen again whenever the directory changes",
        "startAutoConfig() chooses as the model does, whatever is done to the directory",
      ),
      item(
        "better: never a type, or nested type, of Multus",
        "toCandidate() finds Multus wherever it stands in a configuration",
      ),
      item(
        "better: a pinned but missing file means not ready",
        "chooseConf() never takes the next best of a pinned file",
      ),
      item(
        "better: only a whole, validated file is renamed into place",
        "startAutoConfig() never shows a part of a configuration while the default network is torn",
      ),
      item(
        "better: the file stays when the daemon stops",
        "startAutoConfig() leaves its file when it stops, unless it is to clean up",
      ),
      item(
        "better: renamed or out-sorted is noticed within 2 s, and repaired with back-off",
        "startAutoConfig() notices within 2 s what another agent does, and puts it right",
        "startAutoConfig() repairs ever more rarely, and says who is at it",
      ),
    ],
  },
  {
    title: "The annotation `k8s.v1.cni.cncf.io/networks`",
    items: [
      item(
        "text form `[<namespace>/]<name>[@<ifname>]`",
        BOTH_FORMS,
        "parseNetworks() reads text and JSON annotations",
      ),
      item("JSON form", BOTH_FORMS, FIELDS),
      item("`name`, `namespace`", BOTH_FORMS, FIELDS),
      item("`ips`", "the request ips gives these addresses", FIELDS),
      item("`mac`", "the request mac gives this hardware address", FIELDS),
      item("`infiniband-guid`", DEVICE_REQUESTS, FIELDS),
      item(
        "`interface`, `interfaceRequest`",
        "the request interface gives this name",
        FIELDS,
      ),
      item(
        "`portMappings`",
        "the request portMappings leads ports of the host to the pod",
        FIELDS,
      ),
      item(
        "`bandwidth`",
        "the request bandwidth limits the pod's traffic",
        FIELDS,
      ),
      item(
        "`cni-args`",
        "the request cni-args reaches each plugin of a list",
        FIELDS,
      ),
      item("`default-route`", ROUTE_KINDS, ROUTE_MOVES, FIELDS),
      item("`deviceID`", DEVICE_REQUESTS, FIELDS),
      item("`ipam-claim-reference`", FIELDS),
      item("unknown keys are ignored", FIELDS),
      item(
        "`v1.multus-cni.io/default-network`",
        DEFAULT_NETWORK,
        "parseDefaultNetwork() refuses all but one network",
      ),
      item(
        "better: every message names the place",
        BAD_FIELDS,
        "parseNetworks() names the place when a field is wrong",
      ),
      item(
        "better: interface names are unique in the pod",
        "assignInterfaceNames() refuses a name that is taken, at the request",
      ),
      item(
        "better: a warning for a request that no plugin hears",
        "listWarnings() tells what nobody will hear, with its place",
      ),
    ],
  },
  {
    title: "From selections to delegates",
    items: [
      item(
        "interface names: CNI_IFNAME, `interface`, else `net<i>`",
        INTERFACE_NUMBERS,
        BOTH_FORMS,
      ),
      item(
        "NAD with `spec.config`; `name` put in when missing",
        BOTH_FORMS,
        "parseConf() puts the default name in when there is none",
      ),
      item(
        "NAD without: the file of its name in `confDir`",
        "ADD of a NAD without configuration takes the file of its name",
      ),
      item(
        "annotation `k8s.v1.cni.cncf.io/resourceName`: `deviceID` and `pciBusID` in each plugin",
        DEVICES_PUT,
      ),
      item(
        "`cni-args` merged into `args.cni` of each plugin",
        "the request cni-args reaches each plugin of a list",
        "withCniArgs() merges into args.cni of each plugin",
      ),
      item(
        "capability arguments for others than the default network",
        CAPABILITY_ARGS,
        RUNTIME_CONFIG,
      ),
      item(
        "`MAC=` and `IP=` in CNI_ARGS",
        CNI_ARGS,
        "the request mac gives this hardware address",
      ),
      item("CNI_ARGS and their order", CNI_ARGS),
      item(
        "order: default, `defaultNetworks`, the annotation's, the auxiliary chain",
        ADD_ORDER,
        DEFAULT_NETWORKS,
        AUXILIARY,
      ),
      item("a failed ADD undoes in reverse what was begun", UNDO),
      item("the result is the default network's", BOTH_FORMS),
      item(
        "real plugins: tuning, portmap, bandwidth, bridge, macvlan, static, host-local, sbr, firewall",
        "networks with sbr, firewall and tuning do in the kernel what they say",
        "the request portMappings leads ports of the host to the pod",
        "the request bandwidth limits the pod's traffic",
      ),
      item(
        "ipvlan, vlan, vrf; scripted where the kernel has none",
        "networks on ipvlan, vlan and vrf attach",
      ),
    ],
  },
  {
    title: "Default route",
    items: [
      item(
        "the one that asked owns it, all others lose it, per family",
        ROUTE_MOVES,
        ROUTE_KINDS,
      ),
      item(
        "two that ask for one family: an error before anything runs",
        TWO_ROUTES,
      ),
      item(
        "empty list: the plugin's own stays, others lose theirs",
        ROUTE_KINDS,
        "settleDefaultRoutes() takes away only where an empty list keeps something",
      ),
      item(
        "better: result, cache, status and kernel agree",
        ROUTE_MOVES,
        ROUTE_KINDS,
      ),
    ],
  },
  {
    title: "The annotation `k8s.v1.cni.cncf.io/network-status`",
    items: [
      item(
        "one element for each interface in the pod, keys as known",
        BOTH_FORMS,
        "buildNetworkStatus() has one element for each interface in the pod",
        "formatNetworkStatus() writes the layout that people know",
      ),
      item(
        "`default` true exactly once",
        "buildNetworkStatus() marks the default network's interface whose address has a gateway, else its first",
      ),
      item(
        "`ips` on the interface that they index, else the last",
        "buildNetworkStatus() puts addresses on the interface that they index, else on the last",
      ),
      item(
        "`dns`, `mtu`, `mac`",
        "buildNetworkStatus() describes a bridge, in the order of keys that people know",
      ),
      item("`device-info`", DEVICE_INFO),
      item(
        "better: `gateway` is never `<nil>`",
        "buildNetworkStatus() has the gateways of default routes and never one that is none",
      ),
      item(
        "better: one merge patch of one annotation, with the pod's UID, off the path of ADD",
        PATCH,
      ),
      item(
        "better: tried again until it is there; rebuilt after a restart",
        RESTART,
        "ADD of a pod that is known goes on while the API server is down, and its status follows",
      ),
    ],
  },
  {
    title: "Shim and daemon",
    items: [
      item(
        "directory 0700, socket 0600",
        "serveSocket() answers, with directory and socket for root alone",
      ),
      item("`POST /cni`", ROUTES, BOTH_FORMS),
      item(
        "failure: 400 with the CNI error",
        "createHandler() answers a CNI error with code 107",
        "run() keeps the details of the daemon's error",
      ),
      item(
        "`POST /delegate` ADD, with `interfaceAttributes`",
        HOTPLUG_ADD,
        "delegate ADD hands on addresses, hardware address and cni-args",
      ),
      item(
        "`POST /delegate` DEL",
        "delegate DEL takes the interface away, also after a restart, and the pod goes on",
      ),
      item(
        "`POST /delegate` CHECK",
        "delegate CHECK notices a removed interface, and one that was never there",
      ),
      item(
        "`POST /delegate` STATUS",
        "delegate STATUS asks the delegate's plugins",
      ),
      item("`GET` or `POST` `/healthz`", ROUTES),
      item(
        "`GET` or `POST` `/readyz`",
        ROUTES,
        "createHandler() says what is not ready",
      ),
      item(
        "skew: an older daemon's results are read",
        "run() reads the result of a daemon that speaks an older version",
      ),
      item(
        "STATUS",
        "STATUS is quiet when an ADD would be taken",
        "STATUS says why an ADD would not be taken",
      ),
      item(
        "GC",
        "GC undoes what is not valid, and tells the plugins what is",
        "GC does nothing when a record cannot be read",
      ),
      item(
        "`passthru`",
        "shim is passthru when installed under that name",
        "run() hands on prevResult when it is passthru",
      ),
    ],
  },
  {
    title: "State under `cniDir`",
    items: [
      item(
        "`<cniDir>/<containerID>`: read as the Go daemon writes it",
        GO_READS,
      ),
      item("written so that the Go daemon can read it", GO_WRITES),
      item(
        "`results/`: libcni's cache",
        BOTH_FORMS,
        "write() makes the file that libcni reads",
      ),
    ],
  },
  {
    title: "Devices",
    items: [
      item(
        "pod-resources `List` and `Get`, messages up to 16 MB",
        SHARED_ANSWER,
        "devicesOf() tells each container's devices whichever way the kubelet answers",
        "devicesOf() refuses a list of more than 16 MB at once",
      ),
      item(
        "an old kubelet without `Get`, a rate limit, 2 MB answers",
        SHARED_ANSWER,
        "devicesOf() asks again until the rate limit lets it through",
        "devicesOf() reads a list of 2 MB",
      ),
      item(
        "one call shared by concurrent ADDs",
        SHARED_ANSWER,
        "devicesOf() serves 100 pods with one call",
      ),
      item("checkpoint without the socket", CHECKPOINT),
      item(
        "two containers with two devices each: always the same order, and the same at DEL",
        DEVICE_ORDER,
      ),
      item("ResourceClaims, ResourceSlices, extended resources", CLAIMS),
      item("device information files, both ways, removed at DEL", DEVICE_INFO),
    ],
  },
  {
    title: "Events and metrics",
    items: [
      item("`AddedInterface`", EVENTS),
      item(
        "`NoNetworkFound`",
        "ADD tells the pod by an event when a network is not found",
      ),
      item(
        "warnings: request unheard, too few devices",
        "a pod with too few devices is told by an event, and attached all the same",
        "selectDelegates() warns of what has no effect, with network and interface",
      ),
      item(
        "`multus_server_request_total{handler,code,method}` on `/metrics`",
        "the daemon's metrics",
        DAEMON_EXAMPLES,
      ),
    ],
  },
  {
    title: "Paths of distributions",
    items: [
      item(
        "kubeadm and most, k3s, rke2",
        "detectLayout() finds the directories of a node and says why",
        "the manifest for kubeadm, rke2, k0s, Talos and most others installs, gives pods their networks, and goes without a trace",
        "the manifest for k3s with flannel installs, gives pods their networks, and goes without a trace",
      ),
    ],
  },
  {
    title: "Examples",
    items: [
      item("manifests", "every manifest of the examples does what it says"),
      item("configurations", SHIM_EXAMPLES, DAEMON_EXAMPLES),
      item(
        "all of them are run",
        "every file of the examples is run by a test, and stands in their README",
      ),
    ],
  },
];
