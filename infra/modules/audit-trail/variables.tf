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

variable "with_trail" {
  description = "Make the trail with its key, log group and role. false only adds the metric filters to log_group_name, the log group of a trail that you have."
  type        = bool
  default     = true

  validation {
    condition     = var.with_trail || var.log_group_name != null
    error_message = "with_trail = false needs log_group_name, the log group of the trail that exists."
  }
}

variable "log_group_name" {
  description = "The log group. If null, it is /aws/cloudtrail/<name>-audit. With with_trail = false, the group that exists."
  type        = string
  default     = null

  validation {
    condition     = var.log_group_name == null || can(regex("^[A-Za-z0-9_/.#-]{1,200}$", var.log_group_name))
    error_message = "log_group_name is the name of a log group, of at most 200 characters, not its ARN."
  }
}

variable "trail_name" {
  description = "The trail. If null, it is <name>-audit. With with_trail = false, the trail that exists, whose changes count as tampering."
  type        = string
  default     = null

  validation {
    condition     = var.trail_name == null || can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,126}[A-Za-z0-9]$", var.trail_name))
    error_message = "trail_name is the name of a trail, not its ARN."
  }
}

variable "bucket_name" {
  description = "The bucket that keeps the logs, with the policy that module log-bucket writes. Best in another account."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name is the name of a bucket, not its ARN."
  }
  validation {
    condition     = !var.with_trail || var.bucket_name != null
    error_message = "a trail needs bucket_name."
  }
}

variable "bucket_key_prefix" {
  description = "The path in the bucket before AWSLogs/. If empty, none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)?$", var.bucket_key_prefix))
    error_message = "bucket_key_prefix neither starts nor ends with a slash."
  }
}

variable "is_organization_trail" {
  description = "Make the trail one of the whole organisation. Apply it in the management account or a delegated administrator's."
  type        = bool
  default     = false
}

variable "key_arns" {
  description = "The application's keys: their decrypts and changes to them are counted. If empty, those of every key."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", entry))])
    error_message = "key_arns are whole key ARNs: an alias does not do."
  }
}

variable "watched_key_arns" {
  description = "Further keys, of secrets and of the alarms' topic: changes to them are counted. The trail's own key always is."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for entry in var.watched_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", entry))])
    error_message = "watched_key_arns are whole key ARNs: an alias does not do."
  }
}

variable "alias_names" {
  description = "The keys' aliases. If null, alias/<name>."
  type        = list(string)
  default     = null

  validation {
    condition     = var.alias_names == null || try(alltrue([for name in var.alias_names : startswith(name, "alias/")]), false)
    error_message = "alias_names start with alias/."
  }
}

variable "role_names" {
  description = "The roles that use the keys. If null, <name>-application and <name>-migrator, as workload-access calls them."
  type        = list(string)
  default     = null

  validation {
    condition     = var.role_names == null || try(alltrue([for name in var.role_names : can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", name))]), false)
    error_message = "role_names are names of IAM roles, not ARNs."
  }
}

variable "secret_prefixes" {
  description = "Prefix of the secrets' names. If null, <application>/<environment>/, as module secrets calls them."
  type        = list(string)
  default     = null

  validation {
    condition     = var.secret_prefixes == null || try(alltrue([for prefix in var.secret_prefixes : can(regex("^[A-Za-z0-9/_+=.@-]{1,150}$", prefix))]), false)
    error_message = "secret_prefixes have at most 150 letters, digits and /_+=.@-, without wildcards."
  }
}

variable "topic_arns" {
  description = "The SNS topics of the alarms. If null, the topic <name>-alarms of module alarms."
  type        = list(string)
  default     = null

  validation {
    condition     = var.topic_arns == null || try(alltrue([for arn in var.topic_arns : can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", arn))]), false)
    error_message = "topic_arns are ARNs of SNS topics."
  }
}

variable "trail_role_names" {
  description = "Roles of trails that exist, next to the one that this module makes: changes to their policies count as tampering."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.trail_role_names : can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", name))])
    error_message = "trail_role_names are names of IAM roles, not ARNs."
  }
}

variable "log_retention_days" {
  description = "Days that the trail's log group keeps events, of those that CloudWatch offers from 90 on. The bucket keeps them for its own time."
  type        = number
  default     = 365

  validation {
    condition     = contains([90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days is 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
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

variable "trail_role_name" {
  description = "The name of the role that lets the trail write to its log group. If null, <name>-audit."
  type        = string
  default     = null

  validation {
    condition     = var.trail_role_name == null || can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.trail_role_name))
    error_message = "trail_role_name is a name that IAM allows, of at most 64 characters."
  }
}

variable "max_session_duration" {
  description = "Seconds that a session of the trail's role lasts at most: 3,600 to 43,200."
  type        = number
  default     = 3600

  validation {
    condition     = var.max_session_duration >= 3600 && var.max_session_duration <= 43200 && floor(var.max_session_duration) == var.max_session_duration
    error_message = "max_session_duration is a whole number of seconds from 3,600 to 43,200."
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
