import { deepEqual, doesNotMatch, equal, throws } from "node:assert/strict";
import { embedParts } from "./parts.ts";

const PART = `module.exports={at:require("node:path").join("a","b"),of:[]}`;

/** Runs a script that calls a global function in the end. */
async function run(script: string): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  Object.assign(globalThis, { tell: resolve });
  await import(`data:text/javascript,${encodeURIComponent(script)}`);
  return await promise;
}

Deno.test("embedParts() makes a part a module when it is imported, once", async () => {
  const script =
    `(async()=>tell([await import("./a.ts"),await import("./a.ts")]))();`;
  const imports = { texts: new Map([["./a.ts", PART]]), leftOut: [] };
  const made = embedParts(script, imports);
  doesNotMatch(made, /node:path/);
  const [first, second] = await run(made) as unknown[];
  deepEqual(first, { at: "a/b", of: [] });
  equal(first, second);
});

Deno.test("embedParts() imports nothing in the place of what is left out", async () => {
  const script = `(async()=>tell(String(await import("./b.ts"))))();`;
  const imports = { texts: new Map(), leftOut: ["./b.ts"] };
  equal(await run(embedParts(script, imports)), "undefined");
});

Deno.test("embedParts() refuses imports and parts that do not belong together", () => {
  const table: [script: string, part: string, message: RegExp][] = [
    [`f()`, "./a.ts", /never imported: \.\/a\.ts$/],
    [`import("./b.ts");import("./a.ts")`, "./a.ts", /missing: \.\/b\.ts$/],
    [`import("./a.ts");q("./a.ts")`, "./a.ts", /statically, too: /],
  ];
  for (const [script, part, message] of table) {
    const imports = { texts: new Map([[part, PART]]), leftOut: [] };
    throws(
      () => embedParts(script, imports),
      { name: "SyntaxError", message },
      script,
    );
  }
});
