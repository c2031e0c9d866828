variable "bucket_name" {
  description = "Name of the bucket that keeps the trail's logs."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name is a name that S3 allows."
  }
}

variable "trail_name" {
  description = "Name of the trail that writes here: <application>-<environment>-audit, as the audit-trail module calls it."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,126}[A-Za-z0-9]$", var.trail_name))
    error_message = "trail_name is the name of a trail, not its ARN."
  }
}

variable "trail_account_id" {
  description = "The account of the trail. It may be another than the bucket's, and better is."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.trail_account_id))
    error_message = "trail_account_id is twelve digits."
  }
}

variable "trail_region" {
  description = "The trail's home Region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.trail_region))
    error_message = "trail_region looks like eu-central-1."
  }
}

variable "key_arn" {
  description = "Key for what is written without one. The trail's own logs are sealed with the trail's key either way. Left out, S3's own key."
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
  description = "Days in which nobody, the account's root included, can delete a log (Object Lock in compliance mode). 0 leaves it off."
  type        = number
  default     = 0

  validation {
    condition     = var.object_lock_days >= 0 && var.object_lock_days <= var.retention_days
    error_message = "object_lock_days is between 0 and retention_days."
  }
}

variable "tags" {
  description = "Further tags for everything in this module. Left out, there are none."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.tags) : !startswith(lower(name), "aws:")])
    error_message = "tags that begin with aws: are AWS's own."
  }
}
