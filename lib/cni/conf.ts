/**
 * Network configurations: what is read of them, and edits of them (CNI
 * specification, "Network configuration format"). A configuration stays the text
 * that its author wrote; only what must be known is parsed, and an edit splices.
 * A single plugin's configuration is a list of one.
 *
 * Reading files, and the plugins that a list gets from its sub-directory, are
 * left to `conf_dir.ts`.
 *
 * @module
 */

import { assertNetworkName } from "./args.ts";
import { decodeJson } from "./decode.ts";
import { CniError, ErrorCode, quote } from "./error.ts";
import {
  appendElements,
  getMember,
  isJsonObject,
  type JsonObject,
  type JsonText,
  mapElements,
  readElements,
  readMembers,
  setMember,
} from "./json_text.ts";
import {
  assertVersion,
  compareVersions,
  DEFAULT_VERSION,
  isSupportedVersion,
} from "./version.ts";

/** What is known of one plugin's configuration. */
export interface PluginConf {
  /** The plugin's file name. */
  readonly type: string;
  /** The capabilities that stand as true. */
  readonly capabilities: ReadonlySet<string>;
  /** The plugin's own object. */
  readonly text: JsonText;
}

/** What is known of a network's configuration. */
export interface NetConfList {
  /** The network's name. */
  readonly name: string;
  /** The version to speak: the highest known one of those given. */
  readonly cniVersion: string;
  /** CHECK does nothing. */
  readonly disableCheck: boolean;
  /** GC does nothing. */
  readonly disableGC: boolean;
  /** No plugins are taken from the list's sub-directory. */
  readonly loadOnlyInlinedPlugins: boolean;
  /** The plugins, in the order of ADD. */
  readonly plugins: readonly PluginConf[];
  /** The whole, as given or as edited. */
  readonly text: JsonText;
  /** The text is one plugin's object and not a list. */
  readonly single: boolean;
}

/** How a configuration is read. */
export interface ConfOptions {
  /** The name that is put into the text when it has none. */
  readonly defaultName?: string;
  /** A list may be without plugins, unless it says `loadOnlyInlinedPlugins`. */
  readonly allowEmptyPlugins?: boolean;
}

/** Where in a configuration a plugin stands, for messages. */
interface Place {
  readonly path: string;
  readonly network?: string;
}

/** The program itself, under the names it is installed with; as a delegate it would call itself. */
const MULTUS_TYPES: readonly string[] = ["multus", "multus-shim"];

/** NAME_MAX of Linux. */
const TYPE_BYTES_MAX = 255;

/** A node has some networks and thousands of pods in them: what was read last is kept, by its text. */
const read = new Map<string, NetConfList>();
/** More networks than nodes have. */
const READ_MAX = 100;
/** A configuration has some hundred characters; together those that are kept take a megabyte at most. */
const READ_LENGTH_MAX = 4_096;

/**
 * Reads a configuration: a list when it has `plugins`, else a single plugin's. The same text gives the same object.
 *
 * @throws {CniError} with code 6 if it is not JSON, 7 if it is invalid, 1 if its version is not supported
 */
export function parseConf(
  text: string,
  options: ConfOptions = {},
): NetConfList {
  if (text.length > READ_LENGTH_MAX) return readConf(text, options);
  const { defaultName = "", allowEmptyPlugins = false } = options;
  const prefix = `${defaultName}/${allowEmptyPlugins}/`;
  const key = prefix + text;
  // Of the key, not of the text, which may be a slice that keeps a whole request in memory.
  const list = read.get(key) ?? readConf(key.slice(prefix.length), options);
  read.delete(key);
  read.set(key, list);
  const [oldest] = read.size <= READ_MAX ? [] : read.keys();
  if (oldest !== undefined) read.delete(oldest);
  return list;
}

function readConf(text: string, options: ConfOptions): NetConfList {
  const value = parseObject(text);
  return hasValue(value, "plugins")
    ? readList(text, value, options)
    : readSingle(text, value, options);
}

/**
 * Reads the configuration of a list.
 *
 * @throws {CniError} with code 6 if it is not JSON, 7 if it is invalid, 1 if its version is not supported
 */
export function parseConfList(
  text: string,
  options: ConfOptions = {},
): NetConfList {
  const value = parseObject(text);
  if (!hasValue(value, "plugins") && hasValue(value, "type")) {
    throw invalid("This is a single plugin, not a list: name it .conf");
  }
  return readList(text, value, options);
}

