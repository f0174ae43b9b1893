/**
 * Tables for people: plain columns on a terminal, and Markdown whose source
 * is aligned as `deno fmt` aligns it.
 */

/** A table: every row has a cell for each heading. */
export interface Table {
  /** What the columns are. */
  readonly headings: readonly string[];
  /** The cells, row by row. */
  readonly rows: readonly (readonly string[])[];
}

function widthsOf(lines: readonly (readonly string[])[]): number[] {
  const columns = lines[0]?.map((_, column) => column) ?? [];
  return columns.map((column) =>
    Math.max(3, ...lines.map((line) => [...line[column] ?? ""].length))
  );
}

function pad(cell: string, width: number): string {
  return cell + " ".repeat(width - [...cell].length);
}

/** Columns with two spaces between them, headings in capitals; ends with a line end. */
export function renderTable(table: Table): string {
  const headings = table.headings.map((heading) => heading.toUpperCase());
  const lines = [headings, ...table.rows];
  const widths = widthsOf(lines);
  return lines.map((line) =>
    line.map((cell, column) => pad(cell, widths[column] ?? 0)).join("  ")
      .trimEnd() + "\n"
  ).join("");
}

/** A Markdown table; what would end a cell is escaped. Ends with a line end. */
export function renderMarkdownTable(table: Table): string {
  const lines = [table.headings, ...table.rows].map((line) =>
    line.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " "))
  );
  const widths = widthsOf(lines);
  const [headings = [], ...rows] = lines.map((line) =>
    line.map((cell, column) => pad(cell, widths[column] ?? 0))
  );
  const rule = widths.map((width) => "-".repeat(width));
  return [headings, rule, ...rows].map((line) => `| ${line.join(" | ")} |\n`)
    .join("");
}
