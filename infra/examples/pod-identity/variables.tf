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

variable "cluster_name" {
  description = "The EKS cluster's name. It needs the Pod Identity agent add-on."
  type        = string
}

variable "cluster_arn" {
  description = "The same cluster's ARN: no other cluster of the account may assume the role."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:eks:[a-z0-9-]+:[0-9]{12}:cluster/.+$", var.cluster_arn))
    error_message = "cluster_arn is the ARN of an EKS cluster."
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
