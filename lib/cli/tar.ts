/**
 * Writes a tar archive (POSIX ustar) of plain files, from memory to memory. It
 * knows no directories, links or long names: a bundle has none.
 */

/** A file to be. */
export interface TarFile {
  /** Its path in the archive; at most 100 bytes. */
  readonly name: string;
  /** What stands in it. */
  readonly text: string;
}

/** Archives are made of blocks, headers included. */
const BLOCK_BYTES = 512;

/** The name's place in a header. */
const NAME_BYTES_MAX = 100;

const encoder = new TextEncoder();

/**
 * The archive; all files are of the same time.
 *
 * @throws {RangeError} when a name is too long.
 */
export function makeTar(
  files: readonly TarFile[],
  time: Date,
): Uint8Array<ArrayBuffer> {
  const parts = files.flatMap(({ name, text }) => {
    const bytes = encoder.encode(text);
    return [makeHeader(name, { size: bytes.length, time }), padded(bytes)];
  });
  // Two empty blocks are the end.
  parts.push(new Uint8Array(2 * BLOCK_BYTES));
  const whole = new Uint8Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function padded(bytes: Uint8Array): Uint8Array {
  const blocks = Math.ceil(bytes.length / BLOCK_BYTES);
  const whole = new Uint8Array(blocks * BLOCK_BYTES);
  whole.set(bytes);
  return whole;
}

/** Where the fields of a header begin. */
const AT = {
  mode: 100,
  uid: 108,
  gid: 116,
  size: 124,
  mtime: 136,
  checksum: 148,
  type: 156,
  magic: 257,
} as const;

function octal(value: number, digits: number): string {
  return `${Math.floor(value).toString(8).padStart(digits, "0")}\0`;
}

function makeHeader(
  name: string,
  { size, time }: { size: number; time: Date },
): Uint8Array {
  const nameBytes = encoder.encode(name);
  if (nameBytes.length > NAME_BYTES_MAX) {
    throw new RangeError(`Name is too long for the archive: ${name}`);
  }
  const header = new Uint8Array(BLOCK_BYTES);
  const put = (at: number, text: string): void =>
    header.set(encoder.encode(text), at);
  header.set(nameBytes);
  put(AT.mode, octal(0o600, 7));
  put(AT.uid, octal(0, 7));
  put(AT.gid, octal(0, 7));
  put(AT.size, octal(size, 11));
  put(AT.mtime, octal(time.getTime() / 1000, 11));
  put(AT.type, "0");
  put(AT.magic, "ustar\x0000");
  // The checksum is made as if its own place were spaces.
  put(AT.checksum, " ".repeat(8));
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(AT.checksum, `${octal(sum, 6)} `);
  return header;
}
