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
