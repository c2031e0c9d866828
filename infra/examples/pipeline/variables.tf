variable "region" {
  description = "The AWS Region."
  type        = string
  default     = "eu-central-1"

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region looks like eu-central-1."
  }
}

variable "state_bucket_name" {
  description = "Name of the bucket that keeps Terraform's state."
  type        = string
}

variable "issuer_url" {
  description = "The issuer of the pipeline's OIDC tokens."
  type        = string
  default     = "https://token.actions.githubusercontent.com"

  validation {
    condition     = startswith(var.issuer_url, "https://")
    error_message = "issuer_url starts with https://."
  }
}

variable "plan_subjects" {
  description = "The tokens' whole subjects that may plan: repo:example/infrastructure:pull_request."
  type        = list(string)

  validation {
    condition     = length(var.plan_subjects) > 0 && alltrue([for subject in var.plan_subjects : !strcontains(subject, "*")])
    error_message = "plan_subjects are whole subjects, without wildcards."
  }
}

variable "apply_subjects" {
  description = "The tokens' whole subjects that may apply: repo:example/infrastructure:environment:production."
  type        = list(string)

  validation {
    condition     = length(var.apply_subjects) > 0 && alltrue([for subject in var.apply_subjects : !strcontains(subject, "*")])
    error_message = "apply_subjects are whole subjects, without wildcards."
  }
}

variable "role_prefix" {
  description = "Prefix of the names of the two roles."
  type        = string
  default     = "terraform"
}

variable "iam_path" {
  description = "The path of the IAM roles."
  type        = string
  default     = "/"
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary for the roles: what the apply role may do at most."
  type        = string
  default     = null
}

variable "max_session_duration" {
  description = "Seconds that a session of the roles lasts at most: 3,600 to 43,200."
  type        = number
  default     = 3600
}
