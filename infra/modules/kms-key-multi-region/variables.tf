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

variable "purpose" {
  description = "What the key is for: its Purpose tag."
  type        = string
  default     = "token-encryption"

  validation {
    condition     = can(regex("^[A-Za-z0-9 _.:/=+@-]{1,128}$", var.purpose))
    error_message = "purpose has 1 to 128 characters that a tag may have."
  }
}

variable "alias_name" {
  description = "The alias. Left out, it is alias/<application>-<environment>."
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
  description = "Deny the key's cryptographic actions to everybody but application_roles and migrator_roles, whatever IAM allows."
  type        = bool
  default     = false

  validation {
    condition     = !var.exclusive || length(concat(var.application_roles, var.migrator_roles)) > 0
    error_message = "exclusive without a single role would leave a key that nobody can use."
  }
}

variable "multi_region" {
  description = "Make the key the primary of a multi-Region key. Cannot be changed afterwards."
  type        = bool
  default     = true
}

variable "rotation_period_in_days" {
  description = "Days between two automatic rotations: 90 to 2,560."
  type        = number
  default     = 365

  validation {
    condition     = var.rotation_period_in_days >= 90 && var.rotation_period_in_days <= 2560 && floor(var.rotation_period_in_days) == var.rotation_period_in_days
    error_message = "rotation_period_in_days is a whole number from 90 to 2,560."
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
