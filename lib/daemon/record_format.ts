/**
 * The text of an attachment record: what stands in `<cniDir>/<containerID>`.
 *
 * It is the Go daemon's format with one more key on each element, so that
 * either daemon can undo what the other did: a JSON array, one element for each
 * attachment, `Bytes` holding the whole configuration. Go's reader ignores our
 * key; a file without it was written by Go.
 *
 * Three kinds of content are protected in three ways:
 * - what is fixed when the record is written: a checksum over all of it, in the
 *   first element;
 * - the state of each attachment, which changes while plugins run: a word of
 *   fixed width, overwritten in place. Any two of the words differ in at least
 *   three bytes, so that no small damage turns one into another;
 * - the result of each attachment, known only afterwards: a reserved room of
 *   base64 with a checksum of its own, overwritten in place. Whatever mixture of
 *   old and new a crash leaves there, the text around it stays readable.
 *
 * Reading and writing files is left to `records.ts`.
 *
 * @module
 */
import type { CniArgs } from "../cni/args.ts";
import { getMember, type JsonText } from "../cni/json_text.ts";
import { formatResult, readResult, type Result } from "../cni/result.ts";
import { LATEST_VERSION } from "../cni/version.ts";
import { present } from "../cni/present.ts";
import type { DelegateSource } from "../selection/delegate.ts";
import { crc32 } from "./crc32.ts";

/** How far an attachment has come: not begun, perhaps there, there, gone again. */
export type AttachmentState = "todo" | "begun" | "done" | "undone";

/** One attachment, with all that is needed to undo or check it without asking anybody. */
export interface RecordedAttachment {
  /** The whole configuration, byte for byte as it was run. */
  readonly config: JsonText;
  /** The display name: `<namespace>/<name>`, or the configuration's name for the default network. */
  readonly name: string;
  /** The interface in the pod. */
  readonly ifname: string;
  /** Whether it is the pod's default network. */
  readonly isDefault: boolean;
  /** How far it has come. */
  readonly state: AttachmentState;
  /** Why the pod got it; absent in a record of the Go daemon. */
  readonly source?: DelegateSource;
  /** The NetworkAttachmentDefinition that it came from. */
  readonly definition?: { readonly namespace: string; readonly name: string };
  /** The hardware address that the pod asked for. */
  readonly macRequest?: string;
  /** The addresses that the pod asked for. */
  readonly ipRequest?: readonly string[];
  /** The gateways that the pod asked the default route to go through. */
  readonly gatewayRequest?: readonly string[];
  /** This attachment's IPv4 default route is taken away, because another one owns it. */
  readonly isFilterV4Gateway?: boolean;
  /** The same for IPv6. */
  readonly isFilterV6Gateway?: boolean;
  /** The device that the kubelet gave for it. */
  readonly deviceId?: string;
  /** The resource that the device is one of. */
  readonly resourceName?: string;
  /** The device information file that plugins are given. */
  readonly deviceInfoFile?: string;
  /** Absent in a record of the Go daemon. */
  readonly cniArgs?: CniArgs;
  /** Absent in a record of the Go daemon. */
  readonly capabilityArgs?: Readonly<Record<string, JsonText>>;
  /** When it was written down, in ISO 8601. */
  readonly recordedAt?: string;
  /** What its ADD came to, in the newest shape. */
  readonly result?: Result;
  /** There was a result, and it cannot be read any more: libcni's cache may have it. */
  readonly isResultDamaged?: boolean;
}

/** All attachments of one container. */
export interface AttachmentRecord {
  /** The container, which is the file's name too. */
  readonly containerId: string;
  /** Who wrote it. Of what "go" wrote, every attachment counts as done. */
  readonly origin: "own" | "go";
  /** Absent in a record of the Go daemon. */
  readonly netns?: string;
  /** The pod; absent in a record of the Go daemon. */
  readonly pod?: {
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
  };
  /** Which boot of the machine it was written in. */
  readonly bootId?: string;
  /** The runtime's CNI_PATH, for undoing without the runtime. */
  readonly pluginPath?: string;
  /** In the order in which they are begun. */
  readonly attachments: readonly RecordedAttachment[];
}

/** Where, in bytes, the two parts of one attachment stand that are overwritten in place. */
export interface Place {
  /** Where the state begins. */
  readonly stateAt: number;
  /** Where the result's room begins. */
  readonly resultAt: number;
  /** How much room there is for the result. */
  readonly resultLength: number;
}

