variable "region" {
  description = "The AWS Region."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.region))
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
  description = "The environment, as in its alias, its tags and its metrics: development, staging, production or a word of yours."
  type        = string
}

variable "name" {
  description = "The first part of every name. If null, it is <application>-<environment>. Set it for a second Region in the same account."
  type        = string
  default     = null
}

variable "assume_role_arn" {
  description = "The role that Terraform takes for this run: the break-glass role, where break_glass_role_arns is set and a step needs it."
  type        = string
  default     = null
}

variable "program_environment" {
  description = "The value of ENVIRONMENT for the programs, where environment is none of development, staging and production."
  type        = string
  default     = null
}

variable "oidc_provider_arn" {
  description = "ARN of the EKS cluster's IAM OIDC provider."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn is the ARN of an IAM OIDC provider."
  }
}

variable "oidc_provider_arns" {
  description = "ARNs of further clusters' IAM OIDC providers."
  type        = list(string)
  default     = []
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

variable "with_audit" {
  description = "Make the audit trail or its filters, and the alarms on CloudTrail's events. false in a second Region: a trail of the first one sees every Region."
  type        = bool
  default     = true
}

variable "with_trail" {
  description = "Make a trail. false where your organisation has one: then give trail_name and trail_log_group_name."
  type        = bool
  default     = true
}

variable "trail_name" {
  description = "The name of the trail that exists, with with_trail = false."
  type        = string
  default     = null
}

variable "trail_log_group_name" {
  description = "The log group of the trail that exists, with with_trail = false."
  type        = string
  default     = null
}

variable "log_bucket_name" {
  description = "The bucket that keeps the trail's logs; examples/log-archive makes one, best in another account. Needed for a trail."
  type        = string
  default     = null
}

variable "log_bucket_key_prefix" {
  description = "The path in that bucket before AWSLogs/. If empty, none."
  type        = string
  default     = ""
}

variable "other_region_key_arns" {
  description = "The application's keys in other Regions: this Region's trail sees what is done with them, too."
  type        = list(string)
  default     = []
}

variable "key_administrators" {
  description = "ARNs of the roles that manage the key."
  type        = list(string)
  default     = []
}

variable "break_glass_role_arns" {
  description = "ARNs of the only roles that may disable the key or schedule its deletion. If empty, the key's policy denies this to no one."
  type        = list(string)
  default     = []
}

variable "auditors" {
  description = "ARNs of the roles that read the trail's logs."
  type        = list(string)
  default     = []
}

variable "exclusive" {
  description = "Let only the application and the migrator use the key, regardless of IAM policies."
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
  description = "Who receives alarms: for each name a protocol and its endpoint."
  type = map(object({
    protocol = string
    endpoint = string
  }))
  default = {}
}

variable "topic_arns" {
  description = "SNS topics that you have, by severity: critical and warning. With both, no topic is made here."
  type        = map(string)
  default     = {}
}

variable "alarms" {
  description = "Overrides for single alarms, by their names: enabled, severity, topic_arn."
  type = map(object({
    enabled   = optional(bool, true)
    severity  = optional(string)
    topic_arn = optional(string)
  }))
  default = {}
}

variable "application_role_name" {
  description = "The name of the application's role. If null, <name>-application."
  type        = string
  default     = null
}

variable "migrator_role_name" {
  description = "The name of the migrator's role. If null, <name>-migrator."
  type        = string
  default     = null
}

variable "trail_role_name" {
  description = "The name of the role that lets the trail write to its log group. If null, <name>-audit."
  type        = string
  default     = null
}

variable "iam_path" {
  description = "The path of the IAM roles."
  type        = string
  default     = "/"
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for the roles, where the account requires one."
  type        = string
  default     = null
}

variable "max_session_duration" {
  description = "Seconds that a session of the roles lasts at most: 3,600 to 43,200."
  type        = number
  default     = 3600
}

variable "secrets_operator_role_arns" {
  description = "ARNs of the roles that write and rotate secrets by hand."
  type        = list(string)
  default     = []
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

variable "rotation_image_uri" {
  description = "The image of this repository in your ECR, by digest: with it, a function rotates the secret database. If null, none is made."
  type        = string
  default     = null

  validation {
    condition     = var.rotation_image_uri == null || can(regex("^[0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.amazonaws\\.com/.+@sha256:[0-9a-f]{64}$", var.rotation_image_uri))
    error_message = "rotation_image_uri is an image in ECR, named by its digest."
  }
}

variable "rotation_administrator" {
  description = "The secret of a database user who may create others, and the key that it is under: the function reads it, the application does not. Needed with rotation_image_uri."
  type = object({
    secret_arn = string
    key_arn    = string
  })
  default = null

  validation {
    condition     = var.rotation_administrator != null || var.rotation_image_uri == null
    error_message = "rotation_image_uri needs rotation_administrator."
  }
}

variable "rotation_network" {
  description = "Subnets and security groups from which the function reaches the database and Secrets Manager."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = { subnet_ids = [], security_group_ids = [] }
}

variable "with_config_rules" {
  description = "Watch by AWS Config for keys and secrets whose rotation is overdue. The account needs a configuration recorder."
  type        = bool
  default     = true
}

variable "runbook_base_url" {
  description = "The https address of docs/runbooks in your copy of this repository, so that the link in an alarm opens."
  type        = string
  default     = null
}

variable "tags" {
  description = "Further tags for everything."
  type        = map(string)
  default     = {}
}
