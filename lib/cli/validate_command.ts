/**
 * `multusctl validate`: checks manifests and configurations before they are
 * used, and says line and column of what is wrong. It asks nobody and changes
 * nothing, so it can run anywhere.
 *
 * Needs: read of the files, where they are not given on standard input.
 */
import { type Call, type CtlCommand, ExitCode } from "./command.ts";
import { readInput } from "./input_file.ts";
import {
  type Output,
  OUTPUT_OPTION,
  type Paint,
  painterOf,
  renderOutput,
} from "./output.ts";
import { validateTexts } from "./validate.ts";
import type { ValidationReport } from "./validate_schema.ts";

const HELP =
  `Checks NetworkAttachmentDefinitions and the annotations of pods and of what makes
pods (Deployment, DaemonSet, …), YAML or JSON, any number in a file; CNI
configurations; 00-multus.conf and the daemon's configuration.
Exits 1 when there is an error; warnings alone exit 0.

multusctl may read the directories of CNI and Multus and those that its profile
names; any other file is given on standard input.

Examples:
  multusctl validate /etc/cni/net.d/00-multus.conf
  multusctl validate - < pod.yaml
  kubectl get net-attach-def -A -o yaml | multusctl validate -`;

/** The command `validate`. */
export const VALIDATE: CtlCommand = {
  arguments: [{
    syntax: "<files...>",
    summary: "manifests or configurations; - is standard input",
  }],
  options: [OUTPUT_OPTION],
  help: HELP,
  run: runValidate,
};

async function runValidate({ args, options, world }: Call): Promise<number> {
  const [files = []] = args as [string[]];
  const texts: { file: string; text: string }[] = [];
  for (const file of files) {
    texts.push({ file, text: await readInput(file, world) });
  }
  const report = validateTexts(texts);
  const paint = painterOf(world);
  world.stdout(renderOutput(report, {
    output: options["output"] as Output,
    toText: (value) => renderValidation(value, paint),
  }));
  const isWrong = report.findings.some(({ severity }) => severity === "error");
  return isWrong ? ExitCode.finding : ExitCode.ok;
}

/** As compilers say it, so that editors find the place. */
function renderValidation(
  { findings, checked }: ValidationReport,
  paint: Paint,
): string {
  const lines = findings.map(({ file, line, column, severity, message }) =>
    `${file}:${line}:${column}: ${paint(severity, severity)}: ${message}\n`
  );
  const files = new Set([...checked, ...findings].map(({ file }) => file));
  const good = [...files].filter((file) =>
    !findings.some((finding) => finding.file === file)
  );
  const names = (file: string): string =>
    checked.filter((one) => one.file === file).map(({ what }) => what)
      .join(", ");
  return lines.join("") +
    good.map((file) => `${file}: ${paint("ok", "ok")}: ${names(file)}\n`)
      .join("");
}
