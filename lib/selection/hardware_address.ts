/**
 * Hardware addresses as people write them: octets in hexadecimal, in pairs with
 * colons or hyphens, or in fours with dots.
 *
 * @module
 */

const IN_PAIRS = /^[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2})*$/i;
const IN_FOURS = /^[0-9a-f]{4}(?:\.[0-9a-f]{4})+$/i;
/** Ethernet; EUI-64; IP over InfiniBand. */
const MAC_OCTETS: readonly number[] = [6, 8, 20];
const GUID_OCTETS = 8;

/** Whether a text is the hardware address of an interface. */
export function isMac(text: string): boolean {
  return MAC_OCTETS.includes(countOctets(text));
}

/** Whether a text is the GUID of an InfiniBand port. */
export function isInfinibandGuid(text: string): boolean {
  return countOctets(text) === GUID_OCTETS;
}

/** How many octets a text is made of; 0 if it is no hardware address. */
function countOctets(text: string): number {
  if (IN_PAIRS.test(text)) return (text.length + 1) / 3;
  return IN_FOURS.test(text) ? (text.length + 1) / 5 * 2 : 0;
}
