/**
 * Checks what people write: NetworkAttachmentDefinitions, the annotations of
 * pods and of what makes pods, CNI configurations, Multus' own. The rules are
 * those of the daemon, called here and not written again; what this module
 * adds is the place in the file. It reads no file and asks nobody.
 */
import { extname } from "node:path";
import {
  isMultusType,
  type NetConfList,
  parseConf,
  parseConfList,
  parseSingleConf,
} from "../cni/conf.ts";
import { CniError, quote } from "../cni/error.ts";
import { isJsonObject, type JsonObject } from "../cni/json_text.ts";
import {
  assertDefaultNetwork,
  parseDaemonConf,
} from "../daemon/configuration.ts";
import {
  daemonSchema,
  readDaemonDocument,
} from "../daemon/configuration_schema.ts";
import { NO_FLAGS } from "../daemon/daemon_flags.ts";
import { placeAt } from "../daemon/json_place.ts";
import {
  AnnotationError,
  DEFAULT_NETWORK_ANNOTATION,
  NETWORKS_ANNOTATION,
  type NetworkSelection,
  parseDefaultNetwork,
  parseNetworks,
} from "../selection/annotation.ts";
import {
  planDefaultRoutes,
  type RouteRequest,
} from "../selection/default_route.ts";
import {
  assertDefinition,
  assertNotMultus,
} from "../selection/definition_checks.ts";
import {
  assignInterfaceNames,
  type NameRequest,
} from "../selection/interface_names.ts";
import { isDefinitionName } from "../selection/network_names.ts";
import {
  type EmbeddedText,
  jsonErrorOffset,
  type LocatedDocument,
  parseValuePath,
  readLocatedText,
  type ValuePath,
} from "./located_text.ts";
import type {
  CheckedObject,
  ValidationFinding,
  ValidationReport,
} from "./validate_schema.ts";

/** A text under the name of its file. */
export interface NamedText {
  /** As it was given. */
  readonly file: string;
  /** What stands in it. */
  readonly text: string;
}

/** One document, and where findings about it go. */
interface Subject {
  readonly document: LocatedDocument;
  /** Where within the document the object is: an item of a List. */
  readonly base: ValuePath;
  readonly value: JsonObject;
  /** The whole text. */
  readonly text: string;
  readonly extension: string;
  readonly isJson: boolean;
  report(
    severity: ValidationFinding["severity"],
    offset: number,
    message: string,
  ): void;
}

/** Checks texts, in order. */
export function validateTexts(texts: readonly NamedText[]): ValidationReport {
  const reports = texts.map(validateText);
  return {
    findings: reports.flatMap(({ findings }) => findings),
    checked: reports.flatMap(({ checked }) => checked),
  };
}

function validateText({ file, text }: NamedText): ValidationReport {
  const findings: ValidationFinding[] = [];
  const checked: CheckedObject[] = [];
  const report: Subject["report"] = (severity, offset, message) => {
    findings.push({ file, ...placeAt(text, offset), severity, message });
  };
  const { documents, problems, isJson } = readLocatedText(text);
  for (const { offset, message } of problems) report("error", offset, message);
  for (const document of documents) {
    const common = { document, report, text, isJson, extension: extname(file) };
    for (const { value, base } of objectsOf(document.value, [])) {
      const what = validateObject({ ...common, value, base });
      const { line } = placeAt(text, document.offsetOf(base));
      checked.push({ file, line, what });
    }
  }
  if (documents.length + problems.length === 0) {
    report("error", 0, "There is nothing in it");
  }
  findings.sort((a, b) => a.line - b.line || a.column - b.column);
  return { findings, checked };
}

/** The object itself, or the items of a List. */
function objectsOf(
  value: unknown,
  base: ValuePath,
): { value: JsonObject; base: ValuePath }[] {
  if (!isJsonObject(value)) return value === null ? [] : [{ value: {}, base }];
  if (
    !Array.isArray(value["items"]) || !String(value["kind"]).endsWith("List")
  ) {
    return [{ value, base }];
  }
  return value["items"].flatMap((item, index) =>
    objectsOf(item, [...base, "items", index])
  );
}

/** Where pods' annotations stand in what makes pods. */
const POD_TEMPLATES: Readonly<Record<string, ValuePath>> = {
  Pod: [],
  Deployment: ["spec", "template"],
  DaemonSet: ["spec", "template"],
  StatefulSet: ["spec", "template"],
  ReplicaSet: ["spec", "template"],
  ReplicationController: ["spec", "template"],
  Job: ["spec", "template"],
  PodTemplate: ["template"],
  CronJob: ["spec", "jobTemplate", "spec", "template"],
};

/** Checks one object; what it is, for a person. */
function validateObject(subject: Subject): string {
  const { value } = subject;
  const { kind } = value;
  if (kind === "NetworkAttachmentDefinition") {
    validateDefinition(subject);
    return titleOf(value);
  }
  if (typeof kind === "string") {
    const template = POD_TEMPLATES[kind];
    if (template !== undefined) validateAnnotations(subject, template);
    return titleOf(value) +
      (template === undefined ? " (nothing to check in it)" : "");
  }
  return validateConfiguration(subject);
}

