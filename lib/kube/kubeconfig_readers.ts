/**
 * The packages that read a kubeconfig, loaded with the first one: in a pod there is none.
 *
 * @module
 */
export {
  newClusters,
  newContexts,
  newUsers,
} from "@kubernetes/client-node/dist/config_types.js";
export { parse } from "yaml";
