import { deepEqual, throws } from "node:assert/strict";
import { decodeResult, encodeResult } from "./answer.ts";

Deno.test("decodeResult() takes the result out of the envelope", () => {
  const result = { cniVersion: "1.1.0", ips: [{ address: "10.0.0.1/24" }] };
  deepEqual(decodeResult(encodeResult(result)), result);
});

Deno.test("decodeResult() refuses an answer without a result", async (t) => {
  const bodies = [
    ["", SyntaxError],
    ["ok", SyntaxError],
    ["{}", TypeError],
    ["null", TypeError],
    ["[]", TypeError],
    [
      '{"Result":null}',
      TypeError,
    ],
    ['{"Result":[]}', TypeError],
    ['{"result":{}}', TypeError],
  ] as const;
  for (const [body, kind] of bodies) {
    await t.step(
      JSON.stringify(body),
      () => throws(() => decodeResult(body), kind),
    );
  }
});
