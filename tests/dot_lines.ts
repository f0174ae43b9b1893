/**
 * The output of `deno test --reporter=dot` for a log. On a terminal the
 * reporter fills the line; elsewhere it writes each mark on a line of its own,
 * which is a thousand lines before the first that says something. Here the marks
 * become lines again; all else, and the whole report of what failed, is left as it is.
 */

/** Passed, failed, ignored. */
const MARKS = [".", "!", ","];

/** As wide as a terminal was. */
const MARKS_MAX = 80;

/** What the report of failures begins with; a mark alone on a line is the text of a test from here on. */
const REPORT_HEADER = " ERRORS ";

/** Joins marks to lines. Each is handed on as soon as its line has ended. */
export function createDotLines(): TransformStream<string, string> {
  let marks = 0;
  let isReport = false;
  let rest = "";
  const endMarks = (): string => {
    const end = marks === 0 ? "" : "\n";
    marks = 0;
    return end;
  };
  const fold = (line: string): string => {
    if (isReport || !MARKS.includes(line)) {
      isReport ||= line === REPORT_HEADER;
      return `${endMarks()}${line}\n`;
    }
    marks += 1;
    return marks === MARKS_MAX ? line + endMarks() : line;
  };
  return new TransformStream({
    transform(chunk, controller): void {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      controller.enqueue(lines.map(fold).join(""));
    },
    flush(controller): void {
      controller.enqueue(endMarks() + rest);
    },
  });
}
