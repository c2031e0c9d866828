variable "bucket_name" {
  description = "Name of the bucket that keeps the trail's logs."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name is a name that S3 allows."
  }
}

variable "trails" {
  description = "The trails that write here: name, account_id and region (the home Region) of each, key_prefix if it has one, and organization_id for an organisation's trail."
  type = list(object({
    name            = string
    account_id      = string
    region          = string
    key_prefix      = optional(string, "")
    organization_id = optional(string)
  }))
  default = []

  validation {
    condition     = alltrue([for trail in var.trails : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,126}[A-Za-z0-9]$", trail.name)) && can(regex("^[0-9]{12}$", trail.account_id)) && can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", trail.region))])
    error_message = "trails have the name of a trail, an account of twelve digits and a Region like eu-central-1."
  }
  validation {
    condition     = length(var.trails) > 0 || var.trail_name != null
    error_message = "trails is empty: nothing could write into the bucket."
  }
}

variable "trail_name" {
  description = "The name of a single trail, with trail_account_id and trail_region: the short form of trails."
  type        = string
  default     = null

  validation {
    condition     = var.trail_name == null || can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,126}[A-Za-z0-9]$", var.trail_name))
    error_message = "trail_name is the name of a trail, not its ARN."
  }
  validation {
    condition     = var.trail_name == null || (var.trail_account_id != null && var.trail_region != null)
    error_message = "trail_name needs trail_account_id and trail_region."
  }
}

variable "trail_account_id" {
  description = "The account of the single trail. It may be another than the bucket's, and better is."
  type        = string
  default     = null

  validation {
    condition     = var.trail_account_id == null || can(regex("^[0-9]{12}$", var.trail_account_id))
    error_message = "trail_account_id is twelve digits."
  }
}

variable "trail_region" {
  description = "The single trail's home Region."
  type        = string
  default     = null

  validation {
    condition     = var.trail_region == null || can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.trail_region))
    error_message = "trail_region looks like eu-central-1."
  }
}

variable "additional_policy_statements" {
  description = "Further statements of the bucket's policy, as objects with Effect, Principal, Action, Resource and Condition."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_policy_statements : [statement.Effect, statement.Principal]])
    error_message = "additional_policy_statements is a list of statements of a resource policy, each with Effect and Principal."
  }
}

variable "key_arn" {
  description = "Key for what is written without one. The trail's own logs are sealed with the trail's key either way. If null, S3's own key."
  type        = string
  default     = null

  validation {
    condition     = var.key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.key_arn))
    error_message = "key_arn is a whole key ARN."
  }
}

variable "retention_days" {
  description = "Days that logs are kept: 90 or more."
  type        = number
  default     = 400

  validation {
    condition     = var.retention_days >= 90 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days is a whole number, 90 or more."
  }
}

variable "object_lock_days" {
  description = "Days in which no one, the account's root included, can delete a log (Object Lock in compliance mode). 0 leaves it off."
  type        = number
  default     = 0

  validation {
    condition     = var.object_lock_days >= 0 && var.object_lock_days <= var.retention_days
    error_message = "object_lock_days is between 0 and retention_days."
  }
}

variable "tags" {
  description = "Further tags for everything in this module. If empty, there are none."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.tags) : !startswith(lower(name), "aws:")])
    error_message = "tags that begin with aws: are AWS's own."
  }
}
