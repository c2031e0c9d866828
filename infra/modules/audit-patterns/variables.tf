variable "key_arns" {
  description = "The application's keys: their decrypts and changes to them are counted. If empty, those of every key in the account."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "key_arns are key ARNs: CloudTrail names the key, not its alias."
  }
}

variable "watched_key_arns" {
  description = "Further keys of ours: changes to them are counted, their decrypts are not. The keys of secrets, trail and topic."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.watched_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "watched_key_arns are key ARNs: CloudTrail names the key, not its alias."
  }
}

variable "alias_names" {
  description = "The aliases of these keys, as alias/<name>."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.alias_names : can(regex("^alias/[A-Za-z0-9/_-]{1,250}$", name))])
    error_message = "alias_names start with alias/."
  }
}

variable "role_names" {
  description = "The names of the roles that use the keys: their denied requests and the changes to their policies are counted."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.role_names : can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", name))])
    error_message = "role_names are names of IAM roles, not ARNs."
  }
}

variable "secret_prefixes" {
  description = "Prefix of the names of our secrets, as vod-tender/production/. If empty, every secret of the account counts."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for prefix in var.secret_prefixes : can(regex("^[A-Za-z0-9/_+=.@-]{1,150}$", prefix))])
    error_message = "secret_prefixes have at most 150 letters, digits and /_+=.@-, without wildcards."
  }
}

variable "trail_name" {
  description = "The trail's name. If null, changes to any trail count."
  type        = string
  default     = null

  validation {
    condition     = var.trail_name == null || can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,126}[A-Za-z0-9]$", var.trail_name))
    error_message = "trail_name is the name of a trail, not its ARN."
  }
}

variable "log_group_name" {
  description = "The log group that the filters read. If null, changes to any log group count."
  type        = string
  default     = null

  validation {
    condition     = var.log_group_name == null || can(regex("^[A-Za-z0-9_/.#-]{1,200}$", var.log_group_name))
    error_message = "log_group_name is the name of a log group, of at most 200 characters, not its ARN."
  }
}

variable "log_bucket_names" {
  description = "Buckets that keep the logs, where they are in the same account. Their events are seen only there."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.log_bucket_names : can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", name))])
    error_message = "log_bucket_names are names of buckets, not ARNs."
  }
}

variable "trail_role_names" {
  description = "The names of the roles with which trails write to their log groups."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.trail_role_names : can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", name))])
    error_message = "trail_role_names are names of IAM roles, not ARNs."
  }
}

variable "alarm_prefix" {
  description = "Prefix of the names of our alarms and rules, as vod-tender-production-. If null, every alarm and rule counts."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_prefix == null || can(regex("^[A-Za-z0-9_.-]{1,80}$", var.alarm_prefix))
    error_message = "alarm_prefix has at most 80 letters, digits and _.-, without wildcards."
  }
}

variable "topic_arns" {
  description = "The SNS topics of the alarms. If empty, changes to any topic count."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.topic_arns : can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,120}$", arn))])
    error_message = "topic_arns are ARNs of SNS topics, with names of at most 120 characters."
  }
}
