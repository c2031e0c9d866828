/** Errors: what a caller can do about each; none of them carries a value, a key or a stored text. */

/** The base of every error of this package. */
export class TokensealError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** The stored text is not what its row or its mark says it is. Trying again does not help. */
export class Malformed extends TokensealError {}

/** The value does not open: another cell, another key, or damage. Deliberately one answer for all three. */
export class NotAuthentic extends TokensealError {
  constructor(message = "value does not open: wrong key, wrong encryption context, or damaged") {
    super(message);
  }
}

/** The configuration, the profile or the caller's key forbids it. Nothing weaker was read or written instead. */
export class Refused extends TokensealError {}

/** A setting or a profile is unusable; the message names it. */
export class ConfigurationError extends Refused {}

/** This client does not do it; the message names what does, such as the agent. */
export class Unsupported extends Refused {}

/** The key service did not answer, or refused. */
export class KeyServiceError extends TokensealError {
  /**
   * @param {string} kind
   * @param {string} message
   */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }

  /** Whether the same call can succeed a little later without any change. */
  get isRetryable() {
    return ["throttled", "unavailable", "timeout"].includes(this.kind);
  }
}

/** The agent answered with an error, or not at all (status 0). */
export class AgentError extends TokensealError {
  /**
   * @param {number} status
   * @param {string} errorClass
   * @param {string} message
   * @param {{hint?: string | undefined, correlationId?: string | undefined, retryAfter?: number | undefined, needsConsent?: boolean, expires?: string | undefined}} details
   */
  constructor(status, errorClass, message, details = {}) {
    super(message);
    this.status = status;
    this.errorClass = errorClass;
    this.hint = details.hint;
    this.correlationId = details.correlationId;
    this.retryAfter = details.retryAfter;
    this.needsConsent = details.needsConsent ?? false;
    /** The end of another's lease (status 423). */
    this.expires = details.expires;
  }
}
