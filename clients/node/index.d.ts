/** Seals and opens the values of Tokenseal's tables, in Node, under AWS KMS or through the agent. */

/** The base of every error of this package; none carries a value, a key or a stored text. */
export class TokensealError extends Error {}
/** The stored text is not what its row or its mark says it is. */
export class Malformed extends TokensealError {}
/** The value does not open: another cell, another key, or damage. Deliberately one answer for all three. */
export class NotAuthentic extends TokensealError {}
/** The configuration, the profile or the caller's key forbids it. */
export class Refused extends TokensealError {}
/** A setting or a profile is unusable; the message names it. */
export class ConfigurationError extends Refused {}
/** This client does not do it; the message names what does, such as the agent. */
export class Unsupported extends Refused {}
/** The key service did not answer, or refused. */
export class KeyServiceError extends TokensealError {
  readonly kind:
    | "denied" | "not_found" | "disabled" | "pending_deletion" | "throttled" | "unavailable" | "timeout" | "wrong_key"
    | "misconfigured" | "invalid_request";
  /** Whether the same call can succeed a little later without any change. */
  get isRetryable(): boolean;
}
/** The agent answered with an error (its HTTP status), or not at all (0). */
export class AgentError extends TokensealError {
  readonly status: number;
  readonly errorClass: string;
  readonly hint: string | undefined;
  readonly correlationId: string | undefined;
  /** Seconds. */
  readonly retryAfter: number | undefined;
  readonly needsConsent: boolean;
  /** The end of another's lease (status 423). */
  readonly expires: string | undefined;
}

/** Text that was read back from the database (`CAST(column AS text)`), and so is canonical for any type. */
export class FromDatabase {
  readonly text: string;
  constructor(text: string);
}
export function fromDatabase(text: string): FromDatabase;

/** The types of a value for a key or owner column. */
export type KeyValue = string | number | bigint | FromDatabase;

/** A deployment's tables and conventions. */
export class Profile {
  readonly name: string;
  readonly context: ReadonlyMap<string, string>;
  readonly floor: string;
  /** Finds a built-in profile by name, or reads a TOML file or the JSON of `profile show --format json`. */
  static load(nameOrPath: string): Profile;
  static fromToml(text: string): Profile;
  static fromJson(text: string): Profile;
  static fromObject(parsed: unknown): Profile;
  /** The same profile with other pairs in every encryption context. */
  withContext(context: Map<string, string> | Record<string, string>): Profile;
}

/** A cell of a table. */
export interface Cell {
  table: string;
  column: string;
  /** Every key column of the table. */
  row: Record<string, KeyValue>;
  /** Every owner column of the table; `null` for NULL. */
  owner?: Record<string, KeyValue | null> | undefined;
  /** The row's `encryption_version`, `null` for NULL. Without it only envelopes open. */
  version?: number | string | bigint | null | undefined;
  /** The row's `encryption_key_id`: one that is not allowed is refused before any call. */
  keyId?: string | null | undefined;
}

/** A sealed value, and the values of the row's version columns for the same statement. */
export interface Sealed {
  text: string;
  keyId: string | null;
  version: number;
  method: string;
}

/** Where a text of an older format is; keys and owners in the database's text. */
export interface LegacyCell {
  table: string;
  column: string;
  row: Record<string, string>;
  owner: Record<string, string | null>;
}

/** Options that are left out are read from the environment, under the programs' names. */
export interface SealerOptions {
  /** `new KMS({ … })` or `new KMSClient({ … })` of @aws-sdk/client-kms. */
  kms: object;
  keyId?: string | undefined;
  profile?: Profile | string | undefined;
  allowedKeys?: Iterable<string> | undefined;
  envelopeFormat?: "v2" | "v3" | undefined;
  binding?: "accept-unbound" | "require" | "off" | undefined;
  plaintextPolicy?: "allow" | "allow-read" | "forbid" | undefined;
  floor?: "any" | "envelope" | "bound" | undefined;
  suite?: "aes-256-gcm" | "chacha20-poly1305" | undefined;
  /** Base64 of 32 bytes, to read direct AES. */
  encryptionKey?: string | undefined;
  /** Milliseconds. */
  cacheTtl?: number | undefined;
  cacheMax?: number | undefined;
  /** Opens values that are no envelopes in tables without version columns. */
  legacy?: ((text: string, cell: LegacyCell) => string | Promise<string>) | undefined;
}

