variable "region" {
  description = "The AWS Region."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region looks like eu-central-1."
  }
}

variable "application" {
  description = "The application's name, as in its alias, its tags and its metrics."
  type        = string
  default     = "vod-tender"

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

variable "oidc_provider_arn" {
  description = "ARN of the EKS cluster's IAM OIDC provider."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn is the ARN of an IAM OIDC provider."
  }
}

variable "namespace" {
  description = "The Kubernetes namespace that the application and the migration Job run in."
  type        = string
  default     = "vod-tender"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "namespace is the name of a Kubernetes namespace."
  }
}

variable "log_bucket_name" {
  description = "The bucket that keeps the trail's logs; examples/log-archive makes one, best in another account."
  type        = string
}

variable "key_administrators" {
  description = "ARNs of the roles that manage the key."
  type        = list(string)
  default     = []
}

variable "auditors" {
  description = "ARNs of the roles that read the trail's logs."
  type        = list(string)
  default     = []
}

variable "exclusive" {
  description = "Let nobody but the application and the migrator use the key, whatever IAM allows."
  type        = bool
  default     = true
}

variable "deletion_window_in_days" {
  description = "Days between a scheduled deletion of a key and its end: 7 to 30."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30
    error_message = "deletion_window_in_days is between 7 and 30."
  }
}

variable "log_retention_days" {
  description = "Days that the trail's log group keeps events: 90 or more."
  type        = number
  default     = 365

  validation {
    condition     = var.log_retention_days >= 90
    error_message = "log_retention_days is 90 or more."
  }
}

variable "subscriptions" {
  description = "Who is told of alarms: for each name a protocol and its endpoint."
  type = map(object({
    protocol = string
    endpoint = string
  }))
  default = {}
}

variable "rotation_lambda_arns" {
  description = "For the secrets that rotate by themselves (database, session-signing), the function that rotates them."
  type        = map(string)
  default     = {}
}

variable "rotation_role_arns" {
  description = "ARNs of those functions' roles."
  type        = list(string)
  default     = []
}

variable "with_config_rules" {
  description = "Watch by AWS Config for keys and secrets whose rotation is overdue. The account needs a configuration recorder."
  type        = bool
  default     = true
}

variable "runbook_base_url" {
  description = "Where the runbooks can be read by who is woken."
  type        = string
  default     = "docs/runbooks"
}

variable "tags" {
  description = "Further tags for everything."
  type        = map(string)
  default     = {}
}
