variable "primary_region" {
  description = "The Region of the primary key, where the application runs."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.primary_region))
    error_message = "primary_region looks like eu-central-1."
  }
}

variable "replica_region" {
  description = "The Region of the replica."
  type        = string
  default     = "eu-west-1"

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.replica_region))
    error_message = "replica_region looks like eu-central-1."
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

variable "oidc_provider_arn" {
  description = "ARN of the EKS cluster's IAM OIDC provider."
  type        = string
}

variable "application_role_name" {
  description = "The name of the application's role. If null, vod-tender-<environment>-application."
  type        = string
  default     = null
}

variable "iam_path" {
  description = "The path of the IAM role."
  type        = string
  default     = "/"
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for the role, where the account requires one."
  type        = string
  default     = null
}

variable "max_session_duration" {
  description = "Seconds that a session of the role lasts at most: 3,600 to 43,200."
  type        = number
  default     = 3600
}