/**
 * Reads the configuration of a single plugin.
 *
 * @throws {CniError} with code 6 if it is not JSON, 7 if it is invalid, 1 if its version is not supported
 */
export function parseSingleConf(
  text: string,
  options: ConfOptions = {},
): NetConfList {
  const value = parseObject(text);
  if (hasValue(value, "plugins")) {
    throw invalid("This is a list: name it .conflist");
  }
  return readSingle(text, value, options);
}

/**
 * Reads one plugin's object, which need not have a name.
 *
 * @throws {CniError} with code 6 if it is not JSON, 7 if it is invalid
 */
export function parsePluginConf(text: string): PluginConf {
  return readPlugin(text, parseObject(text), { path: "" });
}

/**
 * Edits the object of each plugin, for a single plugin the whole.
 *
 * @throws {CniError} with code 6, 7 or 1 if what comes out is not valid
 * @throws {SyntaxError} if an answer is not JSON
 */
export function mapPlugins(
  list: NetConfList,
  edit: (pluginText: JsonText, plugin: PluginConf) => JsonText,
): NetConfList {
  const [only] = list.plugins;
  if (only !== undefined && list.single) {
    return parseAgain(list, edit(only.text, only));
  }
  if (only === undefined) return list;
  const plugins = getMember(list.text, "plugins") ?? "[]";
  const edited = mapElements(plugins, (element, index) => {
    const plugin = list.plugins[index];
    return plugin === undefined ? element : edit(element, plugin);
  });
  return parseAgain(list, setMember(list.text, "plugins", edited));
}

/**
 * Puts plugins behind those of a list.
 *
 * @throws {CniError} with code 7 if one is not valid, or if the list is a single plugin's
 * @throws {SyntaxError} if one is not JSON
 */
export function appendPlugins(
  list: NetConfList,
  pluginTexts: readonly JsonText[],
): NetConfList {
  if (list.single) {
    throw invalid(`Network ${quote(list.name)} is a single plugin, not a list`);
  }
  if (pluginTexts.length === 0) return list;
  const inlined = list.plugins.length === 0
    ? "[]"
    : getMember(list.text, "plugins") ?? "[]";
  const plugins = appendElements(inlined, pluginTexts);
  return parseAgain(list, setMember(list.text, "plugins", plugins));
}

/** Tells whether a plugin's type is this program itself. */
export function isMultusType(type: string): boolean {
  return MULTUS_TYPES.includes(type);
}

function parseAgain(list: NetConfList, text: JsonText): NetConfList {
  if (list.single) return readSingle(text, parseObject(text), {});
  const allowEmptyPlugins = list.plugins.length === 0;
  return readList(text, parseObject(text), { allowEmptyPlugins });
}

function readList(
  text: JsonText,
  value: JsonObject,
  options: ConfOptions,
): NetConfList {
  const named = readName(text, value, options);
  const network = `network ${quote(named.name)}`;
  const given = hasValue(value, "plugins") ? value.plugins : [];
  if (!Array.isArray(given)) {
    throw invalid(`"plugins" of ${network} must be a list: ${quote(given)}`);
  }
  const loadOnlyInlinedPlugins = readFlag(value, "loadOnlyInlinedPlugins");
  if (given.length === 0) {
    const isAllowed = options.allowEmptyPlugins && !loadOnlyInlinedPlugins;
    if (!isAllowed) throw invalid(`No plugin in ${network}`);
  }
  const texts = given.length === 0
    ? []
    : readElements(getMember(named.text, "plugins") ?? "");
  return {
    ...named,
    cniVersion: readVersion(value),
    disableCheck: readFlag(value, "disableCheck"),
    disableGC: readFlag(value, "disableGC"),
    loadOnlyInlinedPlugins,
    plugins: texts.map((plugin, index) =>
      readPlugin(plugin, given[index], { path: `plugins[${index}]`, network })
    ),
    single: false,
  };
}

/** Of a single plugin's keys only name and version are the network's; the rest is the plugin's. */
function readSingle(
  text: JsonText,
  value: JsonObject,
  options: ConfOptions,
): NetConfList {
  const named = readName(text, value, options);
  const network = `network ${quote(named.name)}`;
  const cniVersion = readText(value, "cniVersion") || DEFAULT_VERSION;
  assertVersion(cniVersion);
  return {
    ...named,
    cniVersion,
    disableCheck: false,
    disableGC: false,
    loadOnlyInlinedPlugins: false,
    plugins: [readPlugin(named.text, value, { path: "", network })],
    single: true,
  };
}

