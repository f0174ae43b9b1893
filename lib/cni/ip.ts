/**
 * Tells IP addresses from other texts, strictly and without a package, because
 * the shim needs it: four decimal numbers without leading zeros, or RFC 4291
 * groups; no zone, no prefix where none is asked for. Calculating with addresses
 * is left to others.
 *
 * @module
 */

/** An address with the length of its network's prefix. */
export interface Cidr {
  /** The address as it was written. */
  readonly address: string;
  /** The length of the prefix, in bits. */
  readonly prefixLength: number;
  /** The address family. */
  readonly family: 4 | 6;
}

/** `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`, the longest way to write one. */
const IP_LENGTH_MAX = 45;

const DECIMAL = /^(?:0|[1-9]\d{0,2})$/;
const GROUP = /^[0-9a-fA-F]{1,4}$/;
const GROUPS = 8;

/** Tells whether a text is an IP address. */
export function isIp(text: string): boolean {
  return addressFamily(text) !== undefined;
}

/** Gives the family of an address, with or without prefix, or undefined if it is none. */
export function familyOf(text: string): 4 | 6 | undefined {
  return text.includes("/") ? parseCidr(text)?.family : addressFamily(text);
}

/** Reads ADDRESS/PREFIX, or gives undefined if it is not that. */
export function parseCidr(text: string): Cidr | undefined {
  const [address = "", prefix = "", ...rest] = text.split("/", 3);
  const family = addressFamily(address);
  if (rest.length > 0 || family === undefined) return undefined;
  if (!DECIMAL.test(prefix)) return undefined;
  const prefixLength = Number(prefix);
  if (prefixLength > (family === 4 ? 32 : 128)) return undefined;
  return { address, prefixLength, family };
}

function addressFamily(text: string): 4 | 6 | undefined {
  if (text.length > IP_LENGTH_MAX) return undefined;
  if (isIpv4(text)) return 4;
  return isIpv6(text) ? 6 : undefined;
}

function isIpv4(text: string): boolean {
  const parts = text.split(".", 5);
  return parts.length === 4 &&
    parts.every((part) => DECIMAL.test(part) && Number(part) <= 255);
}

function isIpv6(text: string): boolean {
  const [head = "", tail, ...rest] = text.split("::", 3);
  if (rest.length > 0) return false;
  if (tail === undefined) return countGroups(head, { isLast: true }) === GROUPS;
  const before = head === "" ? 0 : countGroups(head, { isLast: false });
  const after = tail === "" ? 0 : countGroups(tail, { isLast: true });
  // "::" stands for one group at least.
  return before + after < GROUPS;
}

/** Counts groups of 16 bits; NaN if one of them is not right. */
function countGroups(text: string, { isLast }: { isLast: boolean }): number {
  const groups = text.split(":");
  const last = groups.at(-1) ?? "";
  const isMixed = isLast && isIpv4(last);
  const plain = isMixed ? groups.slice(0, -1) : groups;
  if (!plain.every((group) => GROUP.test(group))) return NaN;
  return plain.length + (isMixed ? 2 : 0);
}
