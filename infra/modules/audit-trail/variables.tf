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

variable "bucket_name" {
  description = "The bucket that keeps the logs, with the policy that module log-bucket writes. Best in another account."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name is the name of a bucket, not its ARN."
  }
}

variable "key_arns" {
  description = "The application's keys: their decrypts are counted. Empty counts the decrypts of every key."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", entry))])
    error_message = "key_arns are whole key ARNs: an alias does not do."
  }
}

variable "log_retention_days" {
  description = "Days that the trail's log group keeps events, of those that CloudWatch offers from 90 on. The bucket keeps them for its own time."
  type        = number
  default     = 365

  validation {
    condition     = contains([90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653], var.log_retention_days)
    error_message = "log_retention_days is 90, 120, 150, 180, 365, 400, 545, 731, 1827 or 3653."
  }
}

variable "auditors" {
  description = "ARNs of the roles that read the trail's logs."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.auditors : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", entry))])
    error_message = "auditors are whole ARNs of IAM roles or users: wildcards and the account root are refused."
  }
}

variable "deletion_window_in_days" {
  description = "Days between a scheduled deletion of the trail's key and its end: 7 to 30."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30 && floor(var.deletion_window_in_days) == var.deletion_window_in_days
    error_message = "deletion_window_in_days is a whole number from 7 to 30."
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
