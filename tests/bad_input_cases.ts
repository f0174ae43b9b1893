/**
 * What can be wrong, and the words in which it is said: tables for
 * `bad_input_test.ts`. The texts are what a person reads in the pod's events:
 * cause, network and interface, in one line.
 */

/** One thing that is wrong, and what the runtime is told. */
export interface BadInput {
  readonly title: string;
  /** ADD, unless said otherwise. */
  readonly command?: string;
  /** Variables of the call that are changed; `undefined` takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The text on stdin, or members that are changed in the configuration. */
  readonly stdin?: string | Readonly<Record<string, unknown>>;
  /** The pod's networks: the annotation's text, or what it is as JSON. */
  readonly networks?: string | readonly unknown[];
  /** Other annotations of the pod. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Definitions of namespace default, by name: a text, or what it is as JSON. */
  readonly definitions?: Readonly<
    Record<string, string | Readonly<Record<string, unknown>>>
  >;
  /** What the plugin `bad` does on ADD; the network `bad` is its. */
  readonly plugin?: string;
  readonly code: number;
  /** The whole message; paths of the node stand as $CONF, $BIN, $NODE, the netns as $NETNS, the card as $UPLINK. */
  readonly msg: string | RegExp;
  readonly details?: string;
  /** The version of the error; that of the configuration unless said otherwise. */
  readonly cniVersion?: string;
}

const LONG_NAME = "x".repeat(16);
const NETNS = "/var/run/netns/no-such-netns";

