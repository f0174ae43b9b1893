/**
 * What the shim, or a hot-plug controller, says to the daemon: the CNI environment and the configuration as it
 * came on stdin. Shapes and their JSON, checked by hand, because the shim loads this on every call and a
 * validation library would cost more than the call. What the values mean is the daemon's business.
 *
 * @module
 */

/** The route that carries the runtime's calls. */
export const CNI_ROUTE = "/cni";

/** The route that carries the calls of hot-plug controllers: one delegate of a running pod. */
export const DELEGATE_ROUTE = "/delegate";

/**
 * Largest request body. The configuration is at most 1 MiB (see the shim), a third more as base64, and the
 * environment is bounded by the kernel's 128 kB for one string; the rest is head room.
 */
export const REQUEST_BYTES_MAX = 2 * 1024 * 1024;

/** Environment variables of a trace that the call belongs to; passed on where they are set. */
export const TRACE_NAMES = ["TRACEPARENT", "TRACESTATE", "BAGGAGE"] as const;

/** What a hot-plug controller asks for one interface. */
export interface InterfaceAttributes {
  /** Addresses, with or without prefix. */
  readonly ips?: readonly string[];
  /** Hardware address. */
  readonly mac?: string;
  /** An object, for `args.cni` of the configuration. */
  readonly "cni-args"?: unknown;
}

/** Body of a request. */
export interface CniRequest {
  /** The CNI variables, and those of a trace. */
  readonly env: Readonly<Record<string, string>>;
  /** The base64 of the bytes that the runtime wrote to stdin. */
  readonly config: string;
  /** For the delegate route only. */
  readonly interfaceAttributes?: InterfaceAttributes;
}

/** The request as JSON. */
export function encodeRequest(request: CniRequest): string {
  return JSON.stringify(request);
}

/**
 * Reads a request as JSON. What Go writes for an empty value (`null`, or no key) counts as absent, unknown
 * keys are ignored.
 *
 * @throws {SyntaxError} If the text is not JSON, or `config` not base64
 * @throws {TypeError} If a value has the wrong shape
 */
export function decodeRequest(text: string): CniRequest {
  const body = readRecord(JSON.parse(text), "request");
  const config = body.config ?? "";
  if (typeof config !== "string") {
    throw new TypeError(`Config is not a base64 string: ${typeof config}`);
  }
  Uint8Array.fromBase64(config);
  const attributes = body.interfaceAttributes ?? undefined;
  return {
    env: readEnv(body.env),
    config,
    ...(attributes === undefined
      ? {}
      : { interfaceAttributes: readAttributes(attributes) }),
  };
}

/** Packs the bytes of a configuration for a request. */
export function encodeConfig(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/**
 * The configuration of a request as text.
 *
 * @throws {SyntaxError} If it is not base64, or not UTF-8
 */
export function decodeConfig(request: CniRequest): string {
  const bytes = Uint8Array.fromBase64(request.config);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SyntaxError("Configuration is not UTF-8 text", { cause });
  }
}

function readEnv(value: unknown): Record<string, string> {
  const env = readRecord(value, "env");
  const read: Record<string, string> = {};
  for (const [name, text] of Object.entries(env)) {
    if (typeof text !== "string") {
      throw new TypeError(
        `Env ${JSON.stringify(name)} is not a string: ${typeof text}`,
      );
    }
    Object.defineProperty(read, name, {
      value: text,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return read;
}

function readAttributes(value: unknown): InterfaceAttributes {
  const attributes = readRecord(value, "interfaceAttributes");
  const ips = attributes.ips ?? undefined;
  const mac = attributes.mac ?? undefined;
  const cniArgs = attributes["cni-args"] ?? undefined;
  if (ips !== undefined && !isStringList(ips)) {
    throw new TypeError("InterfaceAttributes.ips is not a list of strings");
  }
  if (mac !== undefined && typeof mac !== "string") {
    throw new TypeError(
      `InterfaceAttributes.mac is not a string: ${typeof mac}`,
    );
  }
  return {
    ...(ips === undefined ? {} : { ips }),
    ...(mac === undefined ? {} : { mac }),
    ...(cniArgs === undefined
      ? {}
      : { "cni-args": readRecord(cniArgs, "interfaceAttributes.cni-args") }),
  };
}

function isStringList(value: unknown): value is string[] {
  return Array.isArray(value) &&
    value.every((item) => typeof item === "string");
}

function readRecord(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`Not a JSON object: ${what}`);
  }
  return value as Record<string, unknown>;
}
