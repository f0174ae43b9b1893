/**
 * The shape of what `multusctl explain --output json` prints.
 */
import * as z from "zod/mini";

/** One plugin of one delegate. */
const ExplainedPlugin = z.strictObject({
  type: z.string(),
  /** Its file; absent when it is missing, or the daemon does it itself. */
  path: z.optional(z.string()),
  /** Why it cannot be run. */
  problem: z.optional(z.string()),
  /** What it gets on standard input, byte for byte, but for prevResult of those before it. */
  input: z.string(),
});

/** One network that the pod would get. */
export const ExplainedDelegateShape = z.strictObject({
  /** Its place in the order of ADD, from 0. */
  order: z.number(),
  network: z.string(),
  interface: z.string(),
  source: z.enum([
    "default",
    "defaultNetworks",
    "annotation",
    "auxiliary",
    "hotplug",
  ]),
  /** Where it came from, for a person. */
  from: z.string(),
  /** The device plugin resource whose device it wants. */
  resourceName: z.optional(z.string()),
  /** CNI_ARGS. */
  cniArgs: z.string(),
  /** What becomes of the default route that its plugins set. */
  defaultRoute: z.strictObject({ ipv4: z.string(), ipv6: z.string() }),
  plugins: z.array(ExplainedPlugin),
});

/** What the command prints. */
export const ExplainReportShape = z.strictObject({
  pod: z.string(),
  configuration: z.strictObject({
    daemon: z.string(),
    /** The file that the runtime uses; absent when there is none of Multus. */
    runtime: z.optional(z.string()),
  }),
  /** In the order of ADD; empty when there is an error. */
  delegates: z.array(ExplainedDelegateShape),
  warnings: z.array(z.strictObject({
    reason: z.string(),
    network: z.string(),
    interface: z.string(),
    message: z.string(),
  })),
  /** Why ADD would be refused. */
  error: z.optional(z.string()),
});

/** One network that the pod would get. */
export type ExplainedDelegate = z.infer<typeof ExplainedDelegateShape>;

/** What the command prints. */
export type ExplainReport = z.infer<typeof ExplainReportShape>;