/** What the runtime does wrong. */
export const RUNTIME_CASES: readonly BadInput[] = [
  {
    title: "stdin is cut off",
    stdin: '{"cniVersion":"1.0.0","name":"x',
    code: 6,
    msg: "Network configuration on stdin is not JSON at position 31",
    cniVersion: "1.1.0",
  },
  {
    title: "stdin is empty",
    stdin: "",
    code: 6,
    msg: "Network configuration is missing: stdin is empty",
    cniVersion: "1.1.0",
  },
  {
    title: "stdin is a list",
    stdin: "[]",
    code: 6,
    msg: "Network configuration on stdin is not a JSON object",
    cniVersion: "1.1.0",
  },
  {
    title: "stdin is too large",
    stdin: `{"a":"${"a".repeat(1024 * 1024)}"}`,
    code: 7,
    msg: "Network configuration is larger than 1048576 bytes",
    cniVersion: "1.1.0",
  },
  {
    title: "no CNI_COMMAND",
    env: { CNI_COMMAND: undefined },
    code: 4,
    msg: "Invalid environment: CNI_COMMAND is missing",
    cniVersion: "1.1.0",
  },
  {
    title: "an unknown CNI_COMMAND",
    command: "ATTACH",
    code: 4,
    msg: 'Invalid environment: CNI_COMMAND is unknown: "ATTACH"',
    cniVersion: "1.1.0",
  },
  {
    title: "no CNI_CONTAINERID",
    env: { CNI_CONTAINERID: undefined },
    code: 4,
    msg: "Invalid environment for ADD: CNI_CONTAINERID is missing",
    cniVersion: "1.1.0",
  },
  {
    title: "no CNI_NETNS",
    env: { CNI_NETNS: "" },
    code: 4,
    msg: "Invalid environment for ADD: CNI_NETNS is missing",
    cniVersion: "1.1.0",
  },
  {
    title: "no CNI_IFNAME",
    env: { CNI_IFNAME: undefined },
    code: 4,
    msg: "Invalid environment for ADD: CNI_IFNAME is missing",
    cniVersion: "1.1.0",
  },
  {
    title: "no CNI_PATH",
    env: { CNI_PATH: undefined },
    code: 4,
    msg: "Invalid environment for ADD: CNI_PATH is missing",
    cniVersion: "1.1.0",
  },
  {
    title: "nothing but CNI_COMMAND",
    command: "CHECK",
    env: {
      CNI_CONTAINERID: undefined,
      CNI_NETNS: undefined,
      CNI_IFNAME: undefined,
      CNI_PATH: undefined,
    },
    code: 4,
    msg:
      "Invalid environment for CHECK: CNI_CONTAINERID is missing, CNI_NETNS is missing, CNI_IFNAME is missing, CNI_PATH is missing",
    cniVersion: "1.1.0",
  },
  {
    title: "DEL without a container",
    command: "DEL",
    env: { CNI_CONTAINERID: undefined },
    code: 4,
    msg: "Invalid environment for DEL: CNI_CONTAINERID is missing",
    cniVersion: "1.1.0",
  },
  {
    title: "a container ID that is a path",
    env: { CNI_CONTAINERID: "../../etc/passwd" },
    code: 4,
    msg:
      'Invalid environment for ADD: CNI_CONTAINERID is invalid: "../../etc/passwd"',
    cniVersion: "1.1.0",
  },
  {
    title: "an interface name that is too long",
    env: { CNI_IFNAME: LONG_NAME },
    code: 4,
    msg: `Invalid environment for ADD: CNI_IFNAME is invalid: "${LONG_NAME}"`,
    cniVersion: "1.1.0",
  },
  {
    title: "a version that nobody knows",
    stdin: { cniVersion: "2.0.0" },
    code: 1,
    msg:
      'Unsupported CNI version (known are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0): "2.0.0"',
    cniVersion: "1.1.0",
  },
  {
    title: "a version that is a number",
    stdin: { cniVersion: 1 },
    code: 7,
    msg: "cniVersion of the network configuration is not text: 1",
    cniVersion: "1.1.0",
  },
  {
    title: "CHECK before there was CHECK",
    command: "CHECK",
    stdin: { cniVersion: "0.3.1" },
    code: 1,
    msg: 'CHECK needs a configuration of CNI version 0.4.0 or newer: "0.3.1"',
    cniVersion: "0.3.1",
  },
  {
    title: "STATUS before there was STATUS",
    command: "STATUS",
    code: 1,
    msg: 'STATUS needs a configuration of CNI version 1.1.0 or newer: "1.0.0"',
  },
  {
    title: "GC before there was GC",
    command: "GC",
    code: 1,
    msg: 'GC needs a configuration of CNI version 1.1.0 or newer: "1.0.0"',
  },
  {
    title: "GC that does not say what is valid",
    command: "GC",
    stdin: { cniVersion: "1.1.0" },
    code: 7,
    msg: "GC needs the list of valid attachments: cni.dev/valid-attachments",
    cniVersion: "1.1.0",
  },
  {
    title: "CNI_ARGS that are no pairs",
    env: { CNI_ARGS: "K8S_POD_NAMESPACE" },
    code: 4,
    msg:
      'CNI_ARGS must be KEY=VALUE with semicolons between: "K8S_POD_NAMESPACE"',
  },
  {
    title: "CNI_ARGS without a pod",
    env: { CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default" },
    code: 4,
    msg: "CNI_ARGS names no pod: K8S_POD_NAMESPACE and K8S_POD_NAME are needed",
  },
  {
    title: "a pod that is not there",
    env: { CNI_ARGS: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=nobody" },
    code: 3,
    msg: "Pod does not exist: default/nobody",
  },
  {
    title: "a pod that is another one now",
    env: {
      CNI_ARGS:
        "K8S_POD_NAMESPACE=default;K8S_POD_NAME=$POD;K8S_POD_UID=an-older-uid",
    },
    code: 3,
    msg: /^Pod default\/pod-\d+ is another one than an-older-uid: [0-9a-f-]+$/,
  },
  {
    title: "CNI_PATH that the daemon may not look into",
    env: { CNI_PATH: "/nowhere/bin:relative" },
    code: 7,
    msg:
      'Cannot attach "cluster-net" as eth0: plugin bridge is not installed: no such executable file in $OWN, /nowhere/bin, relative (not granted to this process: /nowhere/bin, relative)',
  },
  {
    title: "a netns that is not there",
    env: { CNI_NETNS: NETNS },
    code: 999,
    msg:
      `Cannot attach "cluster-net" as eth0: plugin bridge: failed to open netns "${NETNS}": failed to Statfs "${NETNS}": no such file or directory`,
  },
];

/** What the operator did wrong in the Multus configuration. */
export const CONFIGURATION_CASES: readonly BadInput[] = [
  {
    title: "a key of the wrong type",
    stdin: { defaultNetworks: "macvlan" },
    code: 7,
    msg:
      'Multus CNI configuration: defaultNetworks: expected a list of strings, found "macvlan"',
  },
  {
    title: "an element of the wrong type",
    stdin: { delegates: [{ name: "x", type: "bridge" }, "bridge"] },
    code: 7,
    msg:
      'Multus CNI configuration: delegates[1]: expected an object, found "bridge"',
  },
  {
    title: "no default network",
    stdin: { clusterNetwork: undefined },
    code: 7,
    msg:
      'Multus CNI configuration: there is no default network: "clusterNetwork" or "delegates" is needed',
  },
  {
    title: "a default network that is neither network, name nor file",
    stdin: { clusterNetwork: "flannel" },
    code: 7,
    msg:
      'clusterNetwork: no NetworkAttachmentDefinition "kube-system/flannel": No valid configuration in $CONF has the name: "flannel"',
  },
  {
    title: "a default network whose file is gone",
    stdin: { clusterNetwork: "$CNI/20-gone.conflist" },
    code: 5,
    msg:
      "clusterNetwork: Cannot read configuration file $CNI/20-gone.conflist: No such file or directory",
  },
  {
    title: "a default network whose directory is empty",
    stdin: { clusterNetwork: "$NODE/devinfo" },
    code: 7,
    msg: 'clusterNetwork: no CNI file in directory "$NODE/devinfo"',
  },
  {
    title: "a default network that is no path and no name",
    stdin: { clusterNetwork: "a/b" },
    code: 7,
    msg:
      'clusterNetwork must be the name of a network or an absolute path: "a/b"',
  },
  {
    title: "a default network that is Multus itself",
    stdin: {
      clusterNetwork: undefined,
      delegates: [{ cniVersion: "1.0.0", name: "x", type: "multus-shim" }],
    },
    code: 7,
    msg:
      'The default network leads back to Multus itself and cannot be a delegate: type "multus-shim"',
  },
  {
    title: "a delegate without name",
    stdin: {
      clusterNetwork: undefined,
      delegates: [{ cniVersion: "1.0.0", type: "bridge" }],
    },
    code: 7,
    msg: 'delegates[0]: "name" of the network is missing',
  },
  {
    title: "a further default network that is not there",
    stdin: { defaultNetworks: ["storage"] },
    code: 7,
    msg:
      'defaultNetworks[0]: no NetworkAttachmentDefinition "kube-system/storage": No valid configuration in $CONF has the name: "storage"',
  },
  {
    title: "a socket that the shim may not use",
    stdin: { daemonSocketDir: "/run/elsewhere" },
    code: 7,
    msg:
      "This shim was installed for another socket than /run/elsewhere/multus.sock: set daemonSocketDir to its directory, or install it again",
  },
  {
    title: "a socket directory that is no path",
    stdin: { daemonSocketDir: "run" },
    code: 7,
    msg:
      'daemonSocketDir of the network configuration is not an absolute path: "run"',
    cniVersion: "1.1.0",
  },
];

/** What the pod's author did wrong. */
export const ANNOTATION_CASES: readonly BadInput[] = [
  {
    title: "too many slashes",
    networks: "default/macvlan/net1",
    code: 7,
    msg:
      'networks[0]: expected [<namespace>/]<name>[@<interface>], found "default/macvlan/net1"',
  },
  {
    title: "an empty item",
    networks: "macvlan,,macvlan",
    code: 7,
    msg: 'networks[1]: expected [<namespace>/]<name>[@<interface>], found ""',
  },
  {
    title: "a name in capitals",
    networks: "macvlan, MacVlan",
    code: 7,
    msg:
      'networks[1]: expected the name of a network (a-z, 0-9, "-"), found "MacVlan"',
  },
  {
    title: "a namespace that is none",
    networks: "kube_system/macvlan",
    code: 7,
    msg:
      'networks[0]: expected a namespace (a-z, 0-9, "-"; up to 63 characters), found "kube_system"',
  },
  {
    title: "an interface name that is too long",
    networks: `macvlan@${LONG_NAME}`,
    code: 7,
    msg:
      `networks[0]: expected an interface name (1 to 15 bytes; no "/", ":" or white space), found "${LONG_NAME}"`,
  },
  {
    title: "JSON that is cut off",
    networks: '[{"name":"macvlan"',
    code: 7,
    msg: /^networks: not valid JSON: .*position 18/,
  },
  {
    title: "JSON that is no list",
    networks: '{"name":"macvlan"}',
    code: 7,
    msg: "networks: expected a list of objects, found an object",
  },
  {
    title: "a list of names",
    networks: '["macvlan"]',
    code: 7,
    msg: 'networks[0]: expected an object, found "macvlan"',
  },
  {
    title: "no name",
    networks: [{ name: "macvlan" }, { namespace: "default" }],
    code: 7,
    msg: "networks[1].name: is required",
  },
  {
    title: "an address that is none",
    networks: [{ name: "macvlan", ips: ["10.1.2.3/24", "10.1.2.300"] }],
    code: 7,
    msg: 'networks[0].ips[1]: expected an address or CIDR, found "10.1.2.300"',
  },
  {
    title: "addresses that are no list",
    networks: [{ name: "macvlan", ips: "10.1.2.3" }],
    code: 7,
    msg: 'networks[0].ips: expected a list, found "10.1.2.3"',
  },
  {
    title: "a hardware address that is none",
    networks: [{ name: "macvlan", mac: "02:00:00:00:00" }],
    code: 7,
    msg: 'networks[0].mac: expected a hardware address, found "02:00:00:00:00"',
  },
  {
    title: "a gateway that is none",
    networks: [{ name: "macvlan", "default-route": ["10.1.2.0/24"] }],
    code: 7,
    msg:
      'networks[0].default-route[0]: expected the address of a gateway, found "10.1.2.0/24"',
  },
  {
    title: "a bandwidth that is a text",
    networks: [{ name: "macvlan", bandwidth: { ingressRate: "1M" } }],
    code: 7,
    msg:
      /^networks\[0\]\.bandwidth\.ingressRate: expected a whole number from 0 to \d+, found "1M"$/,
  },
  {
    title: "a port that is none",
    networks: [{ name: "macvlan", portMappings: [{ hostPort: 80000 }] }],
    code: 7,
    msg:
      "networks[0].portMappings[0].hostPort: expected a whole number from 1 to 65535, found 80000",
  },
  {
    title: "cni-args that are no object",
    networks: [{ name: "macvlan", "cni-args": ["a"] }],
    code: 7,
    msg: "networks[0].cni-args: expected an object, found a list",
  },
  {
    title: "one interface for two networks",
    networks: "macvlan@left, macvlan@left",
    code: 7,
    msg:
      'networks[1].interface: the interface name "left" is already that of networks[0], network "default/macvlan"',
  },
  {
    title: "the default network's interface",
    networks: [{ name: "macvlan", interface: "eth0" }],
    code: 7,
    msg:
      'networks[0].interface: the interface name "eth0" is already that of the default network',
  },
  {
    title: "the loopback interface",
    networks: "macvlan@lo",
    code: 7,
    msg:
      'networks[0].interface: the interface name "lo" is already that of the loopback interface',
  },
  {
    title: "two networks that want the default route",
    networks: [
      { name: "macvlan", "default-route": ["10.1.2.1"] },
      { name: "macvlan", "default-route": ["fd00::1", "10.1.2.1"] },
    ],
    code: 7,
    msg:
      "networks[1].default-route: the IPv4 default route is already asked for by networks[0]",
  },
  {
    title: "a gateway that cannot be reached",
    networks: [{ name: "macvlan", "default-route": ["203.0.113.77"] }],
    code: 5,
    msg:
      'Cannot attach "default/macvlan" as net1: IPv4 default route of net1 could not be set in $NETNS: Nexthop has invalid gateway.',
  },
  {
    title: "a network that is not there",
    networks: "macvlan, macvlann@fast",
    code: 7,
    msg:
      'Cannot find NetworkAttachmentDefinition "default/macvlann" asked for by networks[1] as fast',
  },
  {
    title: "two default networks",
    annotations: { "v1.multus-cni.io/default-network": "a,b" },
    code: 7,
    msg: "default-network: expected one network, found 2",
  },
  {
    title: "a default network that is not there",
    annotations: { "v1.multus-cni.io/default-network": "nowhere" },
    code: 7,
    msg:
      'Cannot find NetworkAttachmentDefinition "kube-system/nowhere" asked for by default-network[0] as the default network',
  },
  {
    title: "a network of another namespace, with namespace isolation",
    stdin: { namespaceIsolation: true },
    networks: "lab/secret",
    code: 7,
    msg:
      'networks[0]: a pod of namespace "default" may not use NetworkAttachmentDefinition "secret" of namespace "lab": namespaceIsolation is on, and globalNamespaces are "default"',
  },
];

/** `conf` as the network `bad`, asked for second. */
function definition(
  config: string | Readonly<Record<string, unknown>>,
): Pick<BadInput, "networks" | "definitions"> {
  return { networks: "macvlan, bad", definitions: { bad: config } };
}

const ORIGIN =
  'NetworkAttachmentDefinition "default/bad" asked for by networks[1] as net2';

/** What the author of the network did wrong. */
export const DEFINITION_CASES: readonly BadInput[] = [
  {
    title: "a configuration that is not JSON",
    ...definition('{"type": "macvlan", }'),
    code: 6,
    msg:
      /^NetworkAttachmentDefinition "default\/bad" asked for by networks\[1\] as net2: Configuration is not .*JSON.*position 20/,
  },
  {
    title: "a configuration that is a list",
    ...definition("[]"),
    code: 7,
    msg: `${ORIGIN}: Configuration must be a JSON object: an array`,
  },
  {
    title: "a configuration without type",
    ...definition({ cniVersion: "1.0.0", name: "bad" }),
    code: 7,
    msg: `${ORIGIN}: "type" of network "bad" is missing`,
  },
  {
    title: "a type that is a path",
    ...definition({ cniVersion: "1.0.0", type: "../../bin/sh" }),
    code: 7,
    msg:
      `${ORIGIN}: "type" of network "bad" must be a plain file name: "../../bin/sh"`,
  },
  {
    title: "a name that is a path",
    ...definition({ cniVersion: "1.0.0", name: "a/b", type: "macvlan" }),
    code: 7,
    msg:
      `${ORIGIN}: Invalid network name (letters, digits, "_", "." and "-"): "a/b"`,
  },
  {
    title: "a version that nobody knows",
    ...definition({ cniVersion: "9.9.9", type: "macvlan" }),
    code: 1,
    msg:
      `${ORIGIN}: Unsupported CNI version (known are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0): "9.9.9"`,
  },
  {
    title: "a list without plugins",
    ...definition({ cniVersion: "1.0.0", plugins: [] }),
    code: 7,
    msg: `${ORIGIN}: No plugin in network "bad"`,
  },
  {
    title: "a plugin of a list without type",
    ...definition({
      cniVersion: "1.0.0",
      plugins: [{ type: "macvlan" }, { mtu: 1400 }],
    }),
    code: 7,
    msg: `${ORIGIN}: "plugins[1].type" of network "bad" is missing`,
  },
  {
    title: "capabilities that are a list",
    ...definition({
      cniVersion: "1.0.0",
      type: "macvlan",
      capabilities: ["mac"],
    }),
    code: 7,
    msg:
      `${ORIGIN}: "capabilities" of network "bad" must be an object: an array`,
  },
  {
    title: "neither a configuration nor a file",
    ...definition(""),
    code: 7,
    msg: `${ORIGIN}: No valid configuration in $CONF has the name: "bad"`,
  },
  {
    title: "Multus itself",
    ...definition({ cniVersion: "1.0.0", type: "multus" }),
    code: 7,
    msg:
      `${ORIGIN} leads back to Multus itself and cannot be a delegate: type "multus"`,
  },
  {
    title: "Multus itself, inside another plugin",
    ...definition({
      cniVersion: "1.0.0",
      type: "flannel",
      delegate: { type: "multus-shim" },
    }),
    code: 7,
    msg:
      `${ORIGIN} leads back to Multus itself and cannot be a delegate: type "multus-shim"`,
  },
  {
    title: "a plugin that is not installed",
    ...definition({ cniVersion: "1.0.0", type: "no-such-plugin" }),
    code: 7,
    msg:
      'Cannot attach "default/bad" as net2: plugin no-such-plugin is not installed: no such executable file in $BIN',
  },
  {
    title: "a plugin that is not executable",
    ...definition({ cniVersion: "1.0.0", type: "not-executable" }),
    code: 7,
    msg:
      'Cannot attach "default/bad" as net2: plugin not-executable is not installed: no such executable file in $BIN',
  },
  {
    title: "a plugin that the daemon may not run",
    ...definition({ cniVersion: "1.0.0", type: "not-granted" }),
    code: 999,
    msg:
      'Cannot attach "default/bad" as net2: plugin not-granted is not among the programs granted to this process: $OWN/not-granted',
  },
  {
    title: "no address left",
    networks: "macvlan, bad, bad",
    definitions: {
      bad: {
        cniVersion: "1.0.0",
        type: "macvlan",
        master: "$UPLINK",
        ipam: {
          type: "host-local",
          dataDir: "$NODE/ipam",
          ranges: [[{ subnet: "192.0.2.0/30" }]],
        },
      },
    },
    code: 999,
    msg:
      'Cannot attach "default/bad" as net3: plugin macvlan: failed to allocate for range 0: no IP addresses available in range set: 192.0.2.1-192.0.2.2',
  },
  {
    title: "a card that is not there",
    ...definition({
      cniVersion: "1.0.0",
      type: "macvlan",
      master: "eth9",
      ipam: { type: "static" },
    }),
    code: 999,
    msg:
      'Cannot attach "default/bad" as net2: plugin macvlan: Link not found (master "eth9")',
  },
];

/** The network `bad`, asked for second, and what its plugin does. */
function plugin(
  script: string,
): Pick<BadInput, "networks" | "definitions" | "plugin"> {
  return {
    ...definition({ cniVersion: "1.0.0", type: "bad" }),
    plugin: script,
  };
}

const SUBJECT = 'Cannot attach "default/bad" as net2';

/** What a plugin does wrong. */
export const PLUGIN_CASES: readonly BadInput[] = [
  {
    title: "it is killed",
    ...plugin("crash KILL"),
    code: 999,
    msg: `${SUBJECT}: plugin bad was ended by SIGKILL and printed no error`,
  },
  {
    title: "it crashes",
    ...plugin(
      'say "panic: runtime error: index out of range [3]"; say "goroutine 1 [running]:"; crash SEGV',
    ),
    code: 999,
    msg:
      `${SUBJECT}: plugin bad was ended by SIGSEGV and printed no error (log: panic: runtime error: index out of range [3])`,
  },
  {
    title: "it fails without a word",
    ...plugin("exit 3"),
    code: 999,
    msg: `${SUBJECT}: plugin bad exited with status 3 and printed no error`,
  },
  {
    title: "it fails with a log only",
    ...plugin('say "first line"; say "no port left on switch 7"; exit 1'),
    code: 999,
    msg:
      `${SUBJECT}: plugin bad exited with status 1 and printed no error (log: no port left on switch 7)`,
  },
  {
    title: "it fails with rubbish",
    ...plugin('print "Segmentation fault"; exit 1'),
    code: 6,
    msg:
      `${SUBJECT}: plugin bad exited with status 1 and printed no error that can be read: "Segmentation fault"`,
  },
  {
    title: "it succeeds with rubbish",
    ...plugin('print "ok"'),
    code: 6,
    msg:
      /^Cannot attach "default\/bad" as net2: plugin bad printed a result that cannot be read: .*/,
  },
  {
    title: "it succeeds without a word",
    ...plugin(":"),
    code: 6,
    msg: `${SUBJECT}: plugin bad printed no result`,
  },
  {
    title: "it succeeds with a list",
    ...plugin('print "[]"'),
    code: 6,
    msg:
      /^Cannot attach "default\/bad" as net2: plugin bad printed a result that cannot be read: .*/,
  },
  {
    title: "its result is of a version that nobody knows",
    ...plugin(`print '{"cniVersion":"7.0.0","ips":[]}'`),
    code: 1,
    msg:
      /^Cannot attach "default\/bad" as net2: plugin bad printed a result that cannot be read: .*"7\.0\.0"/,
  },
  {
    title: "its result holds an address that is none",
    ...plugin(
      `print '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.300/24"}]}'`,
    ),
    code: 6,
    msg:
      /^Cannot attach "default\/bad" as net2: plugin bad printed a result that cannot be read: .*10\.1\.2\.300/,
  },
  {
    title: "it has an error of its own",
    ...plugin('fail 142 "No port free" "switch 7"'),
    code: 142,
    msg: `${SUBJECT}: plugin bad: No port free (switch 7)`,
  },
  {
    title: "it wants to be asked later",
    ...plugin('fail 11 "Address pool is being refilled"'),
    code: 11,
    msg: `${SUBJECT}: plugin bad: Address pool is being refilled`,
  },
  {
    title: "its error fills pages",
    ...plugin(`fail 100 "$(printf 'blah %s. ' $(seq 1000))"`),
    code: 100,
    msg:
      /^Cannot attach "default\/bad" as net2: plugin bad: blah 1\. blah 2\..*…$/,
  },
  {
    title: "it prints without end",
    ...plugin("flood 10"),
    code: 6,
    msg: `${SUBJECT}: plugin bad printed more than 1048576 bytes and was ended`,
  },
  {
    title: "its log fills pages, and then it fails",
    ...plugin('flood_log 10; say; say "out of memory"; exit 2'),
    code: 999,
    msg:
      `${SUBJECT}: plugin bad exited with status 2 and printed no error (log: out of memory)`,
  },
  {
    title: "the second of its chain fails",
    networks: "macvlan, bad",
    definitions: {
      bad: {
        cniVersion: "1.0.0",
        plugins: [{
          type: "macvlan",
          master: "$UPLINK",
          mode: "bridge",
          ipam: {
            type: "host-local",
            dataDir: "$NODE/ipam",
            subnet: "192.0.2.0/24",
          },
        }, { type: "bad" }],
      },
    },
    plugin: 'fail 100 "No"',
    code: 100,
    msg: `${SUBJECT}: plugin bad: No`,
  },
];
