/**
 * The packages that read a kubeconfig, loaded with the first one: in a pod there is none.
 *
 * @module
 */
import {
  newClusters,
  newContexts,
  newUsers,
} from "@kubernetes/client-node/dist/config_types.js";
import { parse } from "yaml";

/** As the packages have them. */
export default { newClusters, newContexts, newUsers, parse };
