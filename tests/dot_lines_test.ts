import { equal } from "node:assert/strict";
import fc from "fast-check";
import { createDotLines } from "./dot_lines.ts";

async function fold(chunks: readonly string[]): Promise<string> {
  const lines = ReadableStream.from(chunks).pipeThrough(createDotLines());
  return (await Array.fromAsync(lines)).join("");
}

/** What the reporter writes where two of 162 tests fail, one of them with marks in its text. */
const WRITTEN = `${".\n".repeat(81)}!\nThe machine has 2 cores\n${
  ".\n".repeat(78)
},\n!

 ERRORS 

adds => ./a_test.ts:1:1
error: AssertionError: Values are not equal
.
!
    at file:///a_test.ts:1:1

FAILED | 159 passed | 2 failed | 1 ignored (3s)
`;

const SHOWN = `${".".repeat(80)}
.!
The machine has 2 cores
${".".repeat(78)},!
${WRITTEN.slice(WRITTEN.indexOf("\n ERRORS"))}`;

Deno.test("createDotLines() joins marks to lines and leaves all else as it is", async () => {
  equal(await fold([WRITTEN]), SHOWN);
});

Deno.test("createDotLines() does so wherever the text is cut", async () => {
  const cuts = fc.array(fc.nat(WRITTEN.length), { maxLength: 20 });
  await fc.assert(fc.asyncProperty(cuts, async (places) => {
    const sorted = [0, ...places.toSorted((a, b) => a - b), WRITTEN.length];
    const chunks = sorted.slice(1).map((to, index) =>
      WRITTEN.slice(sorted[index], to)
    );
    equal(await fold(chunks), SHOWN);
  }));
});

Deno.test("createDotLines() shows each mark at once, and ends with what has no line end", async () => {
  const { readable, writable } = createDotLines();
  const reader = readable.getReader();
  const writer = writable.getWriter();
  writer.write(".\n");
  equal((await reader.read()).value, ".");
  writer.write(".\n");
  equal((await reader.read()).value, ".");
  writer.write("Killed");
  equal((await reader.read()).value, "");
  writer.close();
  equal((await reader.read()).value, "\nKilled");
});
