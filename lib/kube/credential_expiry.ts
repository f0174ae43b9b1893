/**
 * Until when credentials are good, as they say themselves: the `exp` of a
 * service account's token, the `notAfter` of a client certificate. For people
 * who watch over a node; whether a credential is taken is the server's word
 * alone, so nothing here verifies, and what cannot be read says nothing.
 *
 * RFC 7519, section 4.1.4; RFC 5280, section 4.1.2.5.
 *
 * @module
 */

/** When the token ends, in milliseconds since 1970; `undefined` for one that does not end or is no JWT. */
export function tokenExpiryMs(token: string): number | undefined {
  const [, payload = ""] = token.split(".");
  try {
    const { exp } = JSON.parse(
      atob(payload.replaceAll("-", "+").replaceAll("_", "/")),
    );
    return typeof exp === "number" && Number.isFinite(exp)
      ? exp * 1000
      : undefined;
  } catch {
    return undefined;
  }
}

/** When the first certificate of a PEM text ends, in milliseconds since 1970; `undefined` when that cannot be read. */
export function certificateExpiryMs(pem: string): number | undefined {
  const base64 = /-----BEGIN CERTIFICATE-----([^-]+)-----END/.exec(pem)?.[1];
  if (base64 === undefined) return undefined;
  try {
    const der = Uint8Array.from(
      atob(base64.replace(/\s+/g, "")),
      (char) => char.charCodeAt(0),
    );
    return readNotAfter(der);
  } catch (error) {
    if (error instanceof RangeError || error instanceof DOMException) {
      return undefined;
    }
    throw error;
  }
}

const SEQUENCE = 0x30;
const EXPLICIT_VERSION = 0xa0;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;

interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

/** The element of DER that begins at `at`. */
function elementAt(der: Uint8Array, at: number): Element {
  const [tag = 0, first = 0] = der.subarray(at, at + 2);
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  const digits = der.subarray(at + 2, at + 2 + lengthBytes);
  const length = first < 0x80
    ? first
    : digits.reduce((number, digit) => number * 256 + digit, 0);
  const start = at + 2 + lengthBytes;
  const end = start + length;
  if (end > der.length || start > der.length) {
    throw new RangeError(`DER ends inside an element: ${at}`);
  }
  return { tag, start, end };
}

/** The first element inside, which must be of a tag. */
function inside(der: Uint8Array, { tag, start }: Element): Element {
  if (tag !== SEQUENCE) throw new RangeError(`Not a DER sequence: ${tag}`);
  return elementAt(der, start);
}

/** Certificate, its body, then: version (not always there), serial, algorithm, issuer, validity. */
function readNotAfter(der: Uint8Array): number | undefined {
  const body = inside(der, elementAt(der, 0));
  let element = inside(der, body);
  if (element.tag === EXPLICIT_VERSION) element = elementAt(der, element.end);
  for (let skipped = 0; skipped < 3; skipped++) {
    element = elementAt(der, element.end);
  }
  const notBefore = inside(der, element);
  return readTime(der, elementAt(der, notBefore.end));
}

function readTime(
  der: Uint8Array,
  { tag, start, end }: Element,
): number | undefined {
  if (tag !== UTC_TIME && tag !== GENERALIZED_TIME) return undefined;
  const text = new TextDecoder().decode(der.subarray(start, end));
  const digits = tag === UTC_TIME ? century(text) + text : text;
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits) ?? [];
  const ms = Date.parse(
    `${year}-${month}-${day}T${hour}:${minute}:${second}Z`,
  );
  return Number.isNaN(ms) ? undefined : ms;
}

/** Two digits stand for 1950 to 2049. */
function century(text: string): string {
  return Number(text.slice(0, 2)) < 50 ? "20" : "19";
}
