/**
 * Lint as memory: rules of this house that the built-in ones do not know.
 * Each says in its message why it is there. It looks at single files; what
 * needs the whole import graph is in `tests/structure_test.ts`.
 */

/** Which rooms a room may import from; a room that is not named may be imported by nobody else's rules. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  cni: ["cni"],
  host: ["host", "cni"],
  kube: ["kube", "cni"],
  devices: ["devices", "cni", "host"],
  wire: ["wire", "cni"],
  selection: ["selection", "cni"],
  daemon: ["daemon", "selection", "cni", "kube", "devices", "host", "wire"],
  cli: ["cli", "daemon", "selection", "cni", "kube", "devices", "host", "wire"],
};

const FORBIDDEN_NAMES =
  /^(?:.*[/\\])?(?:util|utils|helper|helpers|common)\.ts$/;

function roomOf(path: string): string | undefined {
  return /(?:^|\/)lib\/([a-z]+)\/[^/]+$/.exec(path.replaceAll("\\", "/"))?.[1];
}

function isTest(path: string): boolean {
  return path.endsWith("_test.ts") ||
    /(?:^|\/)tests\//.test(path.replaceAll("\\", "/"));
}

/** The file that `specifier` names, seen from `filename`; relative ones only. */
function importedRoom(filename: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return roomOf(new URL(specifier, `file://${filename}`).pathname);
}

const roomDirections: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    const room = roomOf(context.filename);
    const allowed = room === undefined ? undefined : ROOMS[room];
    if (allowed === undefined || isTest(context.filename)) return {};
    return {
      ImportDeclaration(node): void {
        const target = importedRoom(context.filename, node.source.value);
        if (target === undefined || allowed.includes(target)) return;
        context.report({
          node,
          message:
            `Room "${room}" imports "${target}": imports run cni ← selection ← daemon ← cli, so that each room can be read and tested alone`,
        });
      },
    };
  },
};

const noPlainError: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    if (isTest(context.filename)) return {};
    return {
      'ThrowStatement > NewExpression[callee.name="Error"]'(
        node: Deno.lint.NewExpression,
      ): void {
        context.report({
          node,
          message:
            "A plain Error tells a caller nothing to act on: throw CniError, TypeError, RangeError, SyntaxError or a named subclass",
        });
      },
    };
  },
};

const messageForm: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    if (isTest(context.filename)) return {};
    return {
      "ThrowStatement > NewExpression > Literal"(
        node: Deno.lint.Literal,
      ): void {
        if (typeof node.value !== "string" || !/\.$/.test(node.value)) return;
        context.report({
          node,
          message:
            "A message ends without full stop: it is put into sentences of others and into events",
        });
      },
    };
  },
};

const noAllowAll: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    if (context.filename.endsWith("tests/lint.ts")) return {};
    return {
      Literal(node): void {
        if (node.value !== "-A" && node.value !== "--allow-all") return;
        context.report({
          node,
          message:
            "Nothing of this project is started with all permissions: take the flags from lib/grants.ts, which is what reviewers read",
        });
      },
    };
  },
};

const noVagueFileNames: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    return {
      Program(node): void {
        if (!FORBIDDEN_NAMES.test(context.filename)) return;
        context.report({
          node,
          message:
            "A file is named for the one thing that it is about: util, helpers and common collect what nobody owns",
        });
      },
    };
  },
};

/** `for` and `while` evaluate their parts again and again, `try` changes what an error does, a function may never run: nothing is moved into them. */
const STAYS_OUTSIDE = /^(?:for|while|try)\b|=>/;

const noSingleUsing: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    if (isTest(context.filename)) return {};
    return {
      VariableDeclaration(node): void {
        const { kind, declarations: [first], parent } = node;
        const name = first?.id.type === "Identifier"
          ? first.id.name
          : undefined;
        if (kind !== "using" || name === undefined) return;
        const body = parent.type === "BlockStatement" ? parent.body : [];
        const next =
          body[body.findIndex(({ range }) => range[0] === node.range[0]) + 1];
        if (next === undefined) return;
        const { text } = context.sourceCode;
        const usesFrom = (start: number, end: number): number =>
          text.slice(start, end)
            .split(new RegExp(`(?<!\\.)\\b${RegExp.escape(name)}\\b`))
            .length - 1;
        const nextText = text.slice(...next.range);
        const isMoved = usesFrom(...next.range) === 1 &&
          usesFrom(node.range[1], parent.range[1]) === 1 &&
          !STAYS_OUTSIDE.test(nextText);
        if (!isMoved) return;
        context.report({
          node,
          message:
            `The bundler's minifier moves a "using" that is used once into the next statement, and then nothing is disposed of: use try and finally, or a second name`,
        });
      },
    };
  },
};

const noDefaultOutput: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    if (isTest(context.filename)) return {};
    return {
      'CallExpression[callee.object.name="Deno"][callee.property.name="exit"]'(
        node: Deno.lint.CallExpression,
      ): void {
        if (/(?:^|\/)(?:main|shim)\.ts$/.test(context.filename)) return;
        context.report({
          node,
          message:
            "Only the two mains end the process: elsewhere it skips what must be released",
        });
      },
      'CallExpression[callee.property.name="output"]'(
        node: Deno.lint.CallExpression,
      ): void {
        if (!/\/lib\//.test(context.filename)) return;
        context.report({
          node,
          message:
            "output() of a child keeps about 75 kB per spawn that the collector does not see: read with getReader({ mode: 'byob' }), as lib/cni/exec.ts does",
        });
      },
    };
  },
};

const plugin: Deno.lint.Plugin = {
  name: "house",
  rules: {
    "room-directions": roomDirections,
    "no-plain-error": noPlainError,
    "message-form": messageForm,
    "no-allow-all": noAllowAll,
    "no-vague-file-names": noVagueFileNames,
    "ends-and-outputs": noDefaultOutput,
    "no-single-using": noSingleUsing,
  },
};

export default plugin;
