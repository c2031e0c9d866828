variable "region" {
  description = "The AWS Region."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region looks like eu-central-1."
  }
}

variable "bucket_name" {
  description = "Name of the bucket."
  type        = string
}

variable "trail_names" {
  description = "Names of the trails that write here: <application>-<environment>-audit for each application and environment."
  type        = list(string)
  default     = ["vod-tender-production-audit", "vod-tender-staging-audit", "vod-tender-development-audit"]
}

variable "trail_account_id" {
  description = "The account of the trails."
  type        = string
}

variable "retention_days" {
  description = "Days that logs are kept: 90 or more."
  type        = number
  default     = 400
}

variable "object_lock_days" {
  description = "Days in which no one can delete a log."
  type        = number
  default     = 90
}
