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
  description = "Who receives alarms: for each name a protocol (https, email, sqs, lambda) and its endpoint. An email address must confirm."
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

variable "topic_arns" {
  description = "SNS topics that you have, by severity (critical, warning). A severity that is not here uses this module's own topic, which is only made if one of them needs it. CloudWatch and EventBridge must be allowed to publish there."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for severity in keys(var.topic_arns) : contains(["critical", "warning"], severity)])
    error_message = "topic_arns has the keys critical and warning."
  }
  validation {
    condition     = alltrue([for arn in values(var.topic_arns) : can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", arn))])
    error_message = "topic_arns are ARNs of SNS topics."
  }
}

variable "alarms" {
  description = "Overrides for single alarms, by their names: enabled = false leaves one out, severity is critical or warning, topic_arn sends it elsewhere. Where only Jobs run, leave HeartbeatMissing out."
  type = map(object({
    enabled   = optional(bool, true)
    severity  = optional(string)
    topic_arn = optional(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.alarms) : contains(["KMSDecryptErrors", "KMSEncryptErrors", "KMSHighLatency", "KMSDecryptErrorRate", "KMSLatencyAboveBaseline", "TokenRefreshSuccessLow", "SecretReadErrorRate", "KMSCacheHitRate", "HeartbeatMissing", "SecretReadsAnomalous", "KMSDecryptsAnomalous", "SecretReadCallsAnomalous", "KMSDecryptCallsAnomalous", "KMSUnauthorized", "KMSKeyAtRisk", "KMSKeyChanged", "AuditTampering", "SecretsAtRisk"], name)])
    error_message = "alarms names an alarm that this module does not make."
  }
  validation {
    condition     = alltrue([for alarm in values(var.alarms) : alarm.severity == null || contains(["critical", "warning"], coalesce(alarm.severity, "none"))])
    error_message = "severity is critical or warning."
  }
  validation {
    condition     = alltrue([for alarm in values(var.alarms) : alarm.topic_arn == null || can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", alarm.topic_arn))])
    error_message = "topic_arn is the ARN of an SNS topic."
  }
}

variable "metric_dimensions" {
  description = "The dimensions of the programs' metrics in CloudWatch: what EMF_DIMENSIONS holds. If null, Application and Environment of this module."
  type        = map(string)
  default     = null

  validation {
    condition     = var.metric_dimensions == null || try(length(var.metric_dimensions) > 0 && length(var.metric_dimensions) <= 9, false)
    error_message = "metric_dimensions has 1 to 9 dimensions."
  }
  validation {
    condition     = alltrue([for name, value in coalesce(var.metric_dimensions, {}) : can(regex("^[A-Za-z0-9_.-]{1,250}=[A-Za-z0-9_.:/@-]{1,250}$", "${name}=${value}"))])
    error_message = "metric_dimensions have names and values of letters, digits and _.-, values also :/@."
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

variable "decrypt_error_rate_threshold" {
  description = "Percentage of failed decrypts within five minutes above which KMSDecryptErrorRate goes off."
  type        = number
  default     = 5

  validation {
    condition     = var.decrypt_error_rate_threshold > 0 && var.decrypt_error_rate_threshold < 100
    error_message = "decrypt_error_rate_threshold is between 0 and 100."
  }
}

variable "refresh_success_threshold" {
  description = "Percentage of token refreshes that succeed within fifteen minutes below which TokenRefreshSuccessLow goes off."
  type        = number
  default     = 95

  validation {
    condition     = var.refresh_success_threshold > 0 && var.refresh_success_threshold < 100
    error_message = "refresh_success_threshold is between 0 and 100."
  }
}

variable "secret_error_rate_threshold" {
  description = "Percentage of failed requests for secrets within fifteen minutes above which SecretReadErrorRate goes off."
  type        = number
  default     = 5

  validation {
    condition     = var.secret_error_rate_threshold > 0 && var.secret_error_rate_threshold < 100
    error_message = "secret_error_rate_threshold is between 0 and 100."
  }
}

variable "latency_baseline_ms" {
  description = "Mean duration of a decrypt before a rollout, in milliseconds. KMSLatencyAboveBaseline goes off 20 % above it; if null there is no such alarm."
  type        = number
  default     = null

  validation {
    condition     = var.latency_baseline_ms == null || coalesce(var.latency_baseline_ms, 1) > 0
    error_message = "latency_baseline_ms is positive."
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
