variable "application" {
  description = "The application's name, as in its alias, its tags and its metrics: vod-tender."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.application))
    error_message = "application has 3 to 32 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "environment" {
  description = "The environment, in the words that the programs read from ENVIRONMENT: development, staging or production."
  type        = string

  validation {
    condition     = contains(["development", "staging", "production"], var.environment)
    error_message = "environment is development, staging or production."
  }
}

variable "key_arns" {
  description = "ARNs of the keys that open values. The first one wraps new data keys; the others are its predecessors."
  type        = list(string)

  validation {
    condition     = length(var.key_arns) > 0
    error_message = "key_arns is empty."
  }
  validation {
    condition     = alltrue([for arn in var.key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", arn))])
    error_message = "key_arns are key ARNs: an alias in a policy's Resource does not cover its key."
  }
}

variable "replica_key_arns" {
  description = "ARNs of keys in other Regions, nearest first, that stand in for the first of key_arns when its Region does not answer."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.replica_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", arn))])
    error_message = "replica_key_arns are key ARNs: an alias in a policy's Resource does not cover its key."
  }
  validation {
    condition     = length(distinct([for arn in concat([try(var.key_arns[0], "")], var.replica_key_arns) : try(split(":", arn)[3], arn)])) == 1 + length(var.replica_key_arns)
    error_message = "replica_key_arns are each of another Region, and none of that of the first key."
  }
}

variable "encryption_context" {
  description = "The pairs that each request must carry: what ENCRYPTION_CONTEXT holds. They stand in CloudTrail in plain text."
  type        = map(string)
  default = {
    Application = "vod-tender"
    Purpose     = "oauth-token"
  }

  validation {
    condition     = length(var.encryption_context) > 0
    error_message = "encryption_context is empty: without a pair nothing tells this application's requests from another's."
  }
}

variable "binding_keys" {
  description = "The further context keys that a request may carry: table, column and the primary-key columns of every profile in use."
  type        = list(string)
  default     = ["table", "column", "provider", "channel"]

  validation {
    condition     = alltrue([for entry in var.binding_keys : can(regex("^[^*?$,=\\s]+$", entry))])
    error_message = "binding_keys are plain names, without wildcards or spaces."
  }
}

variable "identity" {
  description = "How pods become the roles: irsa (an OIDC provider of the cluster) or pod-identity (the EKS Pod Identity agent)."
  type        = string
  default     = "irsa"

  validation {
    condition     = contains(["irsa", "pod-identity"], var.identity)
    error_message = "identity is irsa or pod-identity."
  }
  validation {
    condition     = var.identity != "irsa" || var.oidc_provider_arn != null
    error_message = "identity irsa needs oidc_provider_arn."
  }
}

variable "oidc_provider_arn" {
  description = "ARN of the cluster's IAM OIDC provider, for irsa."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn is the ARN of an IAM OIDC provider."
  }
}

variable "cluster_arn" {
  description = "ARN of the one cluster whose pods may assume the roles, for pod-identity. Left out, any cluster of the account may."
  type        = string
  default     = null

  validation {
    condition     = var.cluster_arn == null || can(regex("^arn:[a-z-]+:eks:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9_-]+$", var.cluster_arn))
    error_message = "cluster_arn is the ARN of an EKS cluster."
  }
}

variable "service_account" {
  description = "The application's service account, as namespace/name."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", var.service_account))
    error_message = "service_account is namespace/name, without wildcards."
  }
}

variable "migrator_service_account" {
  description = "The service account of the migration Job, as namespace/name. Left out, there is no migrator role."
  type        = string
  default     = null

  validation {
    condition     = var.migrator_service_account == null || can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", var.migrator_service_account))
    error_message = "migrator_service_account is namespace/name, without wildcards."
  }
  validation {
    condition     = var.migrator_service_account == null || coalesce(var.migrator_service_account, "/") != var.service_account
    error_message = "the migrator needs a service account of its own: re-wrapping is not the application's right."
  }
}

variable "secrets" {
  description = "Secrets that the application reads: their ARNs and the ARN of the key that encrypts them."
  type = object({
    secret_arns = list(string)
    key_arn     = string
  })
  default = null

  validation {
    condition     = var.secrets == null || try(length(var.secrets.secret_arns) > 0 && startswith(var.secrets.key_arn, "arn:"), false)
    error_message = "secrets names at least one secret, and its key by ARN."
  }
}

variable "kms_direct" {
  description = "Also allow kms:Encrypt, for tables whose tokens KMS itself encrypted and that are still written so."
  type        = bool
  default     = false
}

variable "legacy_without_context" {
  description = "Also open data keys that were wrapped without any context. Turn it off once no such row is left."
  type        = bool
  default     = false
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for the roles, where the account demands one."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary))
    error_message = "permissions_boundary is the ARN of an IAM policy."
  }
}

variable "tags" {
  description = "Further tags for everything in this module. Application, Environment and Purpose are set here and win."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.tags) : !startswith(lower(name), "aws:")])
    error_message = "tags that begin with aws: are AWS's own."
  }
}
