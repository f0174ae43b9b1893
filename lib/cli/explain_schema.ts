/**
 * The shape of what `multusctl explain --output json` prints.
 */
import * as z from "zod/mini";
import type { DelegateSource } from "../selection/delegate.ts";
import type { Shape } from "./shape.ts";

/** One plugin of one network. */
export interface ExplainedPlugin {
  /** Its name. */
  readonly type: string;
  /** Its file; absent when it is missing, or the daemon does it itself. */
  readonly path?: string;
  /** Why it cannot be run. */
  readonly problem?: string;
  /** What it gets on standard input, byte for byte, but for prevResult of those before it. */
  readonly input: string;
}

/** One network that the pod would get. */
export interface ExplainedDelegate {
  /** Its place in the order of ADD, from 0. */
  readonly order: number;
  /** As network-status names it. */
  readonly network: string;
  /** The interface in the pod. */
  readonly interface: string;
  /** Why it is there. */
  readonly source: DelegateSource;
  /** Where it came from, for a person. */
  readonly from: string;
  /** The device plugin resource whose device it wants. */
  readonly resourceName?: string;
  /** CNI_ARGS. */
  readonly cniArgs: string;
  /** What becomes of the default routes that its plugins set, by family. */
  readonly defaultRoute: { readonly ipv4: string; readonly ipv6: string };
  /** In the order of ADD. */
  readonly plugins: readonly ExplainedPlugin[];
}

/** Something that the owner of the pod should know. */
export interface ExplainWarning {
  /** What kind it is. */
  readonly reason: string;
  /** Which network it is about. */
  readonly network: string;
  /** Which interface. */
  readonly interface: string;
  /** One sentence. */
  readonly message: string;
}

/** What the command prints. */
export interface ExplainReport {
  /** `<namespace>/<name>`. */
  readonly pod: string;
  /** Which files hold; `runtime` is absent when the runtime has none of Multus. */
  readonly configuration: {
    readonly daemon: string;
    readonly runtime?: string;
  };
  /** In the order of ADD; empty when there is an error. */
  readonly delegates: readonly ExplainedDelegate[];
  /** None of them stops ADD, but for a missing plugin. */
  readonly warnings: readonly ExplainWarning[];
  /** Why ADD would be refused. */
  readonly error?: string;
}

/** The schema of what the command prints. */
export const ExplainReportShape: Shape<ExplainReport> = z.strictObject({
  pod: z.string(),
  configuration: z.strictObject({
    daemon: z.string(),
    runtime: z.exactOptional(z.string()),
  }),
  delegates: z.array(z.strictObject({
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
    from: z.string(),
    resourceName: z.exactOptional(z.string()),
    cniArgs: z.string(),
    defaultRoute: z.strictObject({ ipv4: z.string(), ipv6: z.string() }),
    plugins: z.array(z.strictObject({
      type: z.string(),
      path: z.exactOptional(z.string()),
      problem: z.exactOptional(z.string()),
      input: z.string(),
    })),
  })),
  warnings: z.array(z.strictObject({
    reason: z.string(),
    network: z.string(),
    interface: z.string(),
    message: z.string(),
  })),
  error: z.exactOptional(z.string()),
});
