/**
 * As much of the Protocol Buffers wire format as the kubelet's pod-resources messages need: strings and nested
 * messages, written and read by field number. Numbers are stepped over, not decoded: no field this project looks at
 * is one. Schemas, maps, packed fields and groups are left alone.
 *
 * Wire format: https://protobuf.dev/programming-guides/encoding/
 */

/** One field holding a string or a nested message, as it stands in its message. */
export interface Field {
  /** The number that the schema gives the field. */
  readonly number: number;
  /** A view into the message, not a copy. */
  readonly bytes: Uint8Array;
}

/**
 * Reads the strings and nested messages of a message, in the order they stand there.
 *
 * @throws {SyntaxError} when the bytes are no message
 */
export function* readFields(message: Uint8Array): Generator<Field> {
  let offset = 0;
  while (offset < message.length) {
    const key = readVarint(message, offset);
    const number = Math.floor(key.value / 8);
    if (number < 1 || number > FIELD_NUMBER_MAX) {
      throw new SyntaxError(`Field number is out of range: ${number}`);
    }
    const wireType = key.value % 8;
    const start = startOfValue(message, key.end, wireType);
    const end = endOfValue(message, key.end, wireType);
    if (end > message.length) {
      throw new SyntaxError(`Field ends after its message: ${number}`);
    }
    if (wireType === WIRE_BYTES) {
      yield { number, bytes: message.subarray(start, end) };
    }
    offset = end;
  }
}

/**
 * Reads the value of a string field.
 *
 * @throws {SyntaxError} when the bytes are not UTF-8
 */
export function readText(bytes: Uint8Array): string {
  try {
    return strictText.decode(bytes);
  } catch (cause) {
    throw new SyntaxError("String field is not UTF-8", { cause });
  }
}

/** Writes a message out of its fields, each a string or a nested message, in the order given. */
export function writeFields(
  fields: readonly (readonly [number: number, value: string | Uint8Array])[],
): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [number, value] of fields) {
    const bytes = typeof value === "string" ? encoder.encode(value) : value;
    parts.push(
      writeVarint(number * 8 + WIRE_BYTES),
      writeVarint(bytes.length),
      bytes,
    );
  }
  return concatenate(parts);
}

/** The largest field number that the format knows. */
const FIELD_NUMBER_MAX = 2 ** 29 - 1;
/** A 64 bit number takes at most so many groups of seven bits. */
const VARINT_BYTES_MAX = 10;
const WIRE_VARINT = 0;
const WIRE_64_BITS = 1;
const WIRE_BYTES = 2;
const WIRE_32_BITS = 5;

const encoder = new TextEncoder();
const strictText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function startOfValue(
  message: Uint8Array,
  offset: number,
  wireType: number,
): number {
  return wireType === WIRE_BYTES ? readVarint(message, offset).end : offset;
}

function endOfValue(
  message: Uint8Array,
  offset: number,
  wireType: number,
): number {
  switch (wireType) {
    case WIRE_VARINT:
      return readVarint(message, offset).end;
    case WIRE_64_BITS:
      return offset + 8;
    case WIRE_32_BITS:
      return offset + 4;
    case WIRE_BYTES: {
      const length = readVarint(message, offset);
      return length.end + length.value;
    }
    default:
      throw new SyntaxError(`Wire type is not known: ${wireType}`);
  }
}

/**
 * Reads a number as a double: exact up to 2^53, which is far above any length or key that fits into a message. A
 * longer one becomes merely large, and is then either stepped over or found to be out of range.
 */
function readVarint(
  message: Uint8Array,
  offset: number,
): { value: number; end: number } {
  let value = 0;
  for (let i = 0; i < VARINT_BYTES_MAX; i++) {
    const byte = message[offset + i];
    if (byte === undefined) {
      throw new SyntaxError("Message ends inside a number");
    }
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, end: offset + i + 1 };
  }
  throw new SyntaxError(`Number is longer than ${VARINT_BYTES_MAX} bytes`);
}

function writeVarint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) + 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
