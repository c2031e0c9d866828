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

variable "oidc_provider_arn" {
  description = "ARN of the EKS cluster's IAM OIDC provider."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn is the ARN of an IAM OIDC provider."
  }
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
