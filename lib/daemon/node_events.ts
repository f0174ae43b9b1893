/**
 * What is said on the node itself, beside the log: that runtimes do not use
 * the configuration of Multus, and that they do again. Everything else that
 * happens to the configuration is for the log. Pure.
 *
 * @module
 */
import type { Happening } from "../kube/events.ts";
import type { AutoConfigEvent } from "./auto_config_state.ts";

/** The words that `kubectl get events --field-selector reason=…` finds; kinds that are not here are not said. */
const REASONS: Readonly<Partial<Record<AutoConfigEvent["kind"], string>>> = {
  "primary-missing": "DefaultNetworkMissing",
  "primary-back": "DefaultNetworkBack",
  "not-effective": "MultusNotEffective",
  "repaired": "MultusConfigurationRepaired",
  "effective": "MultusEffective",
  "indicator-missing": "DefaultNetworkNotReady",
  "indicator-back": "DefaultNetworkReady",
};

/** The event to be said on the node about what happened to the configuration, if that is worth one. */
export function toNodeEvent(
  { kind, message, isWarning }: AutoConfigEvent,
): Happening | undefined {
  const reason = REASONS[kind];
  if (reason === undefined) return undefined;
  return { type: isWarning ? "Warning" : "Normal", reason, message };
}
