/**
 * SHA-256 (FIPS 180-4) of a text, at once. Records are checked with it, and
 * the texts are short: by `crypto.subtle` each digest is a turn of Deno's thread
 * pool, ten for an ADD and its DEL, and `node:crypto` takes 7 MB of memory. It
 * guards against damage, not against people.
 *
 * @module
 */

const BLOCK_BYTES = 64;
/** The end of the last block: one bit, and the length. */
const TAIL_BYTES = 9;

const ROUND_COUNT = 64;
const PRIMES = firstPrimes(ROUND_COUNT);
const ROUND_KEYS = Uint32Array.from(
  PRIMES,
  (prime) => fraction(Math.cbrt(prime)),
);
const START = Uint32Array.from(
  PRIMES.slice(0, 8),
  (prime) => fraction(Math.sqrt(prime)),
);

/** The digest of the UTF-8 of `text`, in hexadecimal. */
export function sha256(text: string): string {
  const blocks = pad(new TextEncoder().encode(text));
  const state = START.slice();
  const words = new Uint32Array(ROUND_COUNT);
  for (let at = 0; at < blocks.byteLength; at += BLOCK_BYTES) {
    for (let word = 0; word < 16; word++) {
      words[word] = blocks.getUint32(at + word * 4);
    }
    extend(words);
    mix(state, words);
  }
  return Array.from(state, (word) => word.toString(16).padStart(8, "0"))
    .join("");
}

function pad(bytes: Uint8Array): DataView {
  const length = Math.ceil((bytes.length + TAIL_BYTES) / BLOCK_BYTES) *
    BLOCK_BYTES;
  const padded = new Uint8Array(length);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(length - 8, BigInt(bytes.length) * 8n);
  return view;
}

function extend(words: Uint32Array): void {
  for (let at = 16; at < ROUND_COUNT; at++) {
    const a = words[at - 15] ?? 0;
    const b = words[at - 2] ?? 0;
    const s0 = turn(a, 7) ^ turn(a, 18) ^ (a >>> 3);
    const s1 = turn(b, 17) ^ turn(b, 19) ^ (b >>> 10);
    words[at] = (words[at - 16] ?? 0) + s0 + (words[at - 7] ?? 0) + s1;
  }
}

function mix(state: Uint32Array, words: Uint32Array): void {
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let at = 0; at < ROUND_COUNT; at++) {
    const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const choice = (e & f) ^ (~e & g);
    const t1 = (h + s1 + choice + (ROUND_KEYS[at] ?? 0) + (words[at] ?? 0)) | 0;
    const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + s0 + majority) | 0;
  }
  add(state, 0, a);
  add(state, 1, b);
  add(state, 2, c);
  add(state, 3, d);
  add(state, 4, e);
  add(state, 5, f);
  add(state, 6, g);
  add(state, 7, h);
}

/** Without a list of them: this runs for each 64 bytes. */
function add(state: Uint32Array, at: number, word: number): void {
  state[at] = (state[at] ?? 0) + word;
}

function turn(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}

/** The first 32 bits behind the point. */
function fraction(value: number): number {
  return Math.floor((value - Math.floor(value)) * 2 ** 32);
}

function firstPrimes(count: number): number[] {
  const primes: number[] = [];
  for (let candidate = 2; primes.length < count; candidate++) {
    if (primes.every((prime) => candidate % prime !== 0)) {
      primes.push(candidate);
    }
  }
  return primes;
}
