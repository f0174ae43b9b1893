import { equal } from "node:assert/strict";
import { parse } from "yaml";
import { formatAge, painterOf, renderOutput, tableOr } from "./output.ts";
import { startProgress } from "./progress.ts";

Deno.test("renderOutput() prints one value in three forms", () => {
  const value = { name: "a", list: [1, 2], absent: undefined };
  const toText = ({ name }: { name: string }): string => `the ${name}\n`;
  equal(renderOutput(value, { output: "table", toText }), "the a\n");
  const json = renderOutput(value, { output: "json", toText });
  const yaml = renderOutput(value, { output: "yaml", toText });
  equal(json, '{\n  "name": "a",\n  "list": [\n    1,\n    2\n  ]\n}\n');
  equal(JSON.stringify(parse(yaml)), JSON.stringify(JSON.parse(json)));
});

Deno.test("tableOr() says so when there is nothing", () => {
  const headings = ["A", "B"];
  equal(tableOr({ headings, rows: [] }, "Nothing"), "Nothing\n");
  equal(tableOr({ headings, rows: [["1", "2"]] }, ""), "A    B\n1    2\n");
});

Deno.test("formatAge() shows one unit", () => {
  const rows: readonly (readonly [ms: number, text: string])[] = [
    [-5_000, "0s"],
    [59_999, "59s"],
    [60_000, "1m"],
    [3_599_000, "59m"],
    [3_600_000, "1h"],
    [86_400_000 * 9, "9d"],
  ];
  for (const [ms, text] of rows) equal(formatAge(ms), text);
});

Deno.test("painterOf() colours for a terminal only", () => {
  equal(painterOf({ isTerminal: false })("bad", "error"), "bad");
  equal(painterOf({ isTerminal: true })("bad", "error"), "\x1b[31mbad\x1b[0m");
});

Deno.test("startProgress() says on a terminal what is done, and leaves nothing there", () => {
  const show = ({ isErrorTerminal }: { isErrorTerminal: boolean }): string => {
    let shown = "";
    const stderr = (text: string): void => void (shown += text);
    {
      using progress = startProgress({ isErrorTerminal, stderr });
      progress.say("looking");
    }
    return shown;
  };
  equal(show({ isErrorTerminal: false }), "");
  equal(show({ isErrorTerminal: true }), "\r\x1b[Klooking …\r\x1b[K");
});
