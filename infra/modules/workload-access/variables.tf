variable "application" {
  description = "The application's name, as in its alias, its tags and its metrics: vod-tender."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.application))
    error_message = "application has 3 to 32 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "environment" {
  description = "The environment, as in its alias, its tags and its metrics: development, staging, production or a word of yours."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.environment))
    error_message = "environment has 2 to 32 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "name" {
  description = "The first part of every name in this module. If null, it is <application>-<environment>. Set it where the same application and environment are in an account twice, for example in a second Region."
  type        = string
  default     = null

  validation {
    condition     = var.name == null || can(regex("^[a-z][a-z0-9-]{1,46}[a-z0-9]$", var.name))
    error_message = "name has 3 to 48 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "program_environment" {
  description = "The value of ENVIRONMENT, which the programs read: development, staging or production. If null, environment, which then is one of these."
  type        = string
  default     = null

  validation {
    condition     = contains(["development", "staging", "production"], coalesce(var.program_environment, var.environment))
    error_message = "program_environment is development, staging or production; set it where environment is another word."
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
  description = "ARNs of keys in other Regions, nearest first, that are used instead of the first of key_arns when its Region does not answer."
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
  description = "The pairs that each request must carry: what ENCRYPTION_CONTEXT holds. They are in CloudTrail in plain text."
  type        = map(string)
  default = {
    Application = "vod-tender"
    Purpose     = "oauth-token"
  }

  validation {
    condition     = length(var.encryption_context) > 0
    error_message = "encryption_context is empty: without a pair, requests of this application and of another look the same."
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
    condition     = var.identity != "irsa" || var.oidc_provider_arn != null || length(var.oidc_provider_arns) > 0
    error_message = "identity irsa needs oidc_provider_arn or oidc_provider_arns."
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

variable "oidc_provider_arns" {
  description = "ARNs of further clusters' IAM OIDC providers, for irsa. The service accounts are the same in each."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.oidc_provider_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", arn))])
    error_message = "oidc_provider_arns are ARNs of IAM OIDC providers."
  }
}

variable "oidc_audience" {
  description = "Audience of the clusters' tokens, for irsa."
  type        = string
  default     = "sts.amazonaws.com"

  validation {
    condition     = can(regex("^[a-z0-9.-]+$", var.oidc_audience))
    error_message = "oidc_audience is a name like sts.amazonaws.com."
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

variable "cluster_arns" {
  description = "ARNs of further clusters whose pods may assume the roles, for pod-identity."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.cluster_arns : can(regex("^arn:[a-z-]+:eks:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9_-]+$", arn))])
    error_message = "cluster_arns are ARNs of EKS clusters."
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

variable "service_accounts" {
  description = "Further service accounts of the application, as namespace/name."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for account in var.service_accounts : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", account))])
    error_message = "service_accounts are namespace/name, without wildcards."
  }
}

variable "migrator_service_account" {
  description = "The service account of the migration Job, as namespace/name. If this is null and migrator_service_accounts is empty, there is no migrator role."
  type        = string
  default     = null

  validation {
    condition     = var.migrator_service_account == null || can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", var.migrator_service_account))
    error_message = "migrator_service_account is namespace/name, without wildcards."
  }
  validation {
    condition     = length(setintersection(concat(var.migrator_service_account[*], var.migrator_service_accounts), concat([var.service_account], var.service_accounts))) == 0
    error_message = "the migrator needs a service account of its own: re-wrapping is not the application's right."
  }
}

variable "migrator_service_accounts" {
  description = "Further service accounts of migration Jobs, as namespace/name."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for account in var.migrator_service_accounts : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", account))])
    error_message = "migrator_service_accounts are namespace/name, without wildcards."
  }
}

variable "secrets" {
  description = "Secrets that the application reads: their ARNs and the ARN of the key that encrypts them. Without an ARN there is no policy."
  type = object({
    secret_arns = list(string)
    key_arn     = string
  })
  default = null

  validation {
    condition     = var.secrets == null || try(startswith(var.secrets.key_arn, "arn:"), false)
    error_message = "secrets names the key by its ARN."
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

variable "iam_path" {
  description = "The path of the IAM roles in this module."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([A-Za-z0-9+=,.@_-]+/)*$", var.iam_path))
    error_message = "iam_path starts and ends with a slash, as in /tokenseal/."
  }
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for the roles, where the account requires one."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary))
    error_message = "permissions_boundary is the ARN of an IAM policy."
  }
}

variable "application_role_name" {
  description = "The name of the application's role. If null, <name>-application."
  type        = string
  default     = null

  validation {
    condition     = var.application_role_name == null || can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.application_role_name))
    error_message = "application_role_name is a name that IAM allows, of at most 64 characters."
  }
}

variable "migrator_role_name" {
  description = "The name of the migrator's role. If null, <name>-migrator."
  type        = string
  default     = null

  validation {
    condition     = var.migrator_role_name == null || can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.migrator_role_name))
    error_message = "migrator_role_name is a name that IAM allows, of at most 64 characters."
  }
}

variable "max_session_duration" {
  description = "Seconds that a session of the roles lasts at most: 3,600 to 43,200. Revoked rights of a session end with it."
  type        = number
  default     = 3600

  validation {
    condition     = var.max_session_duration >= 3600 && var.max_session_duration <= 43200 && floor(var.max_session_duration) == var.max_session_duration
    error_message = "max_session_duration is a whole number of seconds from 3,600 to 43,200."
  }
}

variable "additional_application_statements" {
  description = "Further statements of the application's policy, as objects with Effect, Action, Resource and Condition."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_application_statements : [statement.Effect, statement.Resource]])
    error_message = "additional_application_statements is a list of statements of an identity policy, each with Effect and Resource."
  }
}

variable "additional_migrator_statements" {
  description = "Further statements of the migrator's policy, as objects with Effect, Action, Resource and Condition."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_migrator_statements : [statement.Effect, statement.Resource]])
    error_message = "additional_migrator_statements is a list of statements of an identity policy, each with Effect and Resource."
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