function readName(
  given: JsonText,
  value: JsonObject,
  { defaultName = "" }: ConfOptions,
): Pick<NetConfList, "name" | "text"> {
  const own = readText(value, "name");
  const name = own || defaultName;
  if (name === "") throw invalid('"name" of the network is missing');
  assertNetworkName(name);
  const text = own === ""
    ? setMember(given, "name", JSON.stringify(name))
    : given;
  return { name, text };
}

function readPlugin(
  text: JsonText,
  value: unknown,
  place: Place,
): PluginConf {
  if (!isJsonObject(value)) {
    throw invalid(`${label(place, "")} must be an object: ${quote(value)}`);
  }
  if (!hasValue(value, "type") || value.type === "") {
    throw invalid(`${label(place, "type")} is missing`);
  }
  const { type } = value;
  if (typeof type !== "string" || !isPlainFileName(type)) {
    throw invalid(
      `${label(place, "type")} must be a plain file name: ${quote(type)}`,
    );
  }
  return { type, capabilities: readCapabilities(value, place), text };
}

function readCapabilities(
  plugin: JsonObject,
  place: Place,
): ReadonlySet<string> {
  const value = hasValue(plugin, "capabilities") ? plugin.capabilities : {};
  const name = label(place, "capabilities");
  if (!isJsonObject(value)) {
    throw invalid(`${name} must be an object: ${quote(value)}`);
  }
  const entries = Object.entries(value).filter(([, flag]) => flag !== null);
  for (const [key, flag] of entries) {
    if (typeof flag === "boolean") continue;
    throw invalid(
      `${name} must be true or false for ${quote(key)}: ${quote(flag)}`,
    );
  }
  return new Set(entries.filter(([, flag]) => flag).map(([key]) => key));
}

/** Names a key of a plugin: `"plugins[1].type" of network "a"`. */
function label({ path, network }: Place, key: string): string {
  const keys = [path, key].filter((part) => part !== "").join(".");
  return `"${keys}"${network === undefined ? "" : ` of ${network}`}`;
}

/** The highest known version of `cniVersions` and `cniVersion`. */
function readVersion(value: JsonObject): string {
  const own = readText(value, "cniVersion");
  const listed = hasValue(value, "cniVersions") ? value.cniVersions : [];
  if (!Array.isArray(listed) || !listed.every((v) => typeof v === "string")) {
    throw invalid(`"cniVersions" must be a list of strings: ${quote(listed)}`);
  }
  const given: string[] = own === "" ? listed : [...listed, own];
  const known = given.filter(isSupportedVersion).sort(compareVersions);
  const best = known.at(-1) ?? given.at(-1) ?? DEFAULT_VERSION;
  assertVersion(best);
  return best;
}

/** libcni takes "true" and "false" as well, whatever their case. */
function readFlag(value: JsonObject, key: string): boolean {
  if (!hasValue(value, key)) return false;
  const flag = value[key];
  if (typeof flag === "boolean") return flag;
  const word = typeof flag === "string" ? flag.toLowerCase() : "";
  if (word === "true" || word === "false") return word === "true";
  throw invalid(`"${key}" must be true or false: ${quote(flag)}`);
}

function readText(value: JsonObject, key: string): string {
  if (!hasValue(value, key)) return "";
  const text = value[key];
  if (typeof text === "string") return text;
  throw invalid(`"${key}" must be a string: ${quote(text)}`);
}

function parseObject(text: string): JsonObject {
  const value = decodeJson(text, "Configuration");
  if (!isJsonObject(value)) {
    throw invalid(`Configuration must be a JSON object: ${quote(value)}`);
  }
  assertDepth(text);
  return value;
}

/** `JSON.parse` takes any depth, the edits do not: nothing below can fail for it. */
function assertDepth(text: string): void {
  try {
    readMembers(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "";
    throw new CniError(
      ErrorCode.decodingFailure,
      `Configuration is not usable: ${reason}`,
      { cause },
    );
  }
}

/** A member that is null counts as absent, as it does for plugins. */
function hasValue(value: JsonObject, key: string): boolean {
  return Object.hasOwn(value, key) && value[key] !== null;
}

function isPlainFileName(type: string): boolean {
  return type !== "." && type !== ".." && !/[/\p{Cc}]/u.test(type) &&
    new TextEncoder().encode(type).length <= TYPE_BYTES_MAX;
}

function invalid(message: string): CniError {
  return new CniError(ErrorCode.invalidNetworkConfig, message);
}