export interface UpdateOptions {
  table: string;
  /** The row as the driver read it, with its key, owner, token and version columns. */
  old: Record<string, unknown>;
  /** Texts are sealed; `null` is NULL. */
  set: Record<string, string | Sealed | null>;
  plain?: Record<string, unknown> | undefined;
  dialect?: "postgres" | "sqlite" | "mysql" | undefined;
  placeholder?: "$1" | "?" | undefined;
}

/** SQL with placeholders, and their values. Exactly one changed row means success. */
export interface Statement {
  sql: string;
  params: unknown[];
}

/** Seals and opens values under AWS KMS data keys. */
export class Sealer {
  readonly profile: Profile;
  constructor(options: SealerOptions);
  /** Opens the text of a cell; NULL stays `null` and the empty string stays empty. */
  open(text: string, cell: Cell): Promise<string>;
  open(text: null, cell: Cell): Promise<null>;
  open(text: string | null, cell: Cell): Promise<string | null>;
  /** Seals a value for a cell under a data key of its own. */
  seal(value: string, cell: Cell): Promise<Sealed>;
  /** The `UPDATE … WHERE` that writes values into a row if it is unchanged since it was read (compare-and-swap). */
  update(options: UpdateOptions): Promise<Statement>;
  /** Forgets every unwrapped data key. */
  clearCache(): void;
}

/** A row for the agent: `null` is the NULL of an owner column. */
type Row = Record<string, KeyValue | null>;
type Plain = Record<string, KeyValue | boolean | Date | null>;

/** A cell for the agent. */
export interface AgentCell {
  table: string;
  column: string;
  row: Row;
  owner?: Row | null | undefined;
  version?: number | string | bigint | null | undefined;
}

/** A value that the agent sealed, as the row's version columns must say in the same statement. */
export interface AgentSealed {
  text: string;
  encryption_key_id: string | null;
  /** 2 for an envelope; 0 or 1 where the agent is configured to write plaintext or direct AES. */
  encryption_version: number;
  encryption_method: string | null;
}

/** Connections to `tokenseal-agent`, kept open between calls. */
export class AgentClient {
  /** `socket`: a path, `unix:/path`, or `127.0.0.1:PORT`, which needs a token. `timeout`: milliseconds. */
  constructor(socket?: string, options?: { token?: string; timeout?: number });
  get(row: Row, options?: { table?: string; columns?: string[] }): Promise<Record<string, any>>;
  put(
    row: Row,
    tokens: Record<string, string | null>,
    options?: { table?: string; plain?: Plain; ifRevision?: string; lease?: string },
  ): Promise<Record<string, any>>;
  delete(row: Row, options?: { table?: string; ifRevision?: string }): Promise<Record<string, any>>;
  fresh(row: Row, options: { validFor: number; table?: string }): Promise<Record<string, any>>;
  find(column: string, value: string, options?: { table?: string }): Promise<Record<string, string>[]>;
  lease(row: Row, options: { seconds: number; table?: string }): Promise<Record<string, any>>;
  release(row: Row, options: { lease: string; table?: string }): Promise<Record<string, any>>;
  open(text: string, cell: AgentCell): Promise<string>;
  seal(value: string, cell: AgentCell): Promise<AgentSealed>;
  /** An item that does not open, or that cannot be sent, has `error` and spoils no other. */
  openMany(items: (AgentCell & { text: string })[]): Promise<Record<string, any>[]>;
  sealMany(items: (AgentCell & { value: string })[]): Promise<Record<string, any>[]>;
  secret(name: string, options?: { stage?: string }): Promise<string>;
  close(): void;
}
