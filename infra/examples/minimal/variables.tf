variable "region" {
  description = "The AWS Region."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region looks like eu-central-1."
  }
}

variable "environment" {
  description = "development, staging or production."
  type        = string

  validation {
    condition     = contains(["development", "staging", "production"], var.environment)
    error_message = "environment is development, staging or production."
  }
}

variable "policy_name" {
  description = "The name of the policy. If null, vod-tender-<environment>-use-data-keys."
  type        = string
  default     = null
}

variable "iam_path" {
  description = "The path of the policy."
  type        = string
  default     = "/"
}