/** A record and its text. */
export interface RecordText {
  /** The whole file. */
  readonly text: string;
  /** For each attachment, in their order. */
  readonly places: readonly Place[];
}

const OWN_KEY = "multusDeno";
const STATES: readonly AttachmentState[] = ["todo", "begun", "done", "undone"];
const STATE_LENGTH = 6;

// A result with three interfaces and both families takes about 900 bytes; a larger one is no fault,
// it only costs a rewrite of the file.
const RESULT_ROOM = 1_536;
const RESULT_CHECK_LENGTH = 8;

const FORMAT_VERSION = 2;

// From an element's beginning to its state, and from its state to its result.
const STATE_OFFSET = `{"${OWN_KEY}":{"state":"`.length;
const RESULT_OFFSET = STATE_LENGTH + `","result":"`.length;

const HEADER =
  /^\{"multusDeno":\{"state":"([a-z ]{6})","result":"([A-Za-z0-9+/= ]*)",/;
const CHECKSUM = /^"checksum":"multusDeno:([0-9a-f]{8})",/;
const START = "[";
const BETWEEN = ",\n";
const END = "]\n";

/**
 * Writes a record as text.
 *
 * @throws {RangeError} When it holds no attachment: it could not be told from damage.
 */
export function formatRecord(record: AttachmentRecord): Promise<RecordText> {
  return Promise.try(format, record);
}

function format(record: AttachmentRecord): RecordText {
  const { containerId, attachments } = record;
  if (attachments.length === 0) {
    throw new RangeError(`A record needs an attachment: ${containerId}`);
  }
  const headers = attachments.map(formatHeader);
  const bodies = attachments.map((attachment, index) =>
    formatBody(attachment, index === 0 ? record : undefined)
  );
  const checksum = `"checksum":"${OWN_KEY}:${checksumOf(bodies)}",`;
  const elements = bodies.map((body, index) =>
    `${headers[index]}${index === 0 ? checksum : ""}${body}`
  );
  return {
    text: `${START}${elements.join(BETWEEN)}${END}`,
    places: placesOf(elements),
  };
}

/** What a state is overwritten with. */
export function formatState(state: AttachmentState): string {
  return state.padEnd(STATE_LENGTH);
}

/** What a result is overwritten with, to be padded with spaces to the room that there is. */
export function encodeResult(result: Result): Promise<string> {
  return Promise.try(encodeText, result);
}

function encodeText(result: Result): string {
  const json = JSON.stringify(formatResult(result, LATEST_VERSION));
  return crc32(json) + new TextEncoder().encode(json).toBase64();
}

/** A record as read, with where to overwrite it; a record of the Go daemon has no such places. */
export interface ParsedRecord {
  /** What it says. */
  readonly record: AttachmentRecord;
  /** For each attachment, in their order. */
  readonly places?: readonly Place[];
}

/** What a record's text does not say. */
export interface ParseRecordOptions {
  /** The container, which is the file's name. */
  readonly containerId: string;
  /** The default network's interface, which the Go daemon does not write down. */
  readonly defaultIfname: string;
}

/**
 * Reads a record, ours or the Go daemon's.
 *
 * @throws {SyntaxError} When the text is not a record, or its checksum does not fit.
 * @throws {TypeError} When a configuration in it is not UTF-8.
 */
export function parseRecord(
  text: string,
  options: ParseRecordOptions,
): Promise<ParsedRecord> {
  return Promise.try(parse, text, options);
}

function parse(text: string, options: ParseRecordOptions): ParsedRecord {
  // The mark stands in a record of ours several times, and Go's ends without a line end: no single
  // fault, not even a long hole, makes one look like the other.
  return text.includes(OWN_KEY) || text.endsWith("\n")
    ? parseOwn(text, options.containerId)
    : { record: parseGo(text, options) };
}

type JsonObject = Readonly<Record<string, unknown>>;

function formatHeader(attachment: RecordedAttachment): string {
  const { result } = attachment;
  const encoded = result === undefined ? "" : encodeText(result);
  const state = formatState(attachment.state);
  const room = encoded.padEnd(RESULT_ROOM);
  return `{"${OWN_KEY}":{"state":"${state}","result":"${room}",`;
}

// What follows the header: the rest of our own object, then the keys that Go knows.
function formatBody(
  attachment: RecordedAttachment,
  common: AttachmentRecord | undefined,
): string {
  const own = JSON.stringify({
    writer: OWN_KEY,
    version: FORMAT_VERSION,
    ...(common && {
      netns: common.netns,
      pod: common.pod,
      bootId: common.bootId,
      pluginPath: common.pluginPath,
    }),
    ifname: attachment.ifname,
    isDefault: attachment.isDefault,
    source: attachment.source,
    definition: attachment.definition,
    // Texts inside a text: their numbers stay as they were written.
    capabilityArgs: attachment.capabilityArgs,
    cniArgs: attachment.cniArgs,
    deviceInfoFile: attachment.deviceInfoFile,
    recordedAt: attachment.recordedAt,
  });
  const known = JSON.stringify(goKeys(attachment));
  return `${own.slice(1)},${known.slice(1)}`;
}

function goKeys(attachment: RecordedAttachment): JsonObject {
  const { config } = attachment;
  return {
    ...goSubset(config),
    Name: attachment.name,
    // Without it, the Go daemon takes CNI_IFNAME, which is right for the default network.
    ifnameRequest: attachment.isDefault ? undefined : attachment.ifname,
    macRequest: attachment.macRequest,
    ipRequest: attachment.ipRequest,
    "default-route": attachment.gatewayRequest,
    IsFilterV4Gateway: attachment.isFilterV4Gateway ?? false,
    IsFilterV6Gateway: attachment.isFilterV6Gateway ?? false,
    deviceID: attachment.deviceId,
    resourceName: attachment.resourceName,
    Bytes: new TextEncoder().encode(config).toBase64(),
  };
}

// Lenient on purpose: a record must be writable whatever configuration somebody got past a plugin.
function goSubset(config: JsonText): JsonObject {
  const conf: unknown = JSON.parse(config);
  const { name, cniVersion, type, plugins } = isObject(conf) ? conf : {};
  if (!Array.isArray(plugins)) {
    return { Conf: { cniVersion, name, type }, ConfList: {} };
  }
  const types = plugins.map((plugin) => ({ type: plugin?.type }));
  return {
    Conf: { cniVersion, name },
    ConfList: { cniVersion, name, plugins: types },
  };
}

function placesOf(elements: readonly string[]): Place[] {
  let at = START.length;
  return elements.map((element) => {
    const resultLength = parseHeader(element).resultText.length;
    const stateAt = at + STATE_OFFSET;
    at += new TextEncoder().encode(element).length + BETWEEN.length;
    return { stateAt, resultAt: stateAt + RESULT_OFFSET, resultLength };
  });
}

interface Header {
  readonly state: AttachmentState;
  readonly resultText: string;
  readonly checksum?: string;
  readonly body: string;
}

function parseHeader(element: string): Header {
  const [header, word = "", resultText = ""] = HEADER.exec(element) ?? [];
  if (header === undefined) {
    throw new SyntaxError("An element does not begin as it should");
  }
  const state = STATES.find((state) => formatState(state) === word);
  if (state === undefined) {
    throw new SyntaxError(`Unknown state: ${JSON.stringify(word)}`);
  }
  const rest = element.slice(header.length);
  const [member = "", checksum] = CHECKSUM.exec(rest) ?? [];
  const body = rest.slice(member.length);
  return { state, resultText, body, ...(checksum && { checksum }) };
}

function parseOwn(text: string, containerId: string): ParsedRecord {
  if (!text.startsWith(START) || !text.endsWith(END)) {
    throw new SyntaxError("Beginning or end is missing");
  }
  const elements = text.slice(START.length, -END.length).split(BETWEEN);
  const headers = elements.map(parseHeader);
  const [first] = headers;
  const checksum = checksumOf(headers.map(({ body }) => body));
  if (first?.checksum !== checksum) {
    throw new SyntaxError("The checksum does not fit");
  }
  const { netns, pod, bootId, pluginPath } = readBody(first).own;
  const record: AttachmentRecord = {
    containerId,
    origin: "own",
    ...present({ netns, pod, bootId, pluginPath }),
    attachments: headers.map(readOwn),
  };
  return { record, places: placesOf(elements) };
}

interface OwnPart extends
  Pick<
    RecordedAttachment,
    | "ifname"
    | "isDefault"
    | "source"
    | "definition"
    | "capabilityArgs"
    | "cniArgs"
    | "deviceInfoFile"
    | "recordedAt"
  >,
  Pick<AttachmentRecord, "netns" | "pod" | "bootId" | "pluginPath"> {}

// The checksum has said that this is what was written: the shape need not be doubted.
function readBody({ body }: Header): JsonObject & { readonly own: OwnPart } {
  return JSON.parse(`{"own":{${body}`);
}

function readOwn(header: Header): RecordedAttachment {
  const { own, ...element } = readBody(header);
  return {
    ...readGoKeys(element, "element"),
    ifname: own.ifname,
    isDefault: own.isDefault,
    state: header.state,
    ...present({
      source: own.source,
      definition: own.definition,
      capabilityArgs: own.capabilityArgs,
      cniArgs: own.cniArgs,
      deviceInfoFile: own.deviceInfoFile,
      recordedAt: own.recordedAt,
    }),
    ...readEncodedResult(header.resultText),
  };
}

function readEncodedResult(
  padded: string,
): Pick<RecordedAttachment, "result" | "isResultDamaged"> {
  const text = padded.trimEnd();
  if (text === "") return {};
  try {
    const json = decodeBase64(text.slice(RESULT_CHECK_LENGTH));
    if (!text.startsWith(crc32(json))) return { isResultDamaged: true };
    return { result: readResult(JSON.parse(json), LATEST_VERSION) };
  } catch {
    // Not even base64. Said by the flag: the rest of the record is sound.
    return { isResultDamaged: true };
  }
}

function parseGo(
  text: string,
  { containerId, defaultIfname }: ParseRecordOptions,
): AttachmentRecord {
  const elements: unknown = JSON.parse(text);
  if (!Array.isArray(elements) || elements.length === 0) {
    throw new SyntaxError("Not a list of attachments");
  }
  const attachments = elements.map((element, index): RecordedAttachment => {
    const path = `[${index}]`;
    if (!isObject(element)) throw new SyntaxError(`${path} is not an object`);
    const ifname = readText(element, "ifnameRequest", path);
    const fallback = index === 0 ? defaultIfname : `net${index}`;
    return {
      ...readGoKeys(element, path),
      ifname: ifname === undefined || ifname === "" ? fallback : ifname,
      isDefault: index === 0,
      state: "done",
    };
  });
  return { containerId, origin: "go", attachments };
}

type GoPart = Omit<RecordedAttachment, "ifname" | "isDefault" | "state">;

function readGoKeys(element: JsonObject, path: string): GoPart {
  const config = readConfig(element, path);
  return {
    config,
    name: readText(element, "Name", path) ?? readName(config),
    isFilterV4Gateway: element.IsFilterV4Gateway === true,
    isFilterV6Gateway: element.IsFilterV6Gateway === true,
    ...present({
      macRequest: readText(element, "macRequest", path),
      ipRequest: readTexts(element, "ipRequest", path),
      gatewayRequest: readTexts(element, "default-route", path),
      deviceId: readText(element, "deviceID", path),
      resourceName: readText(element, "resourceName", path),
    }),
  };
}

function readConfig(element: JsonObject, path: string): JsonText {
  const bytes = readText(element, "Bytes", path) ?? "";
  if (bytes === "") throw new SyntaxError(`${path} has no configuration`);
  const config = decodeBase64(bytes);
  if (!isObject(JSON.parse(config))) {
    throw new SyntaxError(`${path} has no usable configuration`);
  }
  return config;
}

function readName(config: JsonText): string {
  const name: unknown = JSON.parse(getMember(config, "name") ?? '""');
  return typeof name === "string" ? name : "";
}

function readText(
  element: JsonObject,
  key: string,
  path: string,
): string | undefined {
  const value = element[key] ?? undefined;
  if (value === undefined || typeof value === "string") return value;
  throw new SyntaxError(`${path}.${key} is not a string`);
}

function readTexts(
  element: JsonObject,
  key: string,
  path: string,
): readonly string[] | undefined {
  const value = element[key] ?? undefined;
  if (value === undefined) return undefined;
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
    return value;
  }
  throw new SyntaxError(`${path}.${key} is not a list of strings`);
}

function decodeBase64(text: string): string {
  // A byte order mark is part of the configuration's bytes, however odd.
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
    .decode(Uint8Array.fromBase64(text));
}

function checksumOf(bodies: readonly string[]): string {
  return crc32(bodies.join("\n"));
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
