/**
 * Parts of a program that most processes never need: what stands behind a
 * dynamic import. A script, as which a program is bundled, has no such import:
 * each part is bundled by itself and stands in the script as text, and
 * `import("./part.ts")` becomes a call that makes a module of it, once. In the
 * daemon, which stays, the texts are compressed and so is the program: as long
 * as nobody calls, a part costs its compressed length. In the shim, which is
 * started for each call, they stand as they are: to unpack them would take
 * longer than to read over them.
 *
 * A part of the daemon shares no module with the program or with another part,
 * because each would have one of its own, and its classes twice:
 * `tests/structure_test.ts` holds them to that. What the shim hands to its part
 * is data, connections and signals, no instance of a class of ours.
 */
import { brotliCompressSync } from "node:zlib";

/** What the daemon's sources import dynamically, as they write it, and where that lies. */
export const DAEMON_PARTS: ReadonlyMap<string, string> = new Map([
  ["./grpc.ts", "lib/devices/grpc.ts"],
  ["./kubeconfig_readers.ts", "lib/kube/kubeconfig_readers.ts"],
  ["./metrics.ts", "lib/daemon/metrics.ts"],
  ["./signing_request.ts", "lib/kube/signing_request.ts"],
]);

/** What the shim's sources import dynamically. */
export const SHIM_PARTS: ReadonlyMap<string, string> = new Map([
  ["./lib/wire/shim_program.ts", "lib/wire/shim_program.ts"],
]);

/** What takes the place of `import` in the script: a name that no minifier gives. */
const IMPORT = "importPart";

/**
 * The loader, as JavaScript: a function of the texts, which gives a function of
 * the name. A part is a CommonJS module, evaluated as a text for the reason that
 * `asText` in `build.ts` gives; a module built into Deno is all that it requires.
 */
const LOADER = `(texts) => {
  const modules = {};
  const load = async (name) => {
    const packed = new Blob([Uint8Array.fromBase64(texts[name])]).stream();
    const text = await new Response(
      packed.pipeThrough(new DecompressionStream("brotli")),
    ).text();
    const module = { exports: {} };
    (0, eval)("(module, exports, require, ${IMPORT}) => {" + text + "\\n}")(
      module,
      module.exports,
      (id) => process.getBuiltinModule(id),
      ${IMPORT},
    );
    return module.exports;
  };
  const ${IMPORT} = (name) =>
    modules[name] ??= load(name).catch((error) => {
      delete modules[name];
      throw error;
    });
  return ${IMPORT};
}`;

/** The same for texts that stand as they are, and for modules that require nothing; short, because it is read on each call. */
const PLAIN_LOADER =
  `(t,m={})=>async n=>m[n]??=(o=>((0,eval)("(module,exports)=>{"+t[n]+"\\n}")(o,o.exports),o.exports))({exports:{}})`;

/** The name of the script itself, which is held as its parts are: a text that is several times in memory is best short. */
const PROGRAM = "program";

/** How the texts of parts stand in a script: compressed, and the script as well, or all as it is. */
export type Packing = "compressed" | "plain";

/** What becomes of the dynamic imports of a script. */
export interface Imports {
  /** Scripts of the parts, by the names that they are imported by. */
  readonly texts: ReadonlyMap<string, string>;
  /** Names of what is never imported in this program. */
  readonly leftOut: readonly string[];
  /** Compressed if not given. */
  readonly packing?: Packing;
}

/**
 * Puts parts into the script that imports them. With any that are compressed, what comes of it begins to run a
 * moment after it is loaded.
 *
 * @throws {SyntaxError} when it imports something else, or one of them never.
 */
export function embedParts(
  script: string,
  { texts, leftOut, packing = "compressed" }: Imports,
): string {
  const seen = new Set<string>();
  const own = script.replaceAll(
    /\bimport\("([^"]*)"\)/g,
    (_, name: string) => {
      seen.add(name);
      return leftOut.includes(name) ? "undefined" : `${IMPORT}("${name}")`;
    },
  );
  const known = new Set([...texts.keys(), ...leftOut]);
  const [wrong] = known.symmetricDifference(seen);
  if (wrong !== undefined) {
    throw new SyntaxError(
      `Part is ${seen.has(wrong) ? "missing" : "never imported"}: ${wrong}`,
    );
  }
  // Imported statically, a part would be asked of the modules that are built into Deno.
  const [fixed] = /\("\.{1,2}\/[^"]*\.ts"\)/.exec(
    own.replaceAll(`${IMPORT}(`, ""),
  ) ?? [];
  if (fixed !== undefined) {
    throw new SyntaxError(`Part is imported statically, too: ${fixed}`);
  }
  for (const [name, text] of texts) {
    if (/\bimport\(/.test(text)) {
      throw new SyntaxError(`Part imports something dynamically: ${name}`);
    }
    // Its loader gives it nothing to require with.
    if (packing === "plain" && /["'`]node:/.test(text)) {
      throw new SyntaxError(`Part requires a module: ${name}`);
    }
  }
  if (texts.size === 0) return own;
  if (packing === "plain") {
    const program = toLiteral(`${IMPORT}=>{${own.trimEnd()}\n}`);
    const plain = [...texts].map(([name, text]) =>
      `${JSON.stringify(name)}:${toLiteral(text)}`
    );
    return `(0,eval)(${program})((${PLAIN_LOADER})({${plain}}));\n`;
  }
  const all: [string, string][] = [...texts, [PROGRAM, own]];
  const packed = Object.fromEntries(
    all.map(([name, text]) => [name, pack(text)]),
  );
  return `(${LOADER})(${JSON.stringify(packed)})("${PROGRAM}");\n`;
}

/** A text as it stands in JavaScript, between the quotes that it holds fewer of. */
function toLiteral(text: string): string {
  const double = JSON.stringify(text);
  const inner = double.slice(1, -1).replaceAll('\\"', '"');
  const single = `'${inner.replaceAll("'", "\\'")}'`;
  return single.length < double.length ? single : double;
}

function pack(text: string): string {
  const bytes: Uint8Array = brotliCompressSync(new TextEncoder().encode(text));
  return bytes.toBase64();
}
