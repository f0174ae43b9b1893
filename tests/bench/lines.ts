/** Text as its lines. */

/** Cuts a stream of text into lines; what follows the last line end is left out. */
export class TextLineStream extends TransformStream<string, string> {
  constructor() {
    let pending = "";
    super({
      transform: (text, controller) => {
        const lines = (pending + text).split("\n");
        pending = lines.pop() ?? "";
        for (const line of lines) controller.enqueue(line);
      },
    });
  }
}
