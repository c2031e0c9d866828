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

variable "audit_namespace" {
  description = "The namespace that module audit-trail's filters count in. Left out, there are no alarms on CloudTrail's events."
  type        = string
  default     = null

  validation {
    condition     = var.audit_namespace == null || can(regex("^Tokenseal/Audit/.+$", var.audit_namespace))
    error_message = "audit_namespace is what audit-trail gives as metric_namespace."
  }
}

variable "with_audit_alarms" {
  description = "Make the alarms on CloudTrail's events; they need audit_namespace. Known before anything is applied."
  type        = bool
  default     = true

  validation {
    condition     = !var.with_audit_alarms || var.audit_namespace != null
    error_message = "with_audit_alarms needs audit_namespace."
  }
}

variable "with_config_rules" {
  description = "Watch by AWS Config that keys rotate. The account needs a configuration recorder, or the apply fails."
  type        = bool
  default     = false
}

variable "key_arns" {
  description = "The application's keys, whose rotation with_config_rules watches."
  type        = list(string)
  default     = []

  validation {
    condition     = !var.with_config_rules || length(var.key_arns) > 0
    error_message = "with_config_rules needs key_arns."
  }
}

variable "subscriptions" {
  description = "Who is told: for each name a protocol (https, email, sqs, lambda) and its endpoint. An email address must confirm."
  type = map(object({
    protocol = string
    endpoint = string
  }))
  default = {}

  validation {
    condition     = alltrue([for subscription in values(var.subscriptions) : contains(["https", "email", "email-json", "sqs", "lambda"], subscription.protocol)])
    error_message = "subscriptions go by https, email, email-json, sqs or lambda: plain http would carry alarms readable."
  }
}

variable "runbook_base_url" {
  description = "Where the runbooks can be read by who is woken: the address of docs/runbooks in your copy of this repository."
  type        = string
  default     = "docs/runbooks"

  validation {
    condition     = length(trimspace(var.runbook_base_url)) > 0 && !endswith(var.runbook_base_url, "/")
    error_message = "runbook_base_url is not empty and does not end with a slash."
  }
}

variable "decrypt_errors_threshold" {
  description = "Decrypt errors in five minutes above which KMSDecryptErrors goes off; the same for encrypt errors."
  type        = number
  default     = 5

  validation {
    condition     = var.decrypt_errors_threshold >= 0
    error_message = "decrypt_errors_threshold is not negative."
  }
}

variable "latency_threshold_ms" {
  description = "p99 of a decrypt, in milliseconds, above which KMSHighLatency goes off."
  type        = number
  default     = 500

  validation {
    condition     = var.latency_threshold_ms > 0
    error_message = "latency_threshold_ms is positive."
  }
}

variable "cache_hit_rate_threshold" {
  description = "Percentage of reads served from the cache below which KMSCacheHitRate goes off."
  type        = number
  default     = 90

  validation {
    condition     = var.cache_hit_rate_threshold > 0 && var.cache_hit_rate_threshold <= 100
    error_message = "cache_hit_rate_threshold is a percentage, over 0 and up to 100."
  }
}

variable "cache_minimum_reads" {
  description = "Reads in five minutes below which the hit rate says nothing and is not judged."
  type        = number
  default     = 100

  validation {
    condition     = var.cache_minimum_reads >= 1
    error_message = "cache_minimum_reads is 1 or more."
  }
}

variable "anomaly_band_width" {
  description = "Standard deviations that a volume may leave its usual band by. Smaller wakes people more often."
  type        = number
  default     = 3

  validation {
    condition     = var.anomaly_band_width >= 1 && var.anomaly_band_width <= 10
    error_message = "anomaly_band_width is between 1 and 10."
  }
}

variable "deletion_window_in_days" {
  description = "Days between a scheduled deletion of the topic's key and its end: 7 to 30."
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
