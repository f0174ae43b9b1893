/**
 * CRC-32 (ISO/IEC 8802-3, as in Ethernet and zlib) of a text, at once. Records
 * are checked with it: it finds every burst of damage of up to four bytes, and
 * of anything else all but one in four thousand million. It guards against
 * damage, not against people. Here, because what is to be had digests in a turn
 * of Deno's thread pool (`crypto.subtle`), or takes 7 MB of memory (`node:crypto`).
 *
 * @module
 */

/** The generator polynomial, the lowest power first. */
const POLYNOMIAL = 0xedb8_8320;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => divide(byte));

const encoder = new TextEncoder();

/** The sum of the UTF-8 of `text`, as eight hexadecimal digits. */
export function crc32(text: string): string {
  const bytes = encoder.encode(text);
  let rest = -1;
  for (let at = 0; at < bytes.length; at++) {
    rest = (TABLE[(rest ^ (bytes[at] ?? 0)) & 0xff] ?? 0) ^ (rest >>> 8);
  }
  return (~rest >>> 0).toString(16).padStart(8, "0");
}

function divide(byte: number): number {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) {
    rest = (rest & 1) === 0 ? rest >>> 1 : (rest >>> 1) ^ POLYNOMIAL;
  }
  return rest;
}
