/**
 * The text of the configuration that Multus gives to container runtimes
 * (`00-multus.conf`), written from the daemon's own configuration and the
 * default network's. Pure, and the same input always gives the same bytes, so
 * that a restart changes nothing on the node.
 *
 * What is written here for requests is overridden by the daemon's configuration
 * key by key anyway; it stands in the file for the shim, for people, and for
 * another Multus that may read it after us.
 *
 * @module
 */
import {
  isMultusType,
  type NetConfList,
  parseConf,
  parseConfList,
  parseSingleConf,
} from "../cni/conf.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import {
  getMember,
  type JsonText,
  type Member,
  readMembers,
} from "../cni/json_text.ts";
import { DEFAULT_VERSION } from "../cni/version.ts";
import { assertNotMultus } from "../selection/definition_checks.ts";
import { DEFAULT_SOCKET_DIR } from "../wire/places.ts";
import {
  assertDefaultNetwork,
  type DaemonConf,
  mergeConf,
  parseShimConf,
} from "./configuration.ts";
import { daemonSchema, multusSchema } from "./configuration_schema.ts";

/** The default network. */
export interface DefaultNetwork {
  /** Its file, as the daemon sees it. */
  readonly path: string;
  /** What is in the file. */
  readonly list: NetConfList;
}

/** The plugin that runtimes find under this name is the shim. */
const SHIM_TYPE = "multus-shim";

/** Manifests mount the node's `/run` and `/etc` into the daemon's pod under this directory. */
const HOST_MOUNT = "/host";

/** Keys that are worked out here, or have no meaning beside a `clusterNetwork`. */
const RENDERED_KEYS: readonly string[] = [
  "cniVersion",
  "name",
  "type",
  "clusterNetwork",
  "capabilities",
  "daemonSocketDir",
  "delegates",
  "runtimeConfig",
  "prevResult",
];

/** The daemon's own keys; all others, unknown ones too, are passed on. */
const DAEMON_KEYS: readonly string[] = Object.keys(daemonSchema.shape)
  .filter((key) => !Object.hasOwn(multusSchema.shape, key));

const LEFT_OUT: ReadonlySet<string> = new Set([
  ...RENDERED_KEYS,
  ...DAEMON_KEYS,
]);

/** Writes the configuration for a default network. */
export function renderMultusConf(
  conf: DaemonConf,
  { path, list }: DefaultNetwork,
): string {
  const capabilities = mergeCapabilities(conf, list);
  const members: [string, JsonText][] = [
    ["cniVersion", JSON.stringify(chooseVersion(conf, list))],
    ["name", JSON.stringify(conf.overrideNetworkName ? list.name : conf.name)],
    ["type", JSON.stringify(SHIM_TYPE)],
    // One that the operator names holds for every request: the file says so, too.
    ["clusterNetwork", JSON.stringify(conf.clusterNetwork ?? path)],
    ...(capabilities === undefined
      ? []
      : [["capabilities", capabilities] satisfies [string, JsonText]]),
    ["daemonSocketDir", JSON.stringify(hostSocketDir(conf))],
    ...passedOn(conf.document.text),
  ];
  const lines = members.map(([key, value]) =>
    `  ${JSON.stringify(key)}: ${value}`
  );
  return `{\n${lines.join(",\n")}\n}\n`;
}

/**
 * Refuses a text that is not a whole configuration of Multus with a default
 * network; `name` is that of the file it is for, whose extension says whether a
 * list is expected.
 *
 * @throws {CniError} With what is wrong, first the file's name.
 */
export function assertMultusConf(
  text: string,
  { name, conf }: { readonly name: string; readonly conf: DaemonConf },
): void {
  try {
    const parse = name.endsWith(".conflist") ? parseConfList : parseSingleConf;
    const [plugin] = parse(text).plugins;
    if (plugin === undefined || !isMultusType(plugin.type)) {
      throw new CniError(
        ErrorCode.invalidNetworkConfig,
        `This is not a configuration of Multus: type ${quote(plugin?.type)}`,
      );
    }
    const merged = mergeConf(parseShimConf(plugin.text), conf);
    assertDefaultNetwork(merged);
    if (merged.clusterNetwork === undefined) {
      assertDelegates(merged.delegates);
    }
  } catch (cause) {
    if (!(cause instanceof CniError)) throw cause;
    const { code, message, details } = cause;
    throw new CniError(code, `${quote(name)}: ${message}`, { details, cause });
  }
}

/**
 * The socket directory as the host sees it: what `daemonSocketDir` says; else
 * the daemon's own, without the directory under which its pod has the host's.
 */
export function hostSocketDir(
  conf: Pick<DaemonConf, "document" | "chrootDir" | "socketDir">,
): string {
  const { chrootDir, socketDir, document: { values } } = conf;
  if (values.daemonSocketDir) return values.daemonSocketDir;
  const own = trimSlashes(socketDir);
  if (chrootDir === undefined) return own;
  const mount = [trimSlashes(chrootDir), HOST_MOUNT].find((dir) =>
    own.startsWith(`${dir}/`)
  );
  return (mount === undefined ? own : own.slice(mount.length)) ||
    DEFAULT_SOCKET_DIR;
}

function assertDelegates(delegates: readonly JsonText[]): void {
  for (const [index, delegate] of delegates.entries()) {
    assertNotMultus(parseConf(delegate), `delegates[${index}]`);
  }
}

/**
 * The default network's version, so that runtimes see the results that they
 * would see without Multus; a configured one where that has none, or always
 * when it is forced.
 */
function chooseVersion(conf: DaemonConf, list: NetConfList): string {
  const configured = conf.document.values.cniVersion || undefined;
  if (conf.forceCNIVersion && configured !== undefined) return configured;
  const isGiven = ["cniVersion", "cniVersions"].some((key) =>
    getMember(list.text, key) !== undefined
  );
  return isGiven ? list.cniVersion : configured ?? DEFAULT_VERSION;
}

/** All that a plugin of the default network can do, and what is configured beyond that; one configured as false stays off. */
function mergeCapabilities(
  conf: DaemonConf,
  list: NetConfList,
): JsonText | undefined {
  const own = list.plugins.flatMap(({ capabilities }) => [...capabilities]);
  const configured = conf.capabilities;
  const names = new Set([...own, ...Object.keys(configured)]);
  const on = [...names].filter((name) =>
    !Object.hasOwn(configured, name) || configured[name]
  );
  if (on.length === 0) return undefined;
  const members = on.sort().map((name) => `${JSON.stringify(name)}: true`);
  return `{ ${members.join(", ")} }`;
}

function passedOn(text: JsonText): [string, JsonText][] {
  return readMembers(text)
    .filter(({ key }) => !LEFT_OUT.has(key))
    .map(({ key, start, end }: Member): [string, JsonText] => [
      key,
      text.slice(start, end),
    ])
    .filter(([, value]) => value !== "null");
}

function trimSlashes(dir: string): string {
  return dir.replace(/(?<=.)\/+$/, "");
}