function titleOf({ kind, metadata }: JsonObject): string {
  const { name, namespace = "default" } = isJsonObject(metadata)
    ? metadata
    : {};
  return `${kind} ${namespace}/${name}`;
}

function memberAt(value: unknown, path: ValuePath): unknown {
  return path.reduce<unknown>(
    (at, key) => isJsonObject(at) ? at[String(key)] : undefined,
    value,
  );
}

// NetworkAttachmentDefinitions.

const CONFIG: ValuePath = ["spec", "config"];

function validateDefinition(subject: Subject): void {
  const { value, document, base, report } = subject;
  const name = memberAt(value, ["metadata", "name"]);
  if (typeof name !== "string" || !isDefinitionName(name)) {
    report(
      "error",
      document.offsetOf([...base, "metadata", "name"]),
      `metadata.name: expected the name of a network (a-z, 0-9, "-", "."), found ${
        quote(name)
      }`,
    );
  }
  const at = [...base, ...CONFIG];
  const config = memberAt(value, CONFIG);
  if (config === undefined || config === null || config === "") {
    report(
      "warning",
      document.offsetOf(at),
      `spec.config is missing: each node then needs a CNI file with this name in confDir, found nothing`,
    );
    return;
  }
  const embedded = document.embedded(at);
  if (embedded === undefined) {
    report(
      "error",
      document.offsetOf(at),
      "spec.config: expected a string with JSON in it, found something else: write it behind a |",
    );
    return;
  }
  validateConf(embedded, {
    report,
    prefix: "spec.config",
    parse: (text) => parseConf(text, { defaultName: String(name) }),
    judge: assertDefinition,
  });
}

/** Checks a CNI configuration that stands in a text; the places are the text's. */
function validateConf(
  embedded: EmbeddedText,
  { report, prefix, parse, judge }: {
    report: Subject["report"];
    prefix: string;
    parse: (text: string) => NetConfList;
    /** What else must hold; throws what does not. */
    judge: (list: NetConfList, origin: string) => void;
  },
): NetConfList | undefined {
  const title = prefix === "" ? "" : `${prefix}: `;
  const inner = readLocatedText(embedded.text);
  const [document] = inner.documents;
  try {
    JSON.parse(embedded.text);
    const list = parse(embedded.text);
    judge(list, "It");
    if (memberAt(document?.value, ["cniVersion"]) === undefined) {
      report(
        "warning",
        embedded.offsetOf(document?.offsetOf([]) ?? 0),
        `${title}cniVersion is missing: it is taken as ${list.cniVersion}, in which results name no interfaces`,
      );
    }
    return list;
  } catch (error) {
    if (error instanceof SyntaxError) {
      const offset = jsonErrorOffset(embedded.text);
      report(
        "error",
        embedded.offsetOf(offset),
        `${title}not JSON from here on`,
      );
      return undefined;
    }
    if (!(error instanceof CniError)) throw error;
    const offset = document?.offsetOf(placeNamedIn(error.message)) ?? 0;
    report("error", embedded.offsetOf(offset), `${title}${error.message}`);
    return undefined;
  }
}

/** The keys that a message of `lib/cni` is about; they stand in front, in quotes. */
function placeNamedIn(message: string): ValuePath {
  const [, keys] = /^"([\w.[\]/-]+)"/.exec(message) ?? [];
  if (keys !== undefined) return parseValuePath(keys);
  // These two name what stands there, not where it stands.
  if (/version/i.test(message)) return ["cniVersion"];
  return /network name/i.test(message) ? ["name"] : [];
}

// Annotations.

interface AnnotationText {
  readonly root: string;
  readonly embedded: EmbeddedText;
}

function validateAnnotations(subject: Subject, template: ValuePath): void {
  const { value, document, base, report } = subject;
  const path = [...base, ...template, "metadata", "annotations"];
  const read = (key: string, root: string): AnnotationText | undefined => {
    const found = memberAt(value, [
      ...template,
      "metadata",
      "annotations",
      key,
    ]);
    if (found === undefined || found === null) return undefined;
    const embedded = document.embedded([...path, key]);
    if (embedded !== undefined) return { root, embedded };
    report(
      "error",
      document.offsetOf([...path, key]),
      `${root}: expected a string, found something else: write it behind a |`,
    );
    return undefined;
  };
  const namespace = String(
    memberAt(value, ["metadata", "namespace"]) ?? "default",
  );
  const networks = read(NETWORKS_ANNOTATION, "networks");
  const replaced = read(DEFAULT_NETWORK_ANNOTATION, "default-network");
  if (networks !== undefined) {
    reporting(networks, report, () => {
      const selections = parseNetworks(networks.embedded.text, namespace);
      assertTogether(selections);
    });
  }
  if (replaced !== undefined && replaced.embedded.text.trim() !== "") {
    reporting(
      replaced,
      report,
      () => void parseDefaultNetwork(replaced.embedded.text, namespace),
    );
  }
}

