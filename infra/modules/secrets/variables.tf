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

variable "prefix" {
  description = "Prefix of every secret's name, as manage-secrets' --prefix. If null, it is <application>/<environment>/."
  type        = string
  default     = null

  validation {
    condition     = var.prefix == null || can(regex("^[A-Za-z0-9_+=.@-]+(/[A-Za-z0-9_+=.@-]+)*/$", var.prefix))
    error_message = "prefix ends with a slash, as in vod-tender/production/."
  }
}

variable "secrets" {
  description = <<-EOT
    The secrets, by their name after the prefix. kind is database (rotated every 30 days), signing-key (every 90 days) or
    other (no schedule of its own); rotation_days says otherwise. Values are never here: manage-secrets writes them.
  EOT
  type = map(object({
    description   = string
    kind          = optional(string, "other")
    rotation_days = optional(number)
  }))

  validation {
    condition     = alltrue([for name in keys(var.secrets) : can(regex("^[A-Za-z0-9/_+=.@-]{1,200}$", name))])
    error_message = "a secret's name has 1 to 200 letters, digits and /_+=.@-."
  }
  validation {
    condition     = alltrue([for secret in values(var.secrets) : contains(["database", "signing-key", "other"], secret.kind)])
    error_message = "kind is database, signing-key or other."
  }
  validation {
    condition     = alltrue([for secret in values(var.secrets) : try(secret.rotation_days >= 1 && secret.rotation_days <= 365, secret.rotation_days == null)])
    error_message = "rotation_days is between 1 and 365."
  }
}

variable "rotation_lambda_arns" {
  description = "For the secrets that rotate by themselves, the function that rotates them. The others are rotated by hand and watched for their age."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.rotation_lambda_arns) : contains(keys(var.secrets), name)])
    error_message = "rotation_lambda_arns names a secret that secrets does not."
  }
  validation {
    condition = alltrue([for name in keys(var.rotation_lambda_arns) :
      try(var.secrets[name].kind != "other" || var.secrets[name].rotation_days != null, true)
    ])
    error_message = "a secret of kind other that rotates by itself needs rotation_days."
  }
}

variable "reader_roles" {
  description = "ARNs of the roles that read the secrets: the policies of secrets and key allow it to them. With exclusive, no others but operators and functions can."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.reader_roles : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "reader_roles are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "operator_roles" {
  description = "ARNs of the roles that write and rotate them by hand: the policies of secrets and key allow it to them."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.operator_roles : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "operator_roles are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "rotation_roles" {
  description = "ARNs of the rotation functions' own roles: the policies of secrets and key allow them to rotate."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.rotation_roles : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "rotation_roles are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "exclusive" {
  description = "Deny reading to all but these roles, regardless of IAM policies."
  type        = bool
  default     = false

  validation {
    condition     = !var.exclusive || length(concat(var.reader_roles, var.operator_roles, var.rotation_roles)) > 0
    error_message = "exclusive without a single role would leave secrets that no one can read."
  }
}

variable "additional_policy_statements" {
  description = "Further statements of each secret's resource policy, as objects with Effect, Principal, Action, Resource and Condition."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_policy_statements : [statement.Effect, statement.Principal]])
    error_message = "additional_policy_statements is a list of statements of a resource policy, each with Effect and Principal."
  }
}

variable "recovery_window_in_days" {
  description = "Days in which a deleted secret can be restored: 7 to 30."
  type        = number
  default     = 30

  validation {
    condition     = var.recovery_window_in_days >= 7 && var.recovery_window_in_days <= 30 && floor(var.recovery_window_in_days) == var.recovery_window_in_days
    error_message = "recovery_window_in_days is a whole number from 7 to 30."
  }
}

variable "deletion_window_in_days" {
  description = "Days between a scheduled deletion of the secrets' key and its end: 7 to 30."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30 && floor(var.deletion_window_in_days) == var.deletion_window_in_days
    error_message = "deletion_window_in_days is a whole number from 7 to 30."
  }
}

variable "alarm_topic_arn" {
  description = "The SNS topic for failed and overdue rotations: topic_arn of module alarms."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn is the ARN of an SNS topic."
  }
}

variable "audit_namespace" {
  description = "The namespace that module audit-trail's filters count in."
  type        = string
  default     = null

  validation {
    condition     = var.audit_namespace == null || can(regex("^Tokenseal/Audit/.+$", var.audit_namespace))
    error_message = "audit_namespace is what audit-trail gives as metric_namespace."
  }
}

variable "with_alarms" {
  description = "Make the alarm on failed rotations; it needs alarm_topic_arn and audit_namespace."
  type        = bool
  default     = false

  validation {
    condition     = !var.with_alarms || (var.alarm_topic_arn != null && var.audit_namespace != null)
    error_message = "with_alarms needs alarm_topic_arn and audit_namespace."
  }
}

variable "with_config_rules" {
  description = "Watch by AWS Config that no secret is older than its schedule. The account needs a configuration recorder; alarm_topic_arn is needed too."
  type        = bool
  default     = false

  validation {
    condition     = !var.with_config_rules || var.alarm_topic_arn != null
    error_message = "with_config_rules needs alarm_topic_arn."
  }
}

variable "rotation_grace_days" {
  description = "Days that a secret may be older than its schedule before it counts as overdue."
  type        = number
  default     = 2

  validation {
    condition     = var.rotation_grace_days >= 0 && var.rotation_grace_days <= 30
    error_message = "rotation_grace_days is between 0 and 30."
  }
}

variable "runbook_base_url" {
  description = "The https address of docs/runbooks in your copy of this repository, so that the link in an alarm opens. If null, the alarms name the file only."
  type        = string
  default     = null

  validation {
    condition     = var.runbook_base_url == null || can(regex("^https://[^\\s]+[^/\\s]$", var.runbook_base_url))
    error_message = "runbook_base_url starts with https:// and does not end with a slash."
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
