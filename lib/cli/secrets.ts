/**
 * Takes out of texts what nobody but this node should know: they go into bug
 * reports. What is secret is told by the names of members and by its form; in
 * doubt it is taken out.
 */

/** Stands where a secret stood. */
export const REMOVED = "(removed)";

/** Names of members whose values are secret, whatever they look like. */
const SECRET_NAME =
  /^(?:authorization|auth|psk|key|.*(?:passw(?:or)?d|passphrase|secret|token|credential|private-?_?key|client-?_?key|api-?_?key|key-?_?data|certificate-?_?data|community).*)$/i;

/** Members with such a name that are a path or a name, and what a reader needs. */
const NO_SECRET = /^(?:.*(?:file|path|dir))$/i;

/** Texts that are secret by their form. */
const SECRET_TEXTS: readonly RegExp[] = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  /\b(?:bearer|basic)\s+[\w.~+/=-]{8,}/gi,
];

/** `password=…`, `"token": "…"` in a line that is no JSON as a whole. */
const ASSIGNMENT =
  /((?:passw(?:or)?d|passphrase|secret|token|api-?_?key|key-data)["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;}]+)/gi;

/** Name and password in a URL. */
const USER_INFO = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi;

/** A text without secrets; one that is JSON keeps its form, but not its white space. */
export function redactText(text: string): string {
  const value = asJson(text);
  if (value !== undefined) return JSON.stringify(redactValue(value), null, 2);
  const plain = SECRET_TEXTS.reduce(
    (rest, secret) => rest.replace(secret, REMOVED),
    text,
  );
  return plain.replace(ASSIGNMENT, `$1${REMOVED}`)
    .replace(USER_INFO, `$1${REMOVED}@`);
}

/** A value of JSON without secrets; strings that hold JSON are looked into. */
export function redactValue(value: unknown): unknown {
  if (typeof value === "string") {
    const inner = asJson(value);
    return inner === undefined
      ? redactText(value)
      : JSON.stringify(redactValue(inner));
  }
  if (Array.isArray(value)) return value.map(redactValue);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, member]) => {
    const isSecret = SECRET_NAME.test(key) && !NO_SECRET.test(key) &&
      typeof member !== "boolean" && member !== null;
    return [key, isSecret ? REMOVED : redactValue(member)] as const;
  });
  return Object.fromEntries(entries);
}

/** Objects and lists only: a number or a word is a text. */
function asJson(text: string): unknown {
  if (!/^\s*[{[]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