/** The default network stands first, whatever it is. */
function assertTogether(selections: readonly NetworkSelection[]): void {
  const all: (NameRequest & RouteRequest)[] = [
    { displayName: "the default network" },
    ...selections.map((selection) => ({
      displayName: `${selection.namespace}/${selection.name}`,
      selection,
    })),
  ];
  assignInterfaceNames(all, "eth0");
  planDefaultRoutes(all);
}

function reporting(
  { root, embedded }: AnnotationText,
  report: Subject["report"],
  check: () => void,
): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof AnnotationError)) throw error;
    const offset = offsetOfSelection(embedded.text, root, error.place);
    report("error", embedded.offsetOf(offset), error.message);
  }
}

/** Where `networks[1].ips[0]` stands in the annotation, in either of its forms. */
function offsetOfSelection(text: string, root: string, place: string): number {
  const path = parseValuePath(place.slice(root.length));
  if (/[[{"]/.test(text)) {
    const { documents: [document], problems: [problem] } = readLocatedText(
      text,
    );
    return problem?.offset ?? document?.offsetOf(path) ?? 0;
  }
  const [index] = path;
  const before = text.split(",").slice(0, Number(index ?? 0));
  const start = before.reduce((sum, item) => sum + item.length + 1, 0);
  return start + (/^\s*/.exec(text.slice(start))?.[0].length ?? 0);
}

// Configurations.

/** What may stand in Multus' configuration although it is not Multus'. */
const CNI_KEYS: readonly string[] = [
  "cniversions",
  "args",
  "ipam",
  "dns",
  "prevresult",
  "disablecheck",
  "disablegc",
];

function validateConfiguration(subject: Subject): string {
  const { value, isJson, report } = subject;
  if (!isJson) {
    report(
      "error",
      subject.document.offsetOf(subject.base),
      "It is neither a manifest (kind is missing) nor JSON, which configurations are",
    );
    return "a text of no known kind";
  }
  const plugins = Array.isArray(value["plugins"]) ? value["plugins"] : [value];
  const type = memberAt(plugins[0], ["type"]);
  const isOurs = plugins.some((plugin) =>
    isMultusType(String(memberAt(plugin, ["type"])))
  );
  if (value["plugins"] === undefined && (isOurs || type === undefined)) {
    return validateMultus(subject, isOurs);
  }
  if (isOurs) return `Multus CNI configuration ${quote(value["name"])}`;
  const list = validateConf({
    text: subject.text,
    offsetOf: (offset) => offset,
  }, {
    report,
    prefix: "",
    parse: parserFor(subject.extension),
    judge: assertNotMultus,
  });
  return `CNI configuration ${quote(list?.name ?? value["name"])}`;
}

/** By its name, as the runtime and we would read the file. */
function parserFor(extension: string): (text: string) => NetConfList {
  if (extension === ".conflist") {
    return (text) => parseConfList(text, { allowEmptyPlugins: true });
  }
  return extension === ".conf" ? parseSingleConf : parseConf;
}

/** Begins messages of the daemon's reader, to be taken off again. */
const SOURCE = "configuration";

function validateMultus(subject: Subject, isShim: boolean): string {
  const { value, document, report } = subject;
  const text = JSON.stringify(value);
  try {
    const { values } = readDaemonDocument(text, SOURCE);
    const conf = parseDaemonConf(text, { path: SOURCE, flags: NO_FLAGS });
    if (isShim) assertDefaultNetwork(conf);
    for (const warning of conf.warnings) {
      report("warning", document.offsetOf(placeInFront(warning)), warning);
    }
    for (const [index] of (values.delegates ?? []).entries()) {
      validateDelegate(subject, index);
    }
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const message = error.message.replace(/^[^:]*: /, "");
    report("error", document.offsetOf(placeInFront(message)), message);
  }
  reportUnknownKeys(subject);
  return isShim ? "Multus CNI configuration" : "daemon configuration";
}

/** The JSON path in front of a message such as `metricsPort: expected …`. */
function placeInFront(message: string): ValuePath {
  const [, path] = /^([A-Za-z][\w.[\]]*): /.exec(message) ?? [];
  return path === undefined ? [] : parseValuePath(path);
}

function validateDelegate(
  { value, document, report }: Subject,
  index: number,
): void {
  const delegate = memberAt(value, ["delegates"]);
  const own = Array.isArray(delegate) ? delegate[index] : undefined;
  try {
    assertNotMultus(parseConf(JSON.stringify(own)), `delegates[${index}]`);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const path = ["delegates", index, ...placeNamedIn(error.message)];
    const isNamed = error.message.startsWith("delegates[");
    report(
      "error",
      document.offsetOf(path),
      isNamed ? error.message : `delegates[${index}]: ${error.message}`,
    );
  }
}

/** Misspelt keys have no effect, and nobody says so: the daemon hands on what it does not know. */
function reportUnknownKeys({ value, document, report }: Subject): void {
  const known = new Set([
    ...Object.keys(daemonSchema.shape).map((key) => key.toLowerCase()),
    ...CNI_KEYS,
  ]);
  for (const key of Object.keys(value)) {
    if (known.has(key.toLowerCase())) continue;
    report(
      "warning",
      document.offsetOf([key]),
      `${key}: no key of this daemon, it has no effect`,
    );
  }
}
