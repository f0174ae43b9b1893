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
import { CniError, ErrorCode, quote } from "./error.ts";
import {
  appendElements,
  getMember,
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

type JsonObject = Readonly<Record<string, unknown>>;

/** The program itself, under the names it is installed with; as a delegate it would call itself. */
const MULTUS_TYPES: readonly string[] = ["multus", "multus-shim"];

/** NAME_MAX of Linux. */
const TYPE_BYTES_MAX = 255;

/**
 * Reads a configuration: a list when it has `plugins`, else a single plugin's.
 *
 * @throws {CniError} with code 6 if it is not JSON, 7 if it is invalid, 1 if its version is not supported
 */
export function parseConf(
  text: string,
  options: ConfOptions = {},
): NetConfList {
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
  return readPlugin(text, parseObject(text), "");
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
  if (list.single && only !== undefined) {
    return parseAgain(list, edit(only.text, only));
  }
  const plugins = getMember(list.text, "plugins") ?? "[]";
  const edited = mapElements(plugins, (element, index) => {
    const plugin = list.plugins[index];
    return plugin === undefined ? element : edit(element, plugin);
  });
  return parseAgain(list, setMember(list.text, "plugins", edited));
}

/**
 * Puts a member into the configuration, in place of the one that stands there.
 *
 * @throws {CniError} with code 7 or 1 if what comes out is not valid
 * @throws {SyntaxError} if the value is not JSON
 */
export function withMember(
  list: NetConfList,
  key: string,
  value: JsonText,
): NetConfList {
  return parseAgain(list, setMember(list.text, key, value));
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
  const common = readCommon(text, value, options);
  const where = `in network ${quote(common.name)}`;
  if (hasValue(value, "plugins") && !Array.isArray(value.plugins)) {
    throw invalid(`"plugins" must be a list ${where}: ${shown(value.plugins)}`);
  }
  const values: readonly unknown[] = Array.isArray(value.plugins)
    ? value.plugins
    : [];
  const mayBeEmpty = options.allowEmptyPlugins === true &&
    !common.loadOnlyInlinedPlugins;
  if (values.length === 0 && !mayBeEmpty) {
    throw invalid(`No plugin ${where}`);
  }
  const member = getMember(common.text, "plugins") ?? "null";
  const texts = values.length === 0 ? [] : readElements(member);
  const plugins = texts.map((pluginText, index) =>
    readPlugin(pluginText, values[index], `plugins[${index}]`, where)
  );
  return { ...common, plugins, single: false };
}

function readSingle(
  text: JsonText,
  value: JsonObject,
  options: ConfOptions,
): NetConfList {
  const common = readCommon(text, value, options);
  const where = `in network ${quote(common.name)}`;
  const plugin = readPlugin(common.text, value, "", where);
  return { ...common, plugins: [plugin], single: true };
}

function readCommon(
  given: JsonText,
  value: JsonObject,
  { defaultName }: ConfOptions,
): Omit<NetConfList, "plugins" | "single"> {
  const own = readText(value, "name");
  const name = own === "" ? defaultName ?? "" : own;
  if (name === "") throw invalid('"name" of the network is missing');
  assertNetworkName(name);
  return {
    name,
    cniVersion: readVersion(value),
    disableCheck: readFlag(value, "disableCheck"),
    disableGC: readFlag(value, "disableGC"),
    loadOnlyInlinedPlugins: readFlag(value, "loadOnlyInlinedPlugins"),
    text: own === "" ? setMember(given, "name", JSON.stringify(name)) : given,
  };
}

function readPlugin(
  text: JsonText,
  value: unknown,
  path: string,
  where = "",
): PluginConf {
  const place = where === "" ? "" : ` ${where}`;
  const prefix = path === "" ? "" : `${path}.`;
  if (!isObject(value)) {
    throw invalid(`${path} must be an object${place}: ${shown(value)}`);
  }
  if (!hasValue(value, "type") || value.type === "") {
    throw invalid(`"${prefix}type" is missing${place}`);
  }
  const { type } = value;
  if (typeof type !== "string" || !isPlainFileName(type)) {
    throw invalid(
      `"${prefix}type" must be a plain file name${place}: ${shown(type)}`,
    );
  }
  return { type, capabilities: readCapabilities(value, prefix, place), text };
}

function readCapabilities(
  plugin: JsonObject,
  prefix: string,
  place: string,
): ReadonlySet<string> {
  if (!hasValue(plugin, "capabilities")) return new Set();
  const value = plugin.capabilities;
  const isRight = isObject(value) &&
    Object.values(value).every((flag) => typeof flag === "boolean");
  if (!isRight) {
    const what = isObject(value)
      ? shown(Object.values(value).find((flag) => typeof flag !== "boolean"))
      : shown(value);
    throw invalid(
      `"${prefix}capabilities" must be an object of booleans${place}: ${what}`,
    );
  }
  const names = Object.entries(value).filter(([, flag]) => flag === true);
  return new Set(names.map(([name]) => name));
}

/** The highest known version of `cniVersions` and `cniVersion`. */
function readVersion(value: JsonObject): string {
  const own = readText(value, "cniVersion");
  const listed = hasValue(value, "cniVersions") ? value.cniVersions : [];
  if (!Array.isArray(listed) || !listed.every((v) => typeof v === "string")) {
    throw invalid(`"cniVersions" must be a list of strings: ${shown(listed)}`);
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
  throw invalid(`"${key}" must be true or false: ${shown(flag)}`);
}

function readText(value: JsonObject, key: string): string {
  if (!hasValue(value, key)) return "";
  const text = value[key];
  if (typeof text === "string") return text;
  throw invalid(`"${key}" must be a string: ${shown(text)}`);
}

function parseObject(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
    if (isObject(value)) readMembers(text); // nothing below can be nested too deep
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "";
    throw new CniError(
      ErrorCode.decodingFailure,
      `Configuration cannot be parsed: ${reason}`,
      { cause },
    );
  }
  if (isObject(value)) return value;
  throw invalid(`Configuration must be a JSON object: ${shown(value)}`);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A member that is null counts as absent, as it does for plugins. */
function hasValue(value: JsonObject, key: string): boolean {
  return Object.hasOwn(value, key) && value[key] !== null;
}

function isPlainFileName(type: string): boolean {
  return type !== "." && type !== ".." && !/[/\p{Cc}]/u.test(type) &&
    new TextEncoder().encode(type).length <= TYPE_BYTES_MAX;
}

/** Scalars as they are, of the rest only the kind: a message holds no configuration. */
function shown(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "an array";
  if (isObject(value)) return "an object";
  return String(value);
}

function invalid(message: string): CniError {
  return new CniError(ErrorCode.invalidNetworkConfig, message);
}
