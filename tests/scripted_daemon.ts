/**
 * A daemon that says what a test tells it to, byte for byte, on a real unix socket: whole answers, pieces, rubbish,
 * silence. What it was asked is kept. It knows nothing of CNI; for a daemon that does, there is ours.
 *
 * @module
 */

/** What was asked. */
export interface Asked {
  readonly method: string;
  readonly route: string;
  readonly headers: Headers;
  readonly body: string;
  /** Settles when the client has gone. */
  readonly gone: Promise<void>;
}

/** Something to say, or to wait for before going on. */
export type Piece = string | Uint8Array | Promise<void>;

/** What to say: piece after piece, then the connection is closed. */
export type Script = (asked: Asked) => readonly Piece[];

/** A running scripted daemon. */
export interface ScriptedDaemon extends AsyncDisposable {
  readonly asked: readonly Asked[];
}

/** Listens on the socket and answers each request with the script. */
export function startScriptedDaemon(
  socketPath: string,
  script: Script,
): ScriptedDaemon {
  const listener = Deno.listen({ transport: "unix", path: socketPath });
  const asked: Asked[] = [];
  const conns = new Set<Deno.UnixConn>();
  const serving = accept(listener, async (conn) => {
    conns.add(conn);
    await serve(conn, { asked, script });
    conns.delete(conn);
  });
  return {
    asked,
    async [Symbol.asyncDispose](): Promise<void> {
      listener.close();
      for (const conn of conns) conn.close();
      await serving;
      await Deno.remove(socketPath).catch(() => {});
    },
  };
}

/** An HTTP answer with its length, as both daemons write it. */
export function formatAnswer(status: number, body: string): string {
  const length = new TextEncoder().encode(body).length;
  return `HTTP/1.1 ${status} Told\r\nContent-Length: ${length}\r\n` +
    `Connection: close\r\n\r\n${body}`;
}

/** Puts a socket where nobody listens, as a daemon that was killed leaves it. */
export async function leaveStaleSocket(socketPath: string): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path: socketPath });
  await Deno.rename(socketPath, `${socketPath}.kept`);
  listener.close(); // removes the path that it was given
  await Deno.rename(`${socketPath}.kept`, socketPath);
  // A program that another test starts in this moment has it until it is executed.
  while (await takesConnections(socketPath)) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function takesConnections(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}

async function accept(
  listener: Deno.UnixListener,
  handle: (conn: Deno.UnixConn) => Promise<void>,
): Promise<void> {
  const handling: Promise<void>[] = [];
  for await (const conn of listener) handling.push(handle(conn));
  await Promise.all(handling);
}

async function serve(
  conn: Deno.UnixConn,
  options: { asked: Asked[]; script: Script },
): Promise<void> {
  try {
    const { head, body } = await readRequest(conn);
    const [line = "", ...fields] = head.split("\r\n");
    const [method = "", route = ""] = line.split(" ");
    const asked: Asked = {
      method,
      route,
      headers: new Headers(fields.map((field) => splitField(field))),
      body,
      gone: waitForEnd(conn),
    };
    options.asked.push(asked);
    for (const piece of options.script(asked)) await say(conn, piece);
  } catch {
    // The client has gone, or the test has ended: nothing is left to be said.
  } finally {
    closeOnce(conn);
  }
}

async function readRequest(
  conn: Deno.UnixConn,
): Promise<{ head: string; body: string }> {
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  const decoder = new TextDecoder("latin1");
  for (;;) {
    const end = text.indexOf("\r\n\r\n");
    const length = /content-length: (\d+)/i.exec(text)?.[1] ?? "0";
    if (end >= 0 && text.length >= end + 4 + Number(length)) {
      const body = text.slice(end + 4);
      return { head: text.slice(0, end), body };
    }
    const count = await conn.read(buffer);
    if (count === null) throw new TypeError("Request ends too early");
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
}

async function waitForEnd(conn: Deno.UnixConn): Promise<void> {
  const buffer = new Uint8Array(16);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // Closed on this side, or reset: it has gone as well.
  }
}

async function say(conn: Deno.UnixConn, piece: Piece): Promise<void> {
  if (piece instanceof Promise) return await piece;
  const isText = typeof piece === "string";
  const bytes = isText ? new TextEncoder().encode(piece) : piece;
  for (let at = 0; at < bytes.length;) {
    at += await conn.write(bytes.subarray(at));
  }
}

function splitField(field: string): [string, string] {
  const at = field.indexOf(":");
  return [field.slice(0, at), field.slice(at + 1).trim()];
}

function closeOnce(conn: Deno.UnixConn): void {
  try {
    conn.close();
  } catch {
    // It was closed when the test ended.
  }
}
