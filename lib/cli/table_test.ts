import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { renderMarkdownTable, renderTable } from "./table.ts";

const TABLE = {
  headings: ["Kind", "Value"],
  rows: [["read", "/etc/a|b"], ["é☃", ""]],
};

Deno.test("renderTable() aligns columns and leaves nothing at line ends", () => {
  equal(
    renderTable(TABLE),
    "KIND  VALUE\nread  /etc/a|b\né☃\n",
  );
});

Deno.test("renderMarkdownTable() escapes what would end a cell", () => {
  equal(
    renderMarkdownTable(TABLE),
    "| Kind | Value     |\n| ---- | --------- |\n| read | /etc/a\\|b |\n| é☃   |           |\n",
  );
});

Deno.test("renderMarkdownTable() makes lines of one length, a cell for every heading", () => {
  const cell = fc.string({ unit: fc.constantFrom("a", "|", "\n", "é", " ") });
  const rows = fc.array(fc.tuple(cell, cell), { maxLength: 5 });
  fc.assert(fc.property(rows, (cells) => {
    const text = renderMarkdownTable({ headings: ["x", "y"], rows: cells });
    const lines = text.split("\n").slice(0, -1);
    equal(lines.length, cells.length + 2);
    deepEqual(new Set(lines.map((line) => line.length)).size, 1);
    for (const line of lines) {
      equal(line.split(/(?<!\\)\|/).length, 4);
    }
  }));
});
