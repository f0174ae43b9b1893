/**
 * Plays messages that were written down (`tests/recordings/`) to a socket, byte
 * for byte, and reads what comes back as Go's HTTP client does: the connection
 * stays open, bodies are counted or chunked, and may be compressed.
 */

/** An answer as it was understood. */
export interface Replayed {
  readonly status: number;
  readonly body: string;
}

/** Less than any answer of a daemon that works takes. */
const ANSWER_WAIT_MS = 30_000;

/** A message that was written down. */
export async function readRecording(name: string): Promise<Uint8Array> {
  return await Deno.readFile(
    new URL(`./recordings/${name}.http`, import.meta.url),
  );
}

/** Says it, and reads one answer. */
export async function replay(
  socketPath: string,
  message: Uint8Array,
): Promise<Replayed> {
  using conn = await Deno.connect({ transport: "unix", path: socketPath });
  const timer = setTimeout(() => conn.close(), ANSWER_WAIT_MS);
  try {
    for (let at = 0; at < message.length;) {
      at += await conn.write(message.subarray(at));
    }
    return await readAnswer(conn);
  } finally {
    clearTimeout(timer);
  }
}

async function readAnswer(conn: Deno.Conn): Promise<Replayed> {
  let received = "";
  const buffer = new Uint8Array(16 * 1024);
  for (;;) {
    const end = received.indexOf("\r\n\r\n");
    const head = received.slice(0, Math.max(end, 0));
    const body = end < 0 ? undefined : wholeBody(head, received.slice(end + 4));
    if (body !== undefined) {
      const status = Number(head.split(" ")[1]);
      return { status, body: await decode(body, head) };
    }
    const count = await conn.read(buffer);
    if (count === null) {
      throw new Deno.errors.UnexpectedEof(`Answer ends early: ${received}`);
    }
    // One character for each byte, so that places in the text are places in the bytes.
    received += String.fromCharCode(...buffer.subarray(0, count));
  }
}

/** The body once it is all there. */
function wholeBody(head: string, rest: string): string | undefined {
  if (/^transfer-encoding: chunked$/im.test(head)) return joinChunks(rest);
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? "0");
  return rest.length < length ? undefined : rest.slice(0, length);
}

function joinChunks(rest: string): string | undefined {
  let body = "";
  for (let at = 0;;) {
    const line = rest.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const size = parseInt(rest.slice(at, line), 16);
    if (rest.length < line + 2 + size + 2) return undefined;
    if (size === 0) return body;
    body += rest.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
}

async function decode(body: string, head: string): Promise<string> {
  const bytes = Uint8Array.from(body, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream();
  return /^content-encoding: gzip$/im.test(head)
    ? await new Response(
      stream.pipeThrough(new DecompressionStream("gzip")),
    ).text()
    : await new Response(stream).text();
}
