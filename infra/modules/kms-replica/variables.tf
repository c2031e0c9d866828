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

variable "primary_key_arn" {
  description = "ARN of the multi-Region primary, in another Region than this module's provider."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/mrk-[0-9a-f-]{32,36}$", var.primary_key_arn))
    error_message = "primary_key_arn is the ARN of a multi-Region key: its id starts with mrk-."
  }
}

variable "purpose" {
  description = "Purpose of the key: its Purpose tag."
  type        = string
  default     = "token-encryption"

  validation {
    condition     = can(regex("^[A-Za-z0-9 _.:/=+@-]{1,128}$", var.purpose))
    error_message = "purpose has 1 to 128 characters that a tag may have."
  }
}

variable "alias_name" {
  description = "The alias. If null, it is alias/<application>-<environment>, or alias/<name>."
  type        = string
  default     = null

  validation {
    condition     = var.alias_name == null || can(regex("^alias/[A-Za-z0-9/_-]{1,250}$", var.alias_name))
    error_message = "alias_name starts with alias/, as in alias/vod-tender-production."
  }
  validation {
    condition     = !startswith(coalesce(var.alias_name, "alias/own"), "alias/aws/")
    error_message = "alias/aws/ is reserved for AWS's own keys."
  }
}

variable "with_alias" {
  description = "Make the alias in this module. false where module kms-alias makes it, so that the alias outlives the key."
  type        = bool
  default     = true
}

variable "aliases" {
  description = "Further aliases of the key."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for alias in var.aliases : can(regex("^alias/[A-Za-z0-9/_-]{1,250}$", alias)) && !startswith(alias, "alias/aws/")])
    error_message = "aliases start with alias/, and alias/aws/ is reserved for AWS's own keys."
  }
}

variable "alias_target_key_id" {
  description = "The id or ARN of the key that this module's alias points to. If null, it is this module's own key."
  type        = string
  default     = null

  validation {
    condition     = var.alias_target_key_id == null || can(regex("^(arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/)?(mrk-)?[A-Za-z0-9-]+$", var.alias_target_key_id))
    error_message = "alias_target_key_id is the id or the ARN of a key, not an alias."
  }
}

variable "is_enabled" {
  description = "Keep the key enabled. false contains an incident: nothing under the key opens until it is true again, and the next apply keeps it so."
  type        = bool
  default     = true
}

variable "deletion_window_in_days" {
  description = "Days between a scheduled deletion and the end of everything under the key: 7 to 30."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30 && floor(var.deletion_window_in_days) == var.deletion_window_in_days
    error_message = "deletion_window_in_days is a whole number from 7 to 30."
  }
}

variable "encryption_context" {
  description = "The pairs that each request for this key must carry: what ENCRYPTION_CONTEXT holds."
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

variable "administrators" {
  description = "ARNs of the roles that manage the key. They cannot use it, but they can change its policy: choose few."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.administrators : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "administrators are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "application_roles" {
  description = "ARNs of the roles that the key policy itself lets seal and open, bound to the context."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.application_roles : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "application_roles are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "migrator_roles" {
  description = "ARNs of the roles that may also re-wrap data keys, bound to the context."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.migrator_roles : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "migrator_roles are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "exclusive" {
  description = "Deny the key's cryptographic actions to all but application_roles and migrator_roles, regardless of IAM policies."
  type        = bool
  default     = false

  validation {
    condition     = !var.exclusive || length(concat(var.application_roles, var.migrator_roles)) > 0
    error_message = "exclusive without a single role would leave a key that no one can use."
  }
}

variable "break_glass_role_arns" {
  description = "ARNs of the only roles that may disable the key, schedule its deletion, replicate it or move its primary. If empty, the policy denies these to no one. PutKeyPolicy, EnableKey and CancelKeyDeletion are never denied."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.break_glass_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "break_glass_role_arns are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "additional_policy_statements" {
  description = "Further statements of the key policy, as objects with Sid, Effect, Principal, Action, Resource and Condition."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_policy_statements : [statement.Effect, statement.Principal]])
    error_message = "additional_policy_statements is a list of statements of a resource policy, each with Effect and Principal."
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
