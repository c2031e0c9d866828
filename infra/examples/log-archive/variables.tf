variable "region" {
  description = "The AWS Region."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region looks like eu-central-1."
  }
}


variable "bucket_name" {
  description = "Name of the bucket."
  type        = string
}

variable "trail_name" {
  description = "Name of the trail that writes here: <application>-<environment>-audit."
  type        = string
  default     = "vod-tender-production-audit"
}

variable "trail_account_id" {
  description = "The account of the trail."
  type        = string
}

variable "retention_days" {
  description = "Days that logs are kept: 90 or more."
  type        = number
  default     = 400
}

variable "object_lock_days" {
  description = "Days in which nobody can delete a log."
  type        = number
  default     = 90
}
