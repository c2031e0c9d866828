/** Seals and opens the values of Tokenseal's tables, in Node, under AWS KMS or through the agent. */

export { AgentClient } from "./agent.js";
export {
  AgentError, ConfigurationError, KeyServiceError, Malformed, NotAuthentic, Refused, TokensealError, Unsupported,
} from "./errors.js";
export { Profile } from "./profile.js";
export { FromDatabase, fromDatabase } from "./row-keys.js";
export { Sealer } from "./sealer.js";
